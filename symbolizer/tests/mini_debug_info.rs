//! Stripped files that keep their symbols compressed, made as Fedora's packages are.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{C, Workshop, file_offset, functions, open, run};
use symbolizer::{Options, Symbolizer};

/// A stripped library with these bytes for its MiniDebugInfo.
fn with_mini(workshop: &Workshop, stripped: &Path, mini: &Path) -> PathBuf {
    let library = workshop.path("with_mini");
    let argument = format!(".gnu_debugdata={}", mini.display());
    let mut objcopy = Command::new("objcopy");
    run(objcopy
        .arg("--add-section")
        .arg(argument)
        .arg(stripped)
        .arg(&library));
    library
}

/// Every function, also those that only the compressed table has, is named as in the library before it was stripped, and compressed in any
/// way that xz has; what is damaged, or too large for its budget, costs only the names that are in it.
#[test]
fn names_of_a_stripped_library() {
    let workshop = Workshop::new();
    let whole = workshop.compile("cc", C, "lib.so", &["-O2", "-shared", "-fPIC"]);
    let image = std::fs::read(&whole).unwrap();
    let [stripped, mini] = ["stripped", "mini"].map(|name| workshop.path(name));
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
    let mut objcopy = Command::new("objcopy");
    run(objcopy
        .args(["-S", "--remove-section=.comment", "--keep-symbol=local"])
        .arg(&whole)
        .arg(&mini));
    let mut objcopy = Command::new("objcopy");
    run(objcopy.arg("--only-keep-debug").arg(&whole).arg(&mini));

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
        let packed = workshop.path("packed");
        std::fs::write(
            &packed,
            run(Command::new("xz").arg("-c").args(arguments).arg(&mini)),
        )
        .unwrap();
        let library = with_mini(&workshop, &stripped, &packed);
        assert_eq!(names(&library, 64 << 20), all, "{arguments:?}");
        assert!(only_exported(&names(&library, 8 << 10)));

        let mut bytes = std::fs::read(&packed).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 16].fill(0xa5);
        std::fs::write(&packed, &bytes[..bytes.len() - 8]).unwrap();
        let library = with_mini(&workshop, &stripped, &packed);
        assert!(only_exported(&names(&library, 64 << 20)), "{arguments:?}");
    }
}
