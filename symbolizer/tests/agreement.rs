//! Names, files, lines and inlined functions agree with binutils' addr2line, which shares no code with us, for every address of
//! every function of programs in three languages.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::{
    C, CPP, Function, Printed, RUST, Workshop, addr2line, file_offset, functions, open, run,
};
use symbolizer::{Options, Symbolized, Symbolizer};

/// Every address of the functions that `of_interest`, and what we say of it.
fn every_address(
    program: &Path,
    of_interest: impl Fn(&Function) -> bool,
) -> Vec<(u64, std::sync::Arc<Symbolized>)> {
    let image = std::fs::read(program).unwrap();
    let chosen: Vec<Function> = functions(&image).into_iter().filter(of_interest).collect();
    assert!(
        chosen.len() >= 4,
        "the fixture has lost its functions: {chosen:?}"
    );
    let mut addresses: Vec<u64> = chosen
        .iter()
        .flat_map(|function| function.address..function.address + function.size)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let offsets: Vec<u64> = addresses
        .iter()
        .map(|&address| file_offset(&image, address))
        .collect();
    let answers = Symbolizer::new(Options::default()).user(&open(program), &offsets);
    assert_eq!(answers.len(), addresses.len());
    addresses.into_iter().zip(answers).collect()
}

fn printed(answer: &Symbolized, demangled: bool) -> Vec<Printed> {
    let frame = |frame: &symbolizer::Frame| {
        let name = if demangled {
            &frame.name
        } else {
            &frame.system_name
        };
        let place = match (&frame.file, frame.line) {
            (None, _) => "??:?".to_owned(),
            (Some(file), 0) => format!("{file}:?"),
            (Some(file), line) => format!("{file}:{line}"),
        };
        (name.to_string(), place)
    };
    answer.frames.iter().map(frame).collect()
}

/// Compares every address; returns how many had inlined frames.
fn agree(program: &Path, demangled: bool, of_interest: impl Fn(&Function) -> bool) -> usize {
    let ours = every_address(program, of_interest);
    let addresses: Vec<u64> = ours.iter().map(|(address, _)| *address).collect();
    let theirs = addr2line(program, &addresses, demangled);
    let mut inlined = 0;
    for ((address, answer), theirs) in ours.iter().zip(theirs) {
        assert_eq!(answer.address, *address);
        assert!(answer.named);
        let mapping = answer.mapping.as_ref().unwrap();
        assert!((mapping.start..mapping.limit).contains(address));
        let mut frames = printed(answer, demangled);
        if demangled {
            excuse_mangled(&mut frames, &theirs);
        }
        assert_eq!(frames, theirs, "{address:#x} of {}", program.display());
        let (outermost, inner) = answer.frames.split_last().unwrap();
        assert!(!outermost.inlined && inner.iter().all(|frame| frame.inlined));
        inlined += usize::from(!inner.is_empty());
    }
    inlined
}

/// The demangler does not know one form: an expression that names a member of something in `std`. Such a name stays mangled, which is
/// allowed here, rather than becoming a wrong one.
fn excuse_mangled(frames: &mut [Printed], theirs: &[Printed]) {
    for (frame, theirs) in frames.iter_mut().zip(theirs) {
        if frame.0.starts_with("_Z") && frame.0.contains("srSt") {
            frame.0.clone_from(&theirs.0);
        }
    }
}

fn own(function: &Function) -> bool {
    ["leaf", "local", "f", "exported", "main"].contains(&&*function.name)
}

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
        assert!(agree(&program, false, own) > 0);
    }
}

/// C without debug information: names alone, and no line invented.
#[test]
fn c_without_debug_information() {
    let workshop = Workshop::new();
    let program = workshop.c_program("bare", &["-O2"]);
    let ours = every_address(&program, own);
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
    assert!(agree(&program, false, own) > 0);
}

/// A shared library that keeps only the symbols it exports: those have names, and what lies between them does not get one of
/// theirs.
#[test]
fn stripped_shared_library() {
    let workshop = Workshop::new();
    let library = workshop.compile("cc", C, "lib.so", &["-O2", "-g", "-shared", "-fPIC"]);
    assert!(agree(&library, false, own) > 0);
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
    assert!(agree(&program, false, own) > 0);
    assert!(agree(&program, true, own) > 0);
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
    assert!(agree(&program, false, own) > 0);
}
