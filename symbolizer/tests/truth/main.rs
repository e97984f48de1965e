//! Every address of every function: names, files, lines and inlined functions are those of llvm-symbolizer, which shares no
//! code with us. Where they differ the difference is of a class with an exact rule.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod classes;
mod compare;
mod demangled;
mod spread;
#[path = "../support/mod.rs"]
mod support;
mod tool;

use std::path::Path;

use classes::Class::{self, Alias, FileOfSymbolTable, MiddleDot, Part, SamePath};
use compare::compare;
use support::{C, CPP, GO, RUST, Workshop, open};
use symbolizer::Module;

/// A program says the same as the tool says of `truth`, lines and inlined functions with it, but for differences of `classes`.
fn agree(module: &Module, truth: &Path, own: impl Fn(&str) -> bool, classes: &[Class]) {
    let compared = compare(module, truth, own);
    let program = module.name();
    println!("{program}: {compared:?}");
    assert!(
        compared.with_line > 100 && compared.with_inlined > 20,
        "{program}: too little was compared: {compared:?}"
    );
    assert!(
        compared
            .explained
            .keys()
            .all(|class| classes.contains(class)),
        "{program}: {compared:?}"
    );
}

fn all(_: &str) -> bool {
    true
}

/// C by both compilers: versions of DWARF, link-time optimization, each way of being loaded.
#[test]
fn c() {
    let workshop = Workshop::new();
    let variants: &[(&str, &str, &[&str])] = &[
        ("gcc", "pie", &["-O2", "-gdwarf-5", "-pie"]),
        ("gcc", "fixed", &["-O2", "-gdwarf-5", "-no-pie"]),
        ("gcc", "v4", &["-O2", "-gdwarf-4"]),
        ("gcc", "v3", &["-O2", "-gdwarf-3", "-gstrict-dwarf"]),
        (
            "gcc",
            "one_segment",
            &["-O2", "-g", "-Wl,-z,noseparate-code"],
        ),
        ("gcc", "unoptimized", &["-O0", "-g"]),
        (
            "gcc",
            "lto",
            &["-O1", "-g", "-flto", "-fno-inline-functions-called-once"],
        ),
        ("clang", "clang_v5", &["-O2", "-gdwarf-5"]),
        ("clang", "clang_v4", &["-O2", "-gdwarf-4"]),
        (
            "clang",
            "clang_lto",
            &["-O2", "-g", "-flto", "-fuse-ld=gold"],
        ),
    ];
    let source = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
    for (compiler, name, arguments) in variants {
        let program = workshop.compile(compiler, &source, name, arguments);
        agree(&open(&program), &program, all, &[]);
    }
}

/// Executables that carry their C library, which has names but no lines.
#[test]
fn static_c() {
    let workshop = Workshop::new();
    for (name, arguments) in [
        ("static", &["-O2", "-g", "-static"]),
        ("static_pie", &["-O2", "-g", "-static-pie"]),
    ] {
        let program = workshop.c_program(name, arguments);
        let own = |name: &str| ["main", "leaf", "local", "f", "exported"].contains(&name);
        agree(&open(&program), &program, own, &[Alias, FileOfSymbolTable]);
    }
}

/// A library at the addresses that prelink would give it. Debian has no prelink; a linker that is told to begin the library
/// elsewhere than at 0 leaves the same behind: ELF addresses far from file offsets, in a file that is loaded anywhere.
#[test]
fn prelinked() {
    let workshop = Workshop::new();
    let library = workshop.compile(
        "gcc",
        C,
        "library.so",
        &[
            "-O2",
            "-g",
            "-shared",
            "-fPIC",
            "-Wl,-Ttext-segment=0x3000000000",
        ],
    );
    agree(&open(&library), &library, all, &[]);
}

/// C++: templates, a lambda, an anonymous namespace, the standard library.
#[test]
fn cpp() {
    let workshop = Workshop::new();
    let variants: &[(&str, &str, &[&str])] = &[
        ("g++", "v5", &["-O2", "-gdwarf-5"]),
        ("g++", "v4", &["-O1", "-gdwarf-4"]),
        ("g++", "unoptimized", &["-O0", "-g"]),
        ("g++", "lto", &["-O2", "-g", "-flto"]),
        ("g++", "static", &["-O2", "-g", "-static"]),
        ("clang++", "clang_v5", &["-O2", "-gdwarf-5"]),
        ("clang++", "clang_v4", &["-O2", "-gdwarf-4"]),
    ];
    for (compiler, name, arguments) in variants {
        let program = workshop.compile(compiler, CPP, name, arguments);
        let own = |name: &str| name == "main" || name.contains("outer");
        agree(
            &open(&program),
            &program,
            own,
            &[Alias, Part, FileOfSymbolTable],
        );
    }
}

/// Rust: generics, trait methods and closures, in both schemes of mangling; and its standard library.
#[test]
fn rust() {
    let workshop = Workshop::new();
    let variants: &[(&str, &[&str])] = &[
        ("v0", &["-O", "-g", "-Csymbol-mangling-version=v0"]),
        ("lto", &["-O", "-g", "-Clto=fat", "-Cpanic=abort"]),
        ("unoptimized", &["-g", "-Copt-level=0"]),
        ("lines_only", &["-O", "-Cdebuginfo=line-tables-only"]),
        ("static", &["-O", "-g", "-Ctarget-feature=+crt-static"]),
    ];
    for (name, arguments) in variants {
        let arguments = [&["--crate-name", "rusty"], *arguments].concat();
        let program = workshop.compile("rustc", RUST, name, &arguments);
        let own = |name: &str| name.contains("rusty");
        agree(
            &open(&program),
            &program,
            own,
            &[Alias, Part, FileOfSymbolTable],
        );
    }
}

/// Go: methods, generics, closures, its runtime.
#[test]
fn go() {
    let workshop = Workshop::new();
    for (name, arguments) in [
        ("plain", &["-ldflags=-compressdwarf=false"][..]),
        ("pie", &["-ldflags=-compressdwarf=false", "-buildmode=pie"]),
    ] {
        let program = workshop.compile("go", GO, name, arguments);
        let own = |name: &str| name.starts_with("main.");
        agree(
            &open(&program),
            &program,
            own,
            &[Part, SamePath, MiddleDot, FileOfSymbolTable],
        );
    }
}
