//! A file of the spool: profiles that were put on disk together, each with a byte that says what came of sending it.
//!
//! ```text
//! "TGSPOOL2"  count:4  crc:4                                                                  of count
//! sent:1  0:3  offset:4  length:4  start:8  crc:4 of the payload  crc:4 of the entry      count times; little endian
//! payload                                                                                 count times
//! ```
//!
//! All but `sent` is written once. That byte stands outside of all checksums, so that one write of one byte, which no crash can tear,
//! moves a profile on. No entry is found by way of another: what is damaged, or cannot be read, costs the profiles that it belongs to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 8] = b"TGSPOOL2";
const FILE_HEADER: usize = 16;
const ENTRY: usize = 28;

/// No profile is larger: what says that it is has been damaged.
const MOST_PAYLOAD: u32 = 8 << 20;

/// What is known of a profile that was sent or is about to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::export) enum Sent {
    /// The server does not have it, and has said nothing against it.
    #[default]
    Never,
    /// The server does not have it, and failed on it once.
    Failed,
    /// It was sent once and the server may have it. On disk this is also what is on its way for the first time.
    Once,
    /// It was sent a second time, and nobody will know what came of it.
    Twice,
    /// It is not to be sent: others will come in its place. If nobody is left who would put them there, it is what there is.
    Provisional,
    /// It needs no further push.
    Done,
}

impl Sent {
    fn byte(self) -> u8 {
        match self {
            Sent::Never => b'0',
            Sent::Failed => b'f',
            Sent::Once => b'1',
            Sent::Twice => b'2',
            Sent::Provisional => b'p',
            Sent::Done => b'd',
        }
    }

    fn of(byte: u8) -> Option<Sent> {
        [
            Sent::Never,
            Sent::Failed,
            Sent::Once,
            Sent::Twice,
            Sent::Provisional,
            Sent::Done,
        ]
        .into_iter()
        .find(|sent| sent.byte() == byte)
    }

    /// What is to be on disk before it is sent: if nobody is left to write down the answer, it may be there.
    pub(in crate::export) fn on_its_way(self) -> Sent {
        match self {
            Sent::Never => Sent::Once,
            _ => Sent::Twice,
        }
    }
}

/// A profile as it goes into a file.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) sent: Sent,
    /// Begin of the profile, nanoseconds since the Unix epoch.
    pub(super) start: i64,
    pub(super) payload: &'a [u8],
}

/// Where a profile stands in a file, and how it stands with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) sent: Sent,
    pub(super) start: i64,
    /// Where this stands.
    at: u32,
    /// Where the payload stands.
    offset: u32,
    length: u32,
    crc: u32,
}

/// The bytes of a file, and what stands where in it.
pub(super) fn encode(records: &[Record<'_>]) -> (Vec<u8>, Vec<Entry>) {
    let mut bytes = Vec::new();
    let mut entries = Vec::with_capacity(records.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut offset = FILE_HEADER + records.len() * ENTRY;
    for record in records {
        let entry = Entry {
            sent: record.sent,
            start: record.start,
            at: bytes.len() as u32,
            offset: offset as u32,
            length: record.payload.len() as u32,
            crc: crc32fast::hash(record.payload),
        };
        bytes.extend_from_slice(&entry.encode());
        entries.push(entry);
        offset += record.payload.len();
    }
    for record in records {
        bytes.extend_from_slice(record.payload);
    }
    (bytes, entries)
}

/// What stands in `file`, and how many of its profiles are damaged beyond being found.
pub(super) fn scan(file: &File) -> io::Result<(Vec<Entry>, usize)> {
    let mut header = [0; FILE_HEADER];
    file.read_exact_at(&mut header, 0)?;
    let count = number(&header, 8);
    if &header[..8] != MAGIC || crc32fast::hash(&header[..12]) != number(&header, 12) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = file.metadata()?.len();
    let places = (FILE_HEADER as u32..).step_by(ENTRY);
    let entries = places.take(count as usize).map(|at| read_entry(file, at));
    let whole = |entry: &Entry| entry.end() <= length;
    let entries: Vec<Entry> = entries.flatten().filter(whole).collect();
    let lost = count as usize - entries.len();
    Ok((entries, lost))
}

/// How long a file of these profiles is.
pub(super) fn end(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(Entry::end)
        .max()
        .unwrap_or(FILE_HEADER as u64)
}

fn read_entry(file: &File, at: u32) -> io::Result<Entry> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut bytes = [0; ENTRY];
    file.read_exact_at(&mut bytes, at.into())?;
    let (low, high) = (number(&bytes, 12), number(&bytes, 16));
    let start = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let entry = Entry {
        sent: Sent::of(bytes[0]).ok_or_else(damaged)?,
        start,
        at,
        offset: number(&bytes, 4),
        length: number(&bytes, 8),
        crc: number(&bytes, 20),
    };
    let is_whole = entry.encode()[1..] == bytes[1..];
    if !is_whole || entry.length > MOST_PAYLOAD {
        return Err(damaged());
    }
    Ok(entry)
}

fn number<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[0] = self.sent.byte();
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.start.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[4..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// The payload in `file`, unless somebody has damaged it.
    pub(super) fn read(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; self.length as usize];
        file.read_exact_at(&mut payload, self.offset.into())?;
        if crc32fast::hash(&payload) != self.crc {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(payload)
    }

    /// Writes down what is known of it now. It is on disk after a sync.
    pub(super) fn mark(&self, file: &File, sent: Sent) -> io::Result<()> {
        // A file that somebody has cut must not grow again.
        read_entry(file, self.at)?;
        file.write_all_at(&[sent.byte()], self.at.into())
    }

    /// What it takes in memory when it is read.
    pub(super) fn length(&self) -> usize {
        self.length as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn three() -> Vec<u8> {
        let records = [(1, "one"), (-2, ""), (i64::MAX, "three")].map(|(start, payload)| Record {
            sent: Sent::Never,
            start,
            payload: payload.as_bytes(),
        });
        encode(&records).0
    }

    /// What was written is read, times of any sign included, and a mark changes the one profile.
    #[test]
    fn comes_back() {
        let file = file(&three());
        let (entries, lost) = scan(&file).unwrap();
        assert_eq!((entries.len(), lost), (3, 0));
        assert_eq!(
            entries.iter().map(|entry| entry.start).collect::<Vec<_>>(),
            [1, -2, i64::MAX]
        );
        assert_eq!(entries[2].read(&file).unwrap(), b"three");
        for sent in [
            Sent::Once,
            Sent::Failed,
            Sent::Twice,
            Sent::Provisional,
            Sent::Done,
        ] {
            entries[1].mark(&file, sent).unwrap();
            let states: Vec<Sent> = scan(&file).unwrap().0.iter().map(|e| e.sent).collect();
            assert_eq!(states, [Sent::Never, sent, Sent::Never]);
        }
    }

    /// Whatever byte is damaged and wherever the file is cut: no panic, nothing wrong is read, and what is lost is counted; it is one
    /// profile, unless it is the head of the file.
    #[test]
    fn damage_is_found() {
        let whole = three();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let file = file(&damaged);
            let scanned = scan(&file);
            assert_eq!(scanned.is_ok(), at >= FILE_HEADER, "byte {at}");
            if let Ok((entries, lost)) = scanned {
                assert_eq!(entries.len() + lost, 3, "byte {at}");
                let read: Vec<_> = entries.iter().filter_map(|e| e.read(&file).ok()).collect();
                assert_eq!(read.len(), 2, "byte {at}");
                assert!(
                    read.iter()
                        .all(|read| [&b"one"[..], b"", b"three"].contains(&read.as_slice())),
                    "byte {at}"
                );
            }
        }
        for cut in 0..whole.len() {
            let file = file(&whole[..cut]);
            if let Ok((entries, lost)) = scan(&file) {
                assert!(lost > 0 && entries.len() + lost == 3, "cut at {cut}");
            }
        }
    }
}
