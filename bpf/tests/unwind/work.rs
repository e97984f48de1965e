//! What reading a file may take, counted: small beside what a hostile file asks for, and large beside what honest ones need.

use crate::made::{Cfi, Made, X86_64_BEGIN};
use bpf::unwind::{BuildError, Limits, Source, build, identify};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use tests::elf_files::library;

const CODE: u64 = 0x40_0000;

/// Counts what is read. A block of the source is read and hashed for it, however little it is.
struct Metered<'a, S: ?Sized> {
    source: &'a S,
    read: Cell<u64>,
}

impl<S: Source + ?Sized> Source for Metered<'_, S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read
            .set(self.read.get() + (buffer.len() as u64).max(4096));
        self.source.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }
}

fn with_work(work: u64) -> Limits {
    Limits {
        work,
        ..Limits::default()
    }
}

/// What a file of that size may take.
fn of_size(size: u64) -> u64 {
    Limits::default().work.min((16 << 20) + 16 * size)
}

/// The least work with which there is a table of it.
fn needed(source: &(impl Source + ?Sized)) -> u64 {
    let (mut too_little, mut enough) = (0, Limits::default().work);
    while enough - too_little > 1 {
        let middle = too_little.midpoint(enough);
        match build(source, 0, &with_work(middle)) {
            Err(BuildError::TooMuchWork) => too_little = middle,
            Err(error) => panic!("{error}"),
            Ok(_) => enough = middle,
        }
    }
    enough
}

/// It is given up for what it would take, and no more was read of it until then than a file of its size may take.
fn refused(source: &(impl Source + ?Sized)) {
    let metered = Metered {
        source,
        read: Cell::new(0),
    };
    let error = build(&metered, 0, &Limits::default()).unwrap_err();
    assert!(matches!(error, BuildError::TooMuchWork), "{error}");
    let most = of_size(source.size().unwrap());
    assert!(metered.read.get() <= most, "{} bytes", metered.read.get());
}

/// A section that inflates to more than sixty times the file it is in.
#[test]
fn inflates() {
    let bomb = Made {
        debug_frame: vec![0; 256 << 20],
        compress: true,
        code_offset: 0x30_0000,
        ..Made::new(Cfi::eh_frame())
    }
    .bytes();
    assert!(bomb.len() < 4 << 20);
    refused(&bomb[..]);
}

/// Compressed functions whose order is that of their addresses the other way round, so that each has the section inflated
/// from its start.
#[test]
fn inflates_again_and_again() {
    let mut cfi = Cfi::debug_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    for number in (0..8000).rev() {
        cfi.fde(cie, CODE + number * 16, 16, &[0; 200]);
    }
    let file = Made {
        debug_frame: cfi.bytes,
        compress: true,
        ..Made::new(Cfi::eh_frame())
    }
    .bytes();
    refused(&file[..]);
}

/// Instructions count, whether or not any row comes of them: twice as many take twice the work.
#[test]
fn instructions() {
    let with = |count: usize| {
        let mut cfi = Cfi::eh_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        for function in 0..count as u64 {
            // DW_CFA_remember_state, DW_CFA_restore_state
            cfi.fde(cie, CODE + function * 64, 64, &[0x0a, 0x0b].repeat(5000));
        }
        needed(&Made::new(cfi).bytes()[..])
    };
    let (some, twice) = (with(20), with(40));
    assert!(some > 20 * 10_000, "{some}");
    assert!(
        (190..=210).contains(&(100 * twice / some)),
        "{some} {twice}"
    );
}

/// Symbols whose names lie far from each other: each is a read of its own.
#[test]
fn symbols() {
    const COUNT: usize = 40_000;
    let name = "a".repeat(99).leak();
    let made = Made {
        code_offset: 0x100_0000,
        symbols: vec![(name, CODE, 1); COUNT],
        go: true,
        ..Made::new(Cfi::eh_frame())
    };
    let mut bytes = made.bytes();
    assert!(needed(&bytes[..]) < 16 << 20);
    let first = [1, 0, 0, 0, 0x12, 0, 1, 0];
    let at = bytes.windows(8).position(|window| window == first).unwrap();
    for number in 0..COUNT {
        // A prime number of names further on.
        let name = 1 + (number * 15_485_863 % COUNT * 100) as u32;
        bytes[at + number * 24..][..4].copy_from_slice(&name.to_le_bytes());
    }
    assert!(needed(&bytes[..]) > COUNT as u64 * 4096);
}

/// A file without end, all of which is call frame information.
#[test]
fn endless() {
    struct Endless {
        begin: Vec<u8>,
        entry: Vec<u8>,
    }
    impl Source for Endless {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let read = self.begin.as_slice().read_at(buffer, offset)?;
            let behind = (offset + read as u64).saturating_sub(self.begin.len() as u64);
            let entries = self.entry.iter().cycle();
            let entries = entries.skip((behind % self.entry.len() as u64) as usize);
            for (to, from) in buffer[read..].iter_mut().zip(entries) {
                *to = *from;
            }
            Ok(buffer.len())
        }
        fn size(&self) -> io::Result<u64> {
            Ok(1 << 40)
        }
    }
    // Nothing; a CIE after the other; entries of the largest size with an instruction a byte.
    let large = [
        &0x1_f000_u32.to_le_bytes()[..],
        &[4, 0, 0, 0],
        &vec![0x41; 0x1_effc],
    ]
    .concat();
    let cie = [
        16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0, 0, 0, 0, 0,
    ]
    .to_vec();
    for entry in [vec![0; 4], cie, large] {
        let mut cfi = Cfi::eh_frame();
        cfi.cie(X86_64_BEGIN);
        let mut begin = Made::new(cfi).bytes();
        // The section is at the end of the file, and the file has no end.
        let section = begin
            .windows(16)
            .rposition(|window| window[..8] == 0x20_1000_u64.to_le_bytes())
            .unwrap();
        let offset = begin.len() as u64;
        begin[section + 8..][..8].copy_from_slice(&offset.to_le_bytes());
        begin[section + 16..][..8].copy_from_slice(&(1_u64 << 39).to_le_bytes());
        let endless = Endless { begin, entry };
        refused(&endless);
        let identified = identify(&endless, &Limits::default());
        assert!(matches!(identified, Err(BuildError::TooMuchWork)));
    }
}

/// Files of this system take less than a quarter of what they may.
#[test]
fn honest() {
    let compiler = Path::new(env!("CARGO")).parent().unwrap().join("../lib");
    let driver = std::fs::read_dir(compiler).into_iter().flatten().flatten();
    let driver = driver
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("librustc_driver"));
    let libraries = ["libc.so.6", "libstdc++.so.6", "libcrypto.so.3"].map(library);
    let programs = ["/bin/sh", "/usr/bin/node", "/proc/self/exe"].map(|path| Some(path.into()));
    let files = libraries.into_iter().chain(programs).flatten();
    for path in files.chain(driver).filter(|path| path.exists()) {
        let file = File::open(&path).unwrap();
        let work = of_size(file.metadata().unwrap().len()) / 4;
        let built = build(&file, 0, &with_work(work));
        assert!(built.is_ok(), "{}: {work} is too little", path.display());
        identify(&file, &with_work(work)).unwrap();
    }
}
