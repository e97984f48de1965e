//! Files that are damaged, lie about themselves or change while they are read: an error or a table, in bounded memory.

use crate::made::{Cfi, Made, X86_64_BEGIN};
use bpf::unwind::{BuildError, Limits, Source, build, identify};
use std::cell::Cell;
use std::{fs, io};

const CODE: u64 = 0x40_0000;

/// A file with something of everything.
fn made() -> Made {
    let add = |mut cfi: Cfi, from: u64| {
        let cie = cfi.cie(X86_64_BEGIN);
        for number in 0..20 {
            let instructions = [
                0x41, 0x0e, 16, 0x86, 2, 0x44, 0x0a, 0x0f, 3, 0x76, 0x78, 0x06, 0x48, 0x0b,
            ];
            cfi.fde(cie, CODE + from + number * 100, 90, &instructions);
        }
        cfi
    };
    let mut made = Made::new(add(Cfi::eh_frame(), 0));
    made.debug_frame = add(Cfi::debug_frame(), 4000).bytes;
    made.code_offset = 0x4000;
    made.code.truncate(0x2000);
    made.entry = CODE + 0x1000;
    made.symbols = vec![("__restore_rt", CODE + 0x1100, 9)];
    made
}

/// All that may be asked of a file, within limits; what comes of it is checked.
fn read(source: &(impl Source + ?Sized), limits: &Limits) -> bool {
    let _ = identify(source, limits);
    let Ok(table) = build(source, 0, limits) else {
        return false;
    };
    assert!(table.image().len() <= limits.image_bytes);
    let mut last = None;
    for (offset, rule) in table.rows() {
        assert!(last.is_none_or(|last| last < offset), "rows descend");
        last = Some(offset);
        if let Ok(offset) = u32::try_from(offset) {
            assert_eq!(table.lookup(offset), rule);
        }
    }
    true
}

fn small() -> Limits {
    Limits {
        image_bytes: 1 << 20,
        functions: 10_000,
        work: 4 << 20,
    }
}

/// Numbers without end that look random: xorshift64.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

/// A file cut off anywhere.
#[test]
fn truncated() {
    for (compress, sections) in [(false, true), (true, true), (false, false)] {
        let bytes = Made {
            compress,
            sections,
            ..made()
        }
        .bytes();
        assert!(read(&bytes[..], &small()));
        for len in 0..bytes.len().min(0x4000) {
            read(&bytes[..len], &small());
        }
    }
}

/// Bytes changed at random, in a made file and in this program's own: header, sections, CFI. Many values that lie: all ones,
/// small ones, high bits.
#[test]
fn mutated() {
    let own = fs::read("/proc/self/exe").unwrap();
    // Headers and frames only: half of all changes are to hit what is read.
    for (bytes, rounds) in [(made().bytes(), 30_000), (own, 60)] {
        let mut random = random(88_172_645_463_325_252);
        for _ in 0..rounds {
            let mut bytes = bytes.clone();
            for _ in 0..=random(4) {
                let near = [0x140, 0x2000, bytes.len()][random(3)];
                let at = random(near.min(bytes.len() - 8));
                match random(4) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes[at..at + 8].fill(0xff),
                    2 => bytes[at] ^= 1 << random(8),
                    _ => bytes[at..at + 4].copy_from_slice(&(random(1 << 16) as u32).to_le_bytes()),
                }
            }
            read(&bytes[..], &small());
        }
    }
}

/// No read of a file that ends earlier each time does more than fail.
#[test]
fn shrinks_while_read() {
    struct Shrinking<'a> {
        bytes: &'a [u8],
        reads_left: Cell<usize>,
    }
    impl Source for Shrinking<'_> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let left = self.reads_left.get().checked_sub(1);
            self.reads_left.set(left.unwrap_or(0));
            let bytes = if left.is_some() { self.bytes } else { &[] };
            bytes.read_at(buffer, offset)
        }
        fn size(&self) -> io::Result<u64> {
            self.bytes.size()
        }
    }
    let bytes = made().bytes();
    let whole = build(&bytes[..], 0, &Limits::default()).unwrap();
    for reads in 0.. {
        let source = Shrinking {
            bytes: &bytes,
            reads_left: Cell::new(reads),
        };
        match build(&source, 0, &Limits::default()) {
            Err(BuildError::Truncated | BuildError::NotElf) => {}
            // Sections that cannot be read any more are as if they had never been there.
            Ok(table) if table != whole => {}
            Ok(_) if source.reads_left.get() > 0 => break,
            Ok(_) => {}
            Err(error) => panic!("after {reads} reads: {error:?}"),
        }
    }
}

/// Each limit ends the building, with its own error.
#[test]
fn limits() {
    let bytes = made().bytes();
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        build(&bytes[..], 0, &limits).unwrap_err()
    };
    assert!(matches!(
        with(|limits| limits.image_bytes = 50),
        BuildError::ImageTooLarge(50)
    ));
    assert!(matches!(
        with(|limits| limits.functions = 30),
        BuildError::TooManyFunctions(30)
    ));
    assert!(matches!(
        with(|limits| limits.work = 700),
        BuildError::TooMuchWork
    ));
}

/// Functions that ask in turn for two large CIEs, one within the other, cost what reading those again and again would.
#[test]
fn entries_in_turn() {
    const CIE_BYTES: usize = 60_000;
    const SECOND: usize = 256;
    let table = |functions: u64| {
        // DW_CFA_expression of register 0 in a block, in which the second CIE's fields are.
        let mut cfi = Cfi::eh_frame();
        let mut instructions = vec![0; CIE_BYTES];
        let at = 8 + 9; // of the instructions in the section
        instructions[..5].copy_from_slice(X86_64_BEGIN);
        instructions[5..9].copy_from_slice(&[0x10, 0, 0xff, 0x03]);
        let fields = [&[0; 4][..], &[1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b]].concat();
        instructions[SECOND - at + 4..][..fields.len()].copy_from_slice(&fields);
        let first = cfi.cie(&instructions);
        let length = (cfi.bytes.len() - SECOND - 4) as u32;
        cfi.bytes[SECOND..SECOND + 4].copy_from_slice(&length.to_le_bytes());
        for number in 0..functions {
            let cie = [first, SECOND as u64][number as usize % 2];
            cfi.fde(cie, CODE + number * 16, 16, &[]);
        }
        build(&Made::new(cfi).bytes()[..], 0, &Limits::default())
    };
    assert_eq!(table(10).unwrap().rows().count(), 11);
    let error = table(500).unwrap_err();
    assert!(matches!(error, BuildError::TooMuchWork), "{error}");
}

/// A file that another thread cuts off and writes again all the time, as it is built of and identified: an error or a
/// table, and afterwards the next file's is as ever.
#[test]
fn truncated_by_another() {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    let bytes = made().bytes();
    let whole = build(&bytes[..], 0, &small()).unwrap();
    let file = tempfile::tempfile().unwrap();
    let (done, mut cut) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = random(0x7468_6572_6d6f);
            while !done.load(Ordering::Relaxed) {
                file.set_len(random(bytes.len()) as u64).unwrap();
                file.write_all_at(&bytes, 0).unwrap();
            }
        });
        for _ in 0..5000 {
            let _ = identify(&file, &small());
            match build(&file, 0, &small()) {
                Ok(table) => cut += usize::from(table != whole),
                Err(_) => cut += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(cut > 0, "it was never seen cut off");
    assert_eq!(build(&bytes[..], 0, &small()).unwrap(), whole);
}

/// A function of 4 GiB of code that is not there costs its pages and no more than the limit.
#[test]
fn huge_function() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    cfi.fde(cie, CODE, 0xffff_0000, &[]);
    let made = Made {
        sections: true,
        ..Made::new(cfi)
    };
    let mut bytes = made.bytes();
    // Size in the file and in memory of the second program header.
    for field in [0x20, 0x28] {
        bytes[64 + 56 + field..][..8].copy_from_slice(&0xffff_f000_u64.to_le_bytes());
    }
    let table = build(&bytes[..], 0, &Limits::default()).unwrap();
    assert!(table.image().len() < 5 << 20);
    let error = build(&bytes[..], 0, &small()).unwrap_err();
    assert!(matches!(error, BuildError::ImageTooLarge(_)));
}

/// What is no ELF file, and ELF of other machines, are told apart.
#[test]
fn other_files() {
    let error = |bytes: &[u8]| build(bytes, 0, &Limits::default()).unwrap_err();
    assert!(matches!(error(b""), BuildError::NotElf));
    assert!(matches!(error(b"#!/bin/sh\n"), BuildError::NotElf));
    assert!(matches!(error(&[0; 100]), BuildError::NotElf));
    let mut bytes = made().bytes();
    assert!(matches!(error(&bytes[..63]), BuildError::NotElf));
    bytes[18] = 3;
    assert!(matches!(error(&bytes), BuildError::Machine));
    bytes[4] = 1;
    assert!(matches!(error(&bytes), BuildError::Machine));
}
