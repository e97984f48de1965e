//! Perf maps: `/tmp/perf-PID.map`, to which a compiler at run time adds a line for each function that it makes.
//!
//! ```text
//! 7f5084006180 2b0 JS:*leaf /app/leaf.js:1:14        address, size, name
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::run_time_code::CodeChange;

/// Bytes of a line that are looked at.
const LINE: usize = 1024;
const CHUNK: usize = 64 << 10;
/// Bytes before the place read to by which a file is known to be the one that was read.
const SEEN: usize = 64;

/// A map that is read as it grows.
#[derive(Debug)]
pub struct PerfMap {
    file: File,
    /// Read up to there.
    at: u64,
    /// The last bytes before.
    seen: Vec<u8>,
    /// The begin of a line whose end is not written yet.
    line: Vec<u8>,
}

impl PerfMap {
    /// Of an open file, of which nothing is read yet.
    pub fn new(file: File) -> Self {
        Self {
            file,
            at: 0,
            seen: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Reads what has been added since the last call, at most so many bytes, and gives `take` what it tells. Returns how many it
    /// has read.
    ///
    /// # Errors
    /// What reading answers.
    pub fn read(&mut self, most: u64, mut take: impl FnMut(CodeChange<'_>)) -> io::Result<u64> {
        if self.at > 0 && !self.continues()? {
            self.at = 0;
            self.seen.clear();
            self.line.clear();
            take(CodeChange::Forgotten);
        }
        let mut chunk = vec![0; CHUNK];
        let mut done = 0;
        while done < most {
            let read = match self.file.read_at(&mut chunk, self.at) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(bytes @ [_, ..]) = chunk.get(..read) else {
                break;
            };
            self.take_bytes(bytes, &mut take);
            done += read as u64;
        }
        Ok(done)
    }

    /// Whether what was read is still there: some write all functions anew when they are asked to.
    fn continues(&self) -> io::Result<bool> {
        let mut there = vec![0; self.seen.len()];
        let begin = self.at - self.seen.len() as u64;
        match self.file.read_exact_at(&mut there, begin) {
            Ok(()) => Ok(there == self.seen),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take_bytes(&mut self, bytes: &[u8], take: &mut impl FnMut(CodeChange<'_>)) {
        self.at += bytes.len() as u64;
        let tail = bytes.len().saturating_sub(SEEN);
        self.seen
            .extend_from_slice(bytes.get(tail..).unwrap_or_default());
        let surplus = self.seen.len().saturating_sub(SEEN);
        self.seen.drain(..surplus);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LINE - self.line.len();
            self.line.extend(text.iter().take(room));
            if ends {
                take_line(&self.line, take);
                self.line.clear();
            }
        }
    }
}

/// Lines that are none say nothing.
fn take_line(line: &[u8], take: &mut impl FnMut(CodeChange<'_>)) {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut number = || hex(fields.next()?);
    let (Some(start), Some(size)) = (number(), number()) else {
        return;
    };
    if let (Some(name @ [_, ..]), Some(end)) = (fields.next(), start.checked_add(size)) {
        let range = start..end;
        take(CodeChange::Made { range, name });
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    type Told = Vec<(u64, u64, String)>;

    /// What is told by a read; nothing stands for what was told before.
    fn read(map: &mut PerfMap) -> Option<Told> {
        let mut told = Some(Told::new());
        let read = map.read(u64::MAX, |change| match change {
            CodeChange::Made { range, name } => {
                let name = String::from_utf8_lossy(name).into_owned();
                told.get_or_insert_default()
                    .push((range.start, range.end, name));
            }
            CodeChange::Forgotten => told = None,
            CodeChange::Moved { .. } => panic!("a map does not tell of this"),
        });
        read.unwrap();
        told
    }

    fn function(start: u64, end: u64, name: &str) -> (u64, u64, String) {
        (start, end, name.to_owned())
    }

    fn open() -> (tempfile::NamedTempFile, PerfMap) {
        let written = tempfile::NamedTempFile::new().unwrap();
        let map = PerfMap::new(written.reopen().unwrap());
        (written, map)
    }

    /// Each line once, when it is whole, and nothing of what is none.
    #[test]
    fn lines_as_they_come() {
        let (mut written, mut map) = open();
        written
            .write_all(b"1000 20 JS:*f a b.js:1\n2000 1")
            .unwrap();
        assert_eq!(
            read(&mut map),
            Some(vec![function(0x1000, 0x1020, "JS:*f a b.js:1")])
        );
        assert_eq!(read(&mut map), Some(vec![]));
        written
            .write_all(b"0 g\n\nno line\n3000 zz h\nffffffffffffffff 2 h\n3000 1 \n0x4000 0x8 i\n")
            .unwrap();
        let told = vec![function(0x2000, 0x2010, "g"), function(0x4000, 0x4008, "i")];
        assert_eq!(read(&mut map), Some(told));
    }

    /// A line without end is kept to its begin, and the one behind it is read; so are lines across the chunks of a large map.
    #[test]
    fn long_lines_and_large_maps() {
        let (mut written, mut map) = open();
        written.write_all(b"1000 20 ").unwrap();
        written.write_all(&vec![b'x'; 3 * CHUNK]).unwrap();
        assert_eq!(read(&mut map), Some(vec![]));
        assert!(map.line.len() <= LINE);
        let mut expected = vec![function(0x1000, 0x1020, &"x".repeat(LINE - 8))];
        written.write_all(b"\n").unwrap();
        for number in 0..5000 {
            let start = 0x10_0000 + number * 16;
            writeln!(written, "{start:x} 10 function {number}").unwrap();
            expected.push(function(start, start + 16, &format!("function {number}")));
        }
        assert_eq!(read(&mut map), Some(expected));
    }

    /// A map that is written anew is read anew, whether it is shorter or longer then.
    #[test]
    fn maps_that_are_written_anew() {
        let (mut written, mut map) = open();
        written.write_all(b"1000 20 first\n").unwrap();
        assert!(read(&mut map).is_some());
        for text in ["1 2 f\n", "1000 30 second\n2000 30 third\n"] {
            std::fs::write(written.path(), text).unwrap();
            let mut forgotten = false;
            let mut functions = 0;
            map.read(u64::MAX, |change| match change {
                CodeChange::Forgotten => forgotten = true,
                _ => functions += 1,
            })
            .unwrap();
            assert!(forgotten && functions == text.lines().count());
        }
    }
}
