//! Stripped files that keep their symbols compressed, made as Fedora's packages are.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSection};
use support::{C, Workshop, file_offset, functions, open, run, with_mini_debug_info};
use symbolizer::{Options, Symbolizer};

/// Every function, also those that only the compressed table has, is named as in the library before it was stripped, and compressed in any
/// way that xz has; what is damaged, or too large for its budget, costs only the names that are in it.
#[test]
fn names_of_a_stripped_library() {
    let workshop = Workshop::new();
    let whole = workshop.compile("cc", C, "lib.so", &["-O2", "-shared", "-fPIC"]);
    let image = std::fs::read(&whole).unwrap();
    let stripped = workshop.path("stripped");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));

    let own: Vec<_> = functions(&image).into_iter().filter(support::own).collect();
    assert!(own.len() >= 4 && own.iter().any(|function| function.name == "local"));
    let offsets: Vec<u64> = own
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    let names = |library: &Path, debug_bytes: u64| -> Vec<String> {
        let options = Options {
            debug_bytes,
            ..Options::default()
        };
        let answers = Symbolizer::new(options).user(&open(library), &offsets);
        answers
            .iter()
            .map(|answer| answer.frames[0].system_name.to_string())
            .collect()
    };
    let all: Vec<String> = own.iter().map(|function| function.name.clone()).collect();
    let is_exported = |name: &String| name != "local";
    let exported: Vec<&String> = all.iter().filter(|name| is_exported(name)).collect();
    let only_exported = |names: &[String]| {
        let known: Vec<&String> = names.iter().filter(|name| !name.contains("+0x")).collect();
        known == exported
    };
    assert!(only_exported(&names(&stripped, 64 << 20)));

    for arguments in [
        &["-6"][..],
        &["-9", "--check=crc32"],
        &["--x86", "--lzma2"],
        &["--check=none"],
    ] {
        let library = with_mini_debug_info(&workshop, &whole, arguments);
        assert_eq!(names(&library, 64 << 20), all, "{arguments:?}");
        assert!(only_exported(&names(&library, 8 << 10)));

        let mut bytes = std::fs::read(&library).unwrap();
        let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*bytes).unwrap();
        let (start, size) = elf
            .section_by_name(".gnu_debugdata")
            .and_then(|section| section.file_range())
            .unwrap();
        let middle = (start + size / 2) as usize;
        bytes[middle..middle + 16].fill(0xa5);
        std::fs::write(&library, &bytes).unwrap();
        assert!(only_exported(&names(&library, 64 << 20)), "{arguments:?}");
    }
}
