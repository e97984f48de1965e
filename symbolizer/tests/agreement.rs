//! Names, files, lines and inlined functions agree with binutils' addr2line, which shares no code with us, for every address of
//! every function of programs in three languages.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use support::agreement::{agree, every_address, printed};
use support::{
    C, CPP, Function, RUST, Workshop, addr2line, file_offset, functions, open, own, run,
};
use symbolizer::{Options, Symbolizer};

/// C with debug information: lines and two levels of inlining.
#[test]
fn c_with_debug_information() {
    let workshop = Workshop::new();
    for (name, arguments) in [
        ("pie", &["-O2", "-g"][..]),
        ("plain", &["-O2", "-g", "-no-pie"]),
        ("v4", &["-O1", "-gdwarf-4"]),
    ] {
        let program = workshop.c_program(name, arguments);
        assert!(agree(&open(&program), &program, false, own) > 0);
    }
}

/// C without debug information: names alone, and no line invented.
#[test]
fn c_without_debug_information() {
    let workshop = Workshop::new();
    let program = workshop.c_program("bare", &["-O2"]);
    let ours = every_address(&open(&program), &program, own);
    let addresses: Vec<u64> = ours.iter().map(|(address, _)| *address).collect();
    for ((address, answer), theirs) in ours.iter().zip(addr2line(&program, &addresses, false)) {
        // addr2line knows a file even here, from the symbol table, but no line in it.
        assert!(theirs[0].1.ends_with(":?"));
        assert_eq!(
            printed(answer, false),
            [(theirs[0].0.clone(), "??:?".to_owned())],
            "{address:#x}"
        );
    }
}

/// An executable that carries its own C library and loads anywhere.
#[test]
fn static_pie() {
    let workshop = Workshop::new();
    let program = workshop.c_program("static", &["-O2", "-g", "-static-pie"]);
    assert!(agree(&open(&program), &program, false, own) > 0);
}

/// A shared library that keeps only the symbols it exports: those have names, and what lies between them does not get one of
/// theirs.
#[test]
fn stripped_shared_library() {
    let workshop = Workshop::new();
    let library = workshop.compile("cc", C, "lib.so", &["-O2", "-g", "-shared", "-fPIC"]);
    assert!(agree(&open(&library), &library, false, own) > 0);
    let image = std::fs::read(&library).unwrap();
    let local = functions(&image)
        .into_iter()
        .find(|function| function.name.starts_with("local"))
        .unwrap();

    run(std::process::Command::new("strip").arg(&library));
    let image = std::fs::read(&library).unwrap();
    let exported = functions(&image);
    assert!(
        ["leaf", "f", "exported"]
            .iter()
            .all(|name| exported.iter().any(|function| function.name == *name))
    );
    for function in exported {
        let first = file_offset(&image, function.address);
        let offsets = [first, first + function.size - 1];
        for answer in Symbolizer::new(Options::default()).user(&open(&library), &offsets) {
            assert_eq!(
                (&*answer.frames[0].name, answer.named),
                (&*function.name, true)
            );
        }
    }
    let answers = Symbolizer::new(Options::default())
        .user(&open(&library), &[file_offset(&image, local.address)]);
    assert_eq!(
        &*answers[0].frames[0].name,
        format!("lib.so+{:#x}", local.address)
    );
    assert!(!answers[0].named);
}

/// C++: templates, an anonymous namespace, a lambda and the standard library, raw and demangled.
#[test]
fn cpp_templates() {
    let workshop = Workshop::new();
    let program = workshop.compile("c++", CPP, "cpp", &["-O2", "-g"]);
    let own = |function: &Function| function.name == "main" || function.name.starts_with("_Z");
    assert!(agree(&open(&program), &program, false, own) > 0);
    assert!(agree(&open(&program), &program, true, own) > 0);
}

/// Rust: generics, trait methods and closures.
#[test]
fn rust_generics() {
    let workshop = Workshop::new();
    let program = workshop.compile(
        "rustc",
        RUST,
        "rust",
        &["--crate-name", "rusty", "-O", "-g"],
    );
    let own = |function: &Function| function.name.contains("rusty");
    assert!(agree(&open(&program), &program, false, own) > 0);
}
