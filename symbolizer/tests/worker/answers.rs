//! Names by a worker are those that this process would give.

use crate::support::{C, CPP, RUST, Workshop, file_offset, functions, open, with_mini_debug_info};
use crate::{alone, name_at, offset_of, stats, symbolizer};
use std::fs;
use std::time::Duration;
use symbolizer::{Options, Symbolizer};

/// Every byte of every function of programs in three languages is named as this process names it: functions, inlined
/// ones, files, lines.
#[test]
fn answers_are_those_of_this_process() {
    let _alone = alone();
    let workshop = Workshop::new();
    let source = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
    for (compiler, source, arguments) in [
        ("cc", &*source, ["-O2", "-g"].as_slice()),
        ("cc", &*source, &["-O2"]),
        ("c++", CPP, &["-O2", "-g"]),
        ("rustc", RUST, &["-O", "-g"]),
    ] {
        let name = format!("{compiler}{}", arguments.len());
        let program = workshop.compile(compiler, source, &name, arguments);
        let image = fs::read(&program).unwrap();
        let module = open(&program);
        let offsets: Vec<u64> = functions(&image)
            .iter()
            .flat_map(|function| {
                let start = file_offset(&image, function.address);
                start..start + function.size
            })
            .filter(|&offset| module.elf_address(offset).is_some())
            .collect();
        assert!(offsets.len() > 100, "{compiler}: {}", offsets.len());
        let mut here = Symbolizer::new(Options::default());
        let mut there = symbolizer();
        // A window takes 4 MB of one file.
        for offsets in offsets.chunks(5000) {
            there.begin_window(Duration::from_secs(4));
            let (there, here) = (there.user(&module, offsets), here.user(&module, offsets));
            assert!(there == here, "{compiler}");
        }
        assert_eq!(there.take_failures(), here.take_failures());
        assert_eq!(there.worker_stats(), stats(|stats| stats.started = 1));
    }
}

/// A file that nobody but its owner may read is still named, with lines and inlined functions: what counts is the open file. What is said of
/// every byte of its functions is what this process says, which may open it.
#[test]
fn files_that_it_could_not_open_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let _alone = alone();
    let workshop = Workshop::new();
    let c = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
    for (compiler, source, optimized) in [
        ("cc", &*c, "-O2"),
        ("c++", CPP, "-O2"),
        ("rustc", RUST, "-O"),
    ] {
        let program = workshop.compile(compiler, source, compiler, &[optimized, "-g"]);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let image = fs::read(&program).unwrap();
        let module = open(&program);
        let offsets = functions(&image).into_iter().flat_map(|function| {
            let start = file_offset(&image, function.address);
            start..start + function.size.min(200)
        });
        let offsets: Vec<u64> = offsets
            .filter(|&offset| module.elf_address(offset).is_some())
            .collect();
        let mut there = symbolizer();
        let mut here = Symbolizer::new(Options::default());
        let mut inlined = 0;
        for offsets in offsets.chunks(5000) {
            there.begin_window(Duration::from_secs(4));
            let (there, here) = (there.user(&module, offsets), here.user(&module, offsets));
            for (there, here) in there.iter().zip(&here) {
                assert_eq!(there, here, "{compiler}");
            }
            inlined += here.iter().filter(|answer| answer.frames.len() > 1).count();
        }
        assert!(inlined > 10, "{compiler}: {inlined}");
        assert!(there.take_failures().is_empty());
    }
}

/// Compressed symbols are read by a worker, too, which needs a file in memory for them.
#[test]
fn compressed_symbols_are_named() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = workshop.compile("cc", C, "lib.so", &["-O2", "-shared", "-fPIC"]);
    let local = offset_of(&whole, "local");
    let module = open(&with_mini_debug_info(&workshop, &whole, &["-6"]));
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &module, local).as_deref(),
        Some("local")
    );
    assert!(symbolizer.take_failures().is_empty());
}
