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

/// A function at an address without a line, which clang has where it merged the code of two, keeps its name and its file: by either reader.
#[test]
fn functions_without_a_line() {
    let source = r#"
        volatile int sink;
        int g(int x) { return x; }
        int f(int x, int y) {
            if (x > 3)
                sink = g(x) * y;
            else
                sink = g(y) * y;
            return sink;
        }
        int h(int x) { return f(x, 3) + 1; }
        int main(int argc, char **argv) { return h(argc) + f(argc, 3); }
    "#;
    let any = |_: &Function| true;
    for arguments in [
        ["-O2", "-g", "-gdwarf-4", "-fno-inline", "-nostartfiles"],
        ["-O2", "-g", "-gdwarf-5", "-fno-inline", "-nostartfiles"],
    ] {
        let workshop = Workshop::new();
        let program = workshop.compile("clang", source, "merged", &arguments);
        agree(&open(&program), &program, false, any);
        let ours = every_address(&open(&program), &program, any);
        let without = |answer: &symbolizer::Symbolized| answer.frames[0].line == 0;
        let without = ours.iter().filter(|(_, answer)| without(answer));
        assert!(without.count() > 0);
    }
}

/// Lines of assembly are in no function that DWARF knows: they have the name of the symbol there, by either reader.
#[test]
fn lines_without_a_function() {
    let source = ".text\n.globl main\nmain:\nnop\nnop\ncall sized\nret\n\
        .globl sized\n.type sized,@function\nsized:\nnop\nnop\nret\n.size sized,.-sized\n";
    for compression in ["-gz=none", "-gz=zlib"] {
        let workshop = Workshop::new();
        let arguments = ["-g", compression, "-xassembler", "-Wl,-z,noexecstack"];
        let program = workshop.compile("cc", source, "assembly", &arguments);
        let image = std::fs::read(&program).unwrap();
        let sized = functions(&image)
            .into_iter()
            .find(|function| function.name == "sized");
        let end = sized.unwrap();
        // `main` is eight bytes and has no size.
        let addresses: Vec<u64> = (end.address - 8..end.address + end.size).collect();
        let offsets: Vec<u64> = addresses
            .iter()
            .map(|at| file_offset(&image, *at))
            .collect();
        let ours = Symbolizer::new(Options::default()).user(&open(&program), &offsets);
        let ours: Vec<_> = ours.iter().map(|answer| printed(answer, false)).collect();
        assert_eq!(ours, addr2line(&program, &addresses, false));
        assert!(
            ours.iter()
                .all(|frames| frames[0].1.contains("assembly_source.c:"))
        );
    }
}
