//! Jitdumps: `jit-PID.dump`, to which a compiler at run time adds a record with each function that it makes
//! (tools/perf/Documentation/jitdump-specification.txt of the kernel).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::run_time_code::CodeChange;

/// `JiTD`, as a number of the machine that wrote it.
const MAGIC: u32 = 0x4a69_5444;
const HEADER: usize = 40;
/// Of a record: kind, size, time.
const PREFIX: usize = 16;
/// Of a record about code, behind the prefix: pid, tid, where it is, twice, size, number.
const LOAD: usize = 40;
/// Pid, tid, where it is, where it was and is, size, number.
const MOVE: usize = 48;
const NAME: usize = 1024;
const CODE_LOAD: u32 = 0;
const CODE_MOVE: u32 = 1;
/// What is read of a record, and what it counts.
const RECORD: usize = PREFIX + MOVE + NAME;

/// Why a file is no dump of a process.
#[derive(Debug, thiserror::Error)]
pub enum JitdumpError {
    /// Reading failed.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It is none, or damaged.
    #[error("is no jitdump")]
    Foreign,
    /// Another process wrote it: one that forks leaves its mapping of it to its child.
    #[error("is the jitdump of another process")]
    OtherProcess,
}

/// A dump that is read as it grows.
#[derive(Debug)]
pub struct Jitdump {
    file: File,
    /// What the process that it must be of calls itself.
    pid: u32,
    /// Where the next record begins; 0 before the header was read.
    at: u64,
}

impl Jitdump {
    /// Of an open file, of which nothing is read yet; it must be that of the process that calls itself `pid`.
    pub fn new(file: File, pid: u32) -> Self {
        Self { file, pid, at: 0 }
    }

    /// Reads the header, if it is there: V8 maps the file first, and writes its megabytes later.
    fn read_header(&mut self) -> Result<(), JitdumpError> {
        let mut header = [0; HEADER];
        if read_at(&self.file, &mut header, 0)? < HEADER {
            return Ok(());
        }
        let size = word(&header, 8).filter(|size| *size as usize >= HEADER);
        match (word(&header, 0), word(&header, 20), size) {
            (Some(MAGIC), Some(pid), Some(size)) if pid == self.pid => {
                self.at = size.into();
                Ok(())
            }
            (Some(MAGIC), Some(_), Some(_)) => Err(JitdumpError::OtherProcess),
            _ => Err(JitdumpError::Foreign),
        }
    }

    /// Reads what has been added since the last call, for at most so many bytes of work, and gives `take` what it tells. Returns
    /// how many it has taken.
    ///
    /// # Errors
    /// It cannot be read, is no such dump, or is damaged.
    pub fn read(
        &mut self,
        most: u64,
        mut take: impl FnMut(CodeChange<'_>),
    ) -> Result<u64, JitdumpError> {
        if self.at == 0 {
            self.read_header()?;
            if self.at == 0 {
                return Ok(0);
            }
        }
        let mut record = [0; RECORD];
        let end = self.file.metadata()?.len();
        let mut done = 0;
        while done < most && end.saturating_sub(self.at) >= PREFIX as u64 {
            let read = read_at(&self.file, &mut record, self.at)?;
            let bytes = record.get(..read).unwrap_or_default();
            let (kind, size) = (word(bytes, 0), word(bytes, 4));
            let (Some(kind), Some(size)) = (kind, size.map(u64::from)) else {
                break;
            };
            if size < PREFIX as u64 {
                return Err(JitdumpError::Foreign);
            }
            if size > end - self.at {
                // It is being written.
                break;
            }
            let own = bytes.get(..bytes.len().min(size as usize));
            tell(kind, own.unwrap_or_default(), &mut take);
            self.at += size;
            done += RECORD as u64;
        }
        Ok(done)
    }
}

fn tell(kind: u32, record: &[u8], take: &mut impl FnMut(CodeChange<'_>)) {
    let field = |index: usize| long(record, PREFIX + 8 + index * 8);
    let range = |start: Option<u64>, size: Option<u64>| {
        let start = start?;
        Some(start..start.checked_add(size?)?)
    };
    match kind {
        CODE_LOAD => {
            let name = record.get(PREFIX + LOAD..).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next();
            if let (Some(range), Some(name @ [_, ..])) = (range(field(1), field(2)), name) {
                take(CodeChange::Made { range, name });
            }
        }
        CODE_MOVE => {
            if let (Some(from), Some(range)) = (field(1), range(field(2), field(3))) {
                take(CodeChange::Moved { from, range });
            }
        }
        // Lines, rules to unwind by, the end.
        _ => {}
    }
}

/// As much as there is, up to the buffer.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PID: u32 = 7;

    fn header() -> Vec<u8> {
        let words = [MAGIC, 1, HEADER as u32, 62, 0, PID, 0, 0, 0, 0];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn record(kind: u32, fields: &[u64], rest: &[u8]) -> Vec<u8> {
        let size = PREFIX + 8 + fields.len() * 8 + rest.len();
        let mut bytes: Vec<u8> = [kind, size as u32, 0, 0, PID, PID]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        bytes.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend(rest);
        bytes
    }

    fn load(start: u64, size: u64, name: &str) -> Vec<u8> {
        let code = vec![0x90; size as usize];
        record(
            0,
            &[start, start, size, 1],
            &[name.as_bytes(), b"\0", &code].concat(),
        )
    }

    fn told(dump: &mut Jitdump) -> Vec<String> {
        let mut told = Vec::new();
        let done = dump.read(u64::MAX, |change| told.push(format!("{change:x?}")));
        done.unwrap();
        told
    }

    /// Each record once, when it is whole; those of other kinds are passed over.
    #[test]
    fn records_as_they_come() {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        let mut dump = Jitdump::new(written.reopen().unwrap(), PID);
        assert!(told(&mut dump).is_empty());
        written.write_all(&header()[..30]).unwrap();
        assert!(told(&mut dump).is_empty());
        written.write_all(&header()[30..]).unwrap();
        assert!(told(&mut dump).is_empty());
        let long = "n".repeat(5000);
        let all = [
            load(0x1000, 0x20, "f"),
            record(2, &[1, 2], b"lines"),
            record(1, &[0x1000, 0x1000, 0x3000, 0x20, 1], b""),
            load(0x2000, 0x8000, &long),
        ];
        let all = all.concat();
        let (now, later) = all.split_at(all.len() - 1);
        written.write_all(now).unwrap();
        let made = |start: u64, size: u64, name: &[u8]| {
            let range = start..start + size;
            format!("{:x?}", CodeChange::Made { range, name })
        };
        let range = 0x3000..0x3020;
        let moved = format!(
            "{:x?}",
            CodeChange::Moved {
                from: 0x1000,
                range
            }
        );
        assert_eq!(told(&mut dump), [made(0x1000, 0x20, b"f"), moved]);
        written.write_all(later).unwrap();
        let [name] = &told(&mut dump)[..] else {
            panic!("not one record");
        };
        assert!(name.len() < 3 * 5000);
        assert!(told(&mut dump).is_empty());
    }

    /// What is no dump, is another's, or makes no sense is an error, and no work without end.
    #[test]
    fn hostile_files() {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file
        };
        let refused = |bytes: &[u8], pid| {
            let read = Jitdump::new(file(bytes), pid).read(u64::MAX, |_| panic!("of nothing"));
            read.unwrap_err()
        };
        for bytes in [&b"JiTD"[..], &[0xff; 4]] {
            let bytes = [bytes, &header()[4..]].concat();
            assert!(matches!(refused(&bytes, PID), JitdumpError::Foreign));
        }
        let other = refused(&header(), PID + 1);
        assert!(matches!(other, JitdumpError::OtherProcess));
        let endless = [header(), vec![0; 100]].concat();
        let mut dump = Jitdump::new(file(&endless), PID);
        let read = dump.read(u64::MAX, |_| panic!("of nothing"));
        assert!(matches!(read, Err(JitdumpError::Foreign)));
        let wrapped = [header(), load(u64::MAX - 1, 8, "f"), record(0, &[1], b"")].concat();
        let mut dump = Jitdump::new(file(&wrapped), PID);
        assert!(told(&mut dump).is_empty());
        let many = [header(), load(1, 1, "f").repeat(100)].concat();
        let mut dump = Jitdump::new(file(&many), PID);
        let mut functions = 0;
        let most = 10 * RECORD as u64;
        assert_eq!(dump.read(most, |_| functions += 1).unwrap(), most);
        assert_eq!(functions, 10);
    }
}
