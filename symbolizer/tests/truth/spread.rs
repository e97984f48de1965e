//! Debug information that is compressed, in other files, or shared.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{CompressionFormat, LittleEndian, Object, ObjectSection};
use symbolizer::Module;

use crate::agree;
use crate::classes::Class::{self, Alias, FileOfSymbolTable, MiddleDot, Part, SamePath};
use crate::support::{CPP, GO, RUST, Workshop, open, run};

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

/// Every version of DWARF of both compilers of C++.
const CPP_VARIANTS: [Variant; 4] = [
    ("g++", "gcc_v4", &["-O2", "-gdwarf-4"]),
    ("g++", "gcc_v5", &["-O2", "-gdwarf-5"]),
    ("clang++", "clang_v4", &["-O2", "-gdwarf-4"]),
    ("clang++", "clang_v5", &["-O2", "-gdwarf-5"]),
];
const RUSTC: Variant = (
    "rustc",
    "rust",
    &["-O", "-g", "--crate-name", "rusty", BUILD_ID],
);
const BUILD_ID: &str = "-Clink-arg=-Wl,--build-id=0x0123456789";

/// Compiler, name of the program and arguments.
type Variant = (&'static str, &'static str, &'static [&'static str]);

fn variants() -> impl Iterator<Item = Variant> {
    CPP_VARIANTS.into_iter().chain([RUSTC])
}

fn source(compiler: &str) -> &'static str {
    match compiler {
        "rustc" => RUST,
        _ => CPP,
    }
}

/// Those of our own programs; Rust's standard library is larger than they are.
fn own(name: &str) -> bool {
    !name.starts_with("_R") || name.contains("rusty")
}

/// Rust's C library has names without lines.
const CLASSES: &[Class] = &[Alias, Part, FileOfSymbolTable];

/// Compressed sections in each of the three ways; the tool is asked about what was compressed, because it does not know all of them.
#[test]
fn compressed() {
    let workshop = Workshop::new();
    for (compiler, name, arguments) in variants() {
        let whole = workshop.compile(compiler, source(compiler), name, arguments);
        for kind in ["zlib", "zlib-gnu", "zstd"] {
            let program = workshop.path(&format!("{name}_{kind}"));
            let argument = format!("--compress-debug-sections={kind}");
            objcopy(&[&argument], &whole, &program);
            agree(&open(&program), &whole, own, CLASSES);
        }
    }
}

/// What units have in common moved to units of its own in the same file, by `dwz`.
#[test]
fn deduplicated() {
    let workshop = Workshop::new();
    for (compiler, name, arguments) in variants() {
        // dwz does not know clang's `.debug_addr`.
        if name == "clang_v5" {
            continue;
        }
        let whole = workshop.compile(compiler, source(compiler), name, arguments);
        let program = workshop.path(&format!("{name}_dwz"));
        run(Command::new("dwz").arg("-o").arg(&program).arg(&whole));
        let size = |file: &Path| std::fs::metadata(file).unwrap().len();
        assert!(size(&program) < size(&whole), "{name}");
        agree(&open(&program), &whole, own, CLASSES);
    }
}

/// Stripped of all that can be stripped, with the rest in another file: beside it, in `.debug`, below `/usr/lib/debug` by its path and by
/// its build id.
#[test]
fn stripped() {
    for (compiler, name, arguments) in variants() {
        let build_id: &[&str] = match compiler {
            "rustc" => &[],
            _ => &["-Wl,--build-id=0x0123456789"],
        };
        for (debug, is_linked) in [
            ("opt/program.debug", true),
            ("opt/.debug/program.debug", true),
            ("usr/lib/debug/opt/program.debug", true),
            ("usr/lib/debug/.build-id/01/23456789.debug", false),
        ] {
            let workshop = Workshop::new();
            let arguments = [arguments, build_id].concat();
            let whole = workshop.compile(compiler, source(compiler), name, &arguments);
            let program = place(&workshop, "opt/program");
            let debug = place(&workshop, debug);
            objcopy(&["--only-keep-debug"], &whole, &debug);
            objcopy(&["--strip-all"], &whole, &program);
            if is_linked {
                let link = format!("--add-gnu-debuglink={}", debug.display());
                run(Command::new("objcopy").arg(link).arg(&program));
            }
            let module = in_root(&program, &workshop.path(""));
            agree(&module, &whole, own, CLASSES);
        }
    }
}

/// Go compresses what it makes unless it is told not to.
#[test]
fn go() {
    let workshop = Workshop::new();
    let program = workshop.compile("go", GO, "program", &[]);
    let image = std::fs::read(&program).unwrap();
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
    let info = elf.section_by_name(".debug_info").unwrap();
    let format = info.compressed_file_range().unwrap().format;
    assert_eq!(format, CompressionFormat::Zlib);
    let own = |name: &str| name.starts_with("main.");
    let classes = [Part, SamePath, MiddleDot, FileOfSymbolTable];
    agree(&open(&program), &program, own, &classes);
}

/// Split off by the compiler, as it left it and as a package.
#[test]
fn split() {
    for (compiler, name, arguments) in CPP_VARIANTS {
        let workshop = Workshop::new();
        let arguments = [arguments, &["-gsplit-dwarf"]].concat();
        let program = workshop.compile(compiler, CPP, name, &arguments);
        let module = || in_root(&program, Path::new("/"));
        agree(&module(), &program, own, CLASSES);

        // No packager of today reads what gcc writes as version 5.
        let packager = match name {
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
        agree(&module(), &program, own, CLASSES);
    }
}

/// Split off by Rust's compiler, into files and into a package, and the rest is as the standard library has it.
#[test]
fn split_rust() {
    for (split, extension) in [("packed", "dwp"), ("unpacked", "dwo")] {
        let workshop = Workshop::new();
        let (compiler, name, arguments) = RUSTC;
        let split = format!("-Csplit-debuginfo={split}");
        let arguments = [arguments, &[&*split]].concat();
        let program = workshop.compile(compiler, RUST, name, &arguments);
        let files = std::fs::read_dir(workshop.path("")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let is_split = |path: PathBuf| path.extension().is_some_and(|found| found == extension);
        assert!(files.any(is_split), "{split}");
        agree(&in_root(&program, Path::new("/")), &program, own, CLASSES);
    }
}
