//! Identities, and tables on disk.

use crate::made::{Cfi, Made, X86_64_BEGIN};
use bpf::unwind::{CacheError, Identity, Limits, Table, build, identify};
use std::collections::HashSet;

const CODE: u64 = 0x40_0000;

fn made() -> Made {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    for number in 0..20 {
        cfi.fde(
            cie,
            CODE + number * 100,
            90,
            &[0x0e, 8 * (1 + number as u8)],
        );
    }
    Made {
        debug_frame: Cfi::debug_frame().bytes,
        entry: CODE,
        ..Made::new(cfi)
    }
}

fn identity(made: &Made) -> Identity {
    identify(&made.bytes()[..], &Limits::default()).unwrap()
}

/// A file has one identity wherever it lies; whatever its table depends on changes it: call frame information, where code
/// and frames lie, the entry, functions known by name.
#[test]
fn identities() {
    let base = made();
    assert_eq!(identity(&base), identity(&base.clone()));
    let mut other_rule = base.clone();
    let last = other_rule.eh_frame.len() - 1;
    other_rule.eh_frame[last - 1] ^= 8;
    let others = [
        other_rule,
        Made {
            code_address: CODE + 0x1000,
            ..base.clone()
        },
        Made {
            code_offset: base.code_offset + 0x1000,
            ..base.clone()
        },
        Made {
            entry: CODE + 5000,
            ..base.clone()
        },
        Made {
            machine: 183,
            ..base.clone()
        },
        Made {
            symbols: vec![("__restore_rt", CODE + 6000, 9)],
            ..base.clone()
        },
        Made {
            symbols: vec![("__restore_rt", CODE + 7000, 9)],
            ..base.clone()
        },
        Made {
            symbols: vec![("__restore_xx", CODE + 7000, 9)],
            ..base.clone()
        },
    ];
    let digests: HashSet<_> = others
        .iter()
        .chain([&base])
        .map(|made| identity(made).digest)
        .collect();
    assert_eq!(digests.len(), others.len() + 1);
    assert_eq!(identity(&base).to_string().len(), 64);
}

/// The build id that `readelf` shows is the one found.
#[test]
fn build_id() {
    let path = tests::elf_files::library("libc.so.6").unwrap();
    let shown = std::process::Command::new("readelf")
        .arg("-n")
        .arg(&path)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let (_, id) = shown.split_once("Build ID: ").unwrap();
    let found = identify(&std::fs::File::open(path).unwrap(), &Limits::default()).unwrap();
    let found: String = found
        .build_id
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(Some(&found[..]), id.lines().next());
}

/// What was written is read back, by the same file, piece and version only, and not if a single bit of it is different.
#[test]
fn reads_back_only_what_is_whole() {
    let made = made();
    let limits = Limits::default();
    let table = build(&made.bytes()[..], 0, &limits).unwrap();
    let identity = identity(&made);
    let mut file = Vec::new();
    table.write_to(&mut file, &identity, 0).unwrap();
    let read = |file: &[u8]| Table::read_from(file, &identity, 0, &limits);
    assert_eq!(read(&file).unwrap(), table);

    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged).is_err(), "bit {bit}");
    }
    for len in 0..file.len() {
        assert!(read(&file[..len]).is_err(), "{len} bytes");
    }
    assert!(matches!(
        read(&[&file[..], &[0]].concat()),
        Err(CacheError::Damaged)
    ));

    let other = Identity {
        digest: [7; 32],
        ..identity.clone()
    };
    assert!(matches!(
        Table::read_from(&file[..], &other, 0, &limits),
        Err(CacheError::OtherFile)
    ));
    assert!(matches!(
        Table::read_from(&file[..], &identity, 1, &limits),
        Err(CacheError::OtherFile)
    ));
    let small = Limits {
        image_bytes: 10,
        ..limits
    };
    assert!(matches!(
        Table::read_from(&file[..], &identity, 0, &small),
        Err(CacheError::TooLarge)
    ));
}
