//! Debug files that a worker reads: found below a root directory, or fetched.

use crate::support::{Workshop, open, run};
use crate::{alone, name_at, offset_of, split, stats, symbolizer};
use std::fs::{self, File};
use std::process::Command;
use std::sync::Arc;

/// The debug file of a stripped program is read by the worker, too, below the root directory that comes with the program. One that a
/// link leads to from there is the one that it leads to below that root, and no other.
#[test]
fn debug_files_come_from_below_the_root() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = workshop.c_program("whole", &["-O2", "-g", "-Wl,--build-id=0x0123456789abcdef"]);
    let leaf = offset_of(&whole, "leaf");
    let root = workshop.path("root");
    let debug = root.join("usr/lib/debug/.build-id/01/23456789abcdef.debug");
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    let program = root.join("program");
    run(Command::new("strip").arg("-o").arg(&program).arg(&whole));
    let outside = workshop.path("outside.debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(&whole)
        .arg(&outside));
    std::os::unix::fs::symlink(&outside, &debug).unwrap();
    let name = || {
        let root = Arc::new(File::open(&root).unwrap().into());
        let module = open(&program).with_roots("/program", [root]);
        name_at(&mut symbolizer(), &module, leaf)
    };
    assert_eq!(name(), None);
    let inside = root.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::copy(&outside, &inside).unwrap();
    assert_eq!(name().as_deref(), Some("leaf"));
}

/// A debug file that comes while the program is being named counts from then on, as far as nothing was said before: places without a name
/// get one, and inlined functions, and lines. What had a name keeps it as it was.
#[test]
fn a_debug_file_that_comes_later_counts() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = workshop.c_program("whole", &["-O2", "-g", "-Wl,--build-id=0x0123456789abcdef"]);
    let leaf = offset_of(&whole, "leaf");
    let expected = symbolizer().user(&open(&whole), &[leaf, leaf + 1]);
    assert!(expected.iter().all(|answer| answer.frames.len() > 1));
    for (strip, had_name) in [("--strip-all", false), ("--strip-debug", true)] {
        let (program, debug) = split(&workshop, &whole, strip);
        let mut symbolizer = symbolizer();
        let module = open(&program);
        assert!(!symbolizer.lacks_debug_info(&module));
        let before = symbolizer.user(&module, &[leaf]).remove(0);
        assert_eq!((before.named, before.frames[0].line), (had_name, 0));
        assert!(symbolizer.lacks_debug_info(&module));
        symbolizer.give_debug_file(&module, File::open(debug).unwrap());
        assert!(!symbolizer.lacks_debug_info(&module));
        let after = symbolizer.user(&module, &[leaf, leaf + 1]);
        if had_name {
            assert_eq!(after[0], before);
        } else {
            assert_eq!(after[0].frames, expected[0].frames);
        }
        assert_eq!(after[1].frames, expected[1].frames);
        assert!(!symbolizer.lacks_debug_info(&module));
        assert!(symbolizer.take_failures().is_empty());
        assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 1));
    }
    assert!({
        let mut symbolizer = symbolizer();
        let module = open(&whole);
        symbolizer.user(&module, &[leaf]);
        !symbolizer.lacks_debug_info(&module)
    });
}

/// A debug file of another program, of one without a build id, or of none says nothing of this one, and that is told.
#[test]
fn a_debug_file_of_another_program_is_refused() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = |name: &str, id: &str| {
        workshop.c_program(name, &["-O2", "-g", &format!("-Wl,--build-id={id}")])
    };
    let right = whole("whole", "0x0123456789abcdef");
    let leaf = offset_of(&right, "leaf");
    let garbage = workshop.path("garbage");
    fs::write(&garbage, b"\x7fELF\x02\x01\x01 and so on").unwrap();
    for (debug, said) in [
        (whole("other", "0x0123456789abcdee"), "another build id"),
        (whole("none", "none"), "no build id"),
        (garbage, "the file header is missing or makes no sense"),
    ] {
        let (program, _) = split(&workshop, &right, "--strip-all");
        let mut symbolizer = symbolizer();
        let module = open(&program);
        symbolizer.user(&module, &[leaf]);
        symbolizer.give_debug_file(&module, File::open(debug).unwrap());
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None);
        assert!(symbolizer.lacks_debug_info(&module));
        let failures = symbolizer.take_failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].error.to_string().contains(said), "{failures:?}");
    }
}
