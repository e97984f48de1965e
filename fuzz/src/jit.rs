//! What programs tell of the code that they make: perf maps and jitdumps, as they are read while they grow.

use crate::heap;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use symbolizer::{CodeChange, Jitdump, PerfMap, RunTimeCode};

/// Files larger than this say nothing more.
const LARGEST: usize = 64 << 10;
/// What names may take, of which the reading has as much again, and a chunk.
const NAMES: usize = 8 << 10;
const MEMORY: usize = NAMES * 4 + (192 << 10);
/// Bytes of a name that may be shown: each that is no text becomes three.
const LONGEST: usize = 3 * 512;
/// The process that the dumps of `seeds` are of.
const PID: u32 = 7;
/// What one reading may take.
const AT_A_TIME: u64 = 4096;

/// The first byte says which it is, the next two where it ends at first: the rest is read later.
pub(crate) fn check(input: &[u8]) {
    let Some(([kind, low, high], bytes)) = input.split_first_chunk() else {
        return;
    };
    if bytes.len() > LARGEST {
        return;
    }
    let first = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
    let (told, peak) = heap::peak_of(|| match kind & 1 {
        0 => perf_map(bytes, first),
        _ => jitdump(bytes, first),
    });
    assert!(peak <= MEMORY, "{peak} bytes of memory");
    assert!(told.bytes() <= NAMES);
}

/// What is known in the end is the same whether it was read as it came or all at once, unless what was there before has changed.
fn perf_map(bytes: &[u8], first: usize) -> RunTimeCode {
    let growing = file(&bytes[..first]);
    let mut map = PerfMap::new(growing.try_clone().unwrap());
    let mut in_parts = Told::new();
    in_parts.all(|told| map.read(AT_A_TIME, |change| told.take(&change)).unwrap());
    growing.write_all_at(&bytes[first..], first as u64).unwrap();
    in_parts.all(|told| map.read(AT_A_TIME, |change| told.take(&change)).unwrap());
    let mut whole = PerfMap::new(file(bytes));
    let mut at_once = Told::new();
    at_once.all(|told| {
        let all = bytes.len() as u64 + 1;
        whole.read(all, |change| told.take(&change)).unwrap()
    });
    in_parts.same_as(&at_once);
    // Another file in its place is read from its begin.
    growing.set_len(0).unwrap();
    map.read(AT_A_TIME, |change| {
        assert_eq!(change, CodeChange::Forgotten);
    })
    .unwrap();
    in_parts.code
}

/// The same of a dump, in which an error ends it for good.
fn jitdump(bytes: &[u8], first: usize) -> RunTimeCode {
    let growing = file(&bytes[..first]);
    let mut dump = Jitdump::new(growing.try_clone().unwrap(), PID);
    let mut in_parts = Told::new();
    let mut read = |told: &mut Told| {
        let read = dump.read(AT_A_TIME, |change| told.take(&change));
        read.unwrap_or(0)
    };
    in_parts.all(&mut read);
    growing.write_all_at(&bytes[first..], first as u64).unwrap();
    in_parts.all(&mut read);
    let mut whole = Jitdump::new(file(bytes), PID);
    let mut at_once = Told::new();
    at_once.all(|told| {
        let read = whole.read(u64::MAX, |change| told.take(&change));
        read.unwrap_or(0)
    });
    in_parts.same_as(&at_once);
    in_parts.code
}

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("told", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

/// What was told, and where code was or is.
struct Told {
    code: RunTimeCode,
    places: Vec<u64>,
}

impl Told {
    fn new() -> Self {
        Self {
            code: RunTimeCode::new(NAMES),
            places: Vec::new(),
        }
    }

    /// Reads until there is nothing more.
    fn all(&mut self, mut read: impl FnMut(&mut Self) -> u64) {
        while read(self) > 0 {}
    }

    fn take(&mut self, change: &CodeChange<'_>) {
        self.code.apply(change);
        assert!(self.code.bytes() <= NAMES, "{} bytes", self.code.bytes());
        let range = match change {
            CodeChange::Made { range, .. } | CodeChange::Moved { range, .. } => range,
            CodeChange::Forgotten => return,
        };
        assert!(range.start <= range.end);
        // Some of them are enough.
        if self.places.len() < 256 {
            self.places.extend([range.start, range.end.wrapping_sub(1)]);
        }
        for place in [range.start, range.end, range.end.wrapping_sub(1)] {
            if let Some(name) = self.code.name(place) {
                assert!(name.len() <= LONGEST && !name.ends_with("_[k]"), "{name}");
                assert!(!name.chars().any(char::is_control), "{name}");
            }
        }
    }

    fn same_as(&self, other: &Self) {
        assert_eq!(self.places, other.places);
        for place in &self.places {
            assert_eq!(self.code.name(*place), other.code.name(*place));
        }
    }
}

/// Maps and dumps as programs write them, and such as nobody should.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let map = b"7f5084006180 2b0 JS:*leaf /app/leaf.js:1:14\n7f5084006400 10 f\n0x7f5084006200 40 JS:~b\n";
    let odd = b"ff ffffffffffffffff all\nffffffffffffffff 2 wraps\n10 0 empty\nnot a line\n20 8 \n20 8 a\xff\x1b[0m_[k]_[k]\n20 4";
    let long = [b"1000 20 ".as_slice(), &[b'n'; 3000], b"\n1000 10 n\n"].concat();
    let dump = [
        header(PID),
        load(0x1000, 0x20, b"f"),
        record(2, &[1, 2], b"lines"),
        record(1, &[0x1000, 0x1000, 0x3000, 0x20, 1], b""),
        load(0x2000, 0x800, &[b'n'; 2000]),
        record(3, &[], b""),
    ];
    let dump = dump.concat();
    let odd_dump = [
        header(PID),
        load(u64::MAX - 1, 8, b"wraps"),
        record(1, &[9, 9, u64::MAX, 9, 9], b""),
        load(5, 5, b""),
        record(0, &[1], b""),
        load(0x10, 0x10, b"a\xff_[k]"),
        vec![0; 20],
    ];
    let of = |kind: u8, first: u16, bytes: &[u8]| {
        let [low, high] = first.to_le_bytes();
        [&[kind, low, high], bytes].concat()
    };
    vec![
        of(0, 0, map),
        of(0, 60, map),
        of(0, 30, odd),
        of(0, 1200, &long),
        of(1, 0, &dump),
        of(1, 70, &dump),
        of(1, 45, &odd_dump.concat()),
        of(1, 40, &header(PID + 1)),
    ]
}

fn header(pid: u32) -> Vec<u8> {
    let words = [0x4a69_5444, 1, 40, 62, 0, pid, 0, 0, 0, 0_u32];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn record(kind: u32, fields: &[u64], rest: &[u8]) -> Vec<u8> {
    let size = 24 + fields.len() * 8 + rest.len();
    let words = [kind, size as u32, 0, 0, PID, PID];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend(rest);
    bytes
}

fn load(start: u64, size: u64, name: &[u8]) -> Vec<u8> {
    let code = vec![0x90; size.min(0x1000) as usize];
    record(0, &[start, start, size, 1], &[name, b"\0", &code].concat())
}
