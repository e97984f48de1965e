//! Debug information that is compressed, in other files, or shared.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use symbolizer::Module;

use crate::classes::Class::{Alias, Part};
use crate::support::{CPP, Workshop, open, run};
use crate::{agree, all};

/// A program with a root directory below which other files may be looked for.
fn in_root(program: &Path, root: &Path) -> Module {
    let path = Path::new("/").join(program.strip_prefix(root).unwrap());
    open(program).with_roots(path, [Arc::new(File::open(root).unwrap().into())])
}

fn objcopy(arguments: &[&str], from: &Path, to: &Path) {
    run(Command::new("objcopy").args(arguments).arg(from).arg(to));
}

/// A place in the workshop, with the directory for it.
fn place(workshop: &Workshop, path: &str) -> PathBuf {
    let path = workshop.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

/// Every version of DWARF of both compilers.
const VARIANTS: &[(&str, &str, &[&str])] = &[
    ("g++", "gcc_v4", &["-O2", "-gdwarf-4"]),
    ("g++", "gcc_v5", &["-O2", "-gdwarf-5"]),
    ("clang++", "clang_v4", &["-O2", "-gdwarf-4"]),
    ("clang++", "clang_v5", &["-O2", "-gdwarf-5"]),
];

/// Compressed sections in each of the three ways; the tool is asked about what was compressed, because it does not know all of them.
#[test]
fn compressed() {
    let workshop = Workshop::new();
    for (compiler, name, arguments) in VARIANTS {
        let whole = workshop.compile(compiler, CPP, name, arguments);
        for kind in ["zlib", "zlib-gnu", "zstd"] {
            let program = workshop.path(&format!("{name}_{kind}"));
            let argument = format!("--compress-debug-sections={kind}");
            objcopy(&[&argument], &whole, &program);
            agree(&open(&program), &whole, all, &[Alias, Part]);
        }
    }
}

/// Stripped of all that can be stripped, with the rest in another file: beside it, in `.debug`, below `/usr/lib/debug` by its path and by
/// its build id.
#[test]
fn stripped() {
    for (compiler, name, arguments) in VARIANTS {
        for (debug, is_linked) in [
            ("opt/program.debug", true),
            ("opt/.debug/program.debug", true),
            ("usr/lib/debug/opt/program.debug", true),
            ("usr/lib/debug/.build-id/01/23456789.debug", false),
        ] {
            let workshop = Workshop::new();
            let arguments = [*arguments, &["-Wl,--build-id=0x0123456789"]].concat();
            let whole = workshop.compile(compiler, CPP, name, &arguments);
            let program = place(&workshop, "opt/program");
            let debug = place(&workshop, debug);
            objcopy(&["--only-keep-debug"], &whole, &debug);
            objcopy(&["--strip-all"], &whole, &program);
            if is_linked {
                let link = format!("--add-gnu-debuglink={}", debug.display());
                run(Command::new("objcopy").arg(link).arg(&program));
            }
            let module = in_root(&program, &workshop.path(""));
            agree(&module, &whole, all, &[Alias, Part]);
        }
    }
}

/// Split off by the compiler, as it left it and as a package.
#[test]
fn split() {
    for (compiler, name, arguments) in VARIANTS {
        let workshop = Workshop::new();
        let arguments = [*arguments, &["-gsplit-dwarf"]].concat();
        let program = workshop.compile(compiler, CPP, name, &arguments);
        let module = || in_root(&program, Path::new("/"));
        agree(&module(), &program, all, &[Alias, Part]);

        // No packager of today reads what gcc writes as version 5.
        let packager = match *name {
            "gcc_v4" => "dwp",
            "gcc_v5" => continue,
            _ => "llvm-dwp",
        };
        let package = format!("{}.dwp", program.display());
        run(Command::new(packager)
            .arg("-e")
            .arg(&program)
            .arg("-o")
            .arg(package));
        let mut left = 0;
        for file in std::fs::read_dir(workshop.path("")).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "dwo") {
                std::fs::remove_file(file).unwrap();
                left += 1;
            }
        }
        assert_eq!(left, 1, "{}", program.display());
        agree(&module(), &program, all, &[Alias, Part]);
    }
}
