//! Readable names are those of binutils' c++filt or of LLVM's, which follow different customs in places.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use symbolizer::{Options, Symbolizer};

use crate::support::{CPP, RUST, Workshop, file_offset, functions, open, run};

/// How many of a file's names are as another demangler has them.
#[derive(Debug, Default)]
struct Readings {
    equal: usize,
    /// Of the function, not of its arguments: the library that reads C++ for us forgets one of two alike in templates of
    /// constructors, puts a `&` behind the wrong part of a nested type, and writes `(unsigned int)5` for `5u`.
    equal_but_arguments: usize,
    /// `{virtual override thunk({offset(-16)}, A::f())}` for `non-virtual thunk to A::f()`.
    thunks: usize,
}

/// Raw names of all functions of a file, each with ours.
fn names(program: &Path) -> BTreeSet<(String, String)> {
    let image = std::fs::read(program).unwrap();
    let offsets: Vec<u64> = functions(&image)
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    let answers = Symbolizer::new(Options::default()).user(&open(program), &offsets);
    let frames = answers.iter().flat_map(|answer| &answer.frames);
    frames
        .filter(|frame| frame.name != frame.system_name)
        .map(|frame| (frame.system_name.to_string(), frame.name.to_string()))
        .collect()
}

fn compare(program: &Path) -> Readings {
    let names = names(program);
    let (gnu, llvm) = (filter("c++filt", &names), filter("llvm-cxxfilt", &names));
    assert_eq!((names.len(), names.len()), (gnu.len(), llvm.len()));
    let mut readings = Readings::default();
    for (((raw, ours), gnu), llvm) in names.iter().zip(gnu).zip(llvm) {
        let theirs = [without_spaces(&gnu), without_spaces(&llvm)];
        let ours = without_spaces(ours);
        if theirs.contains(&ours) {
            readings.equal += 1;
        } else if ["_ZTh", "_ZTv", "_ZTc"]
            .iter()
            .any(|thunk| raw.starts_with(thunk))
        {
            assert!(ours.starts_with("{virtualoverridethunk("), "{raw}: {ours}");
            readings.thunks += 1;
        } else {
            let theirs = theirs.map(|theirs| without_arguments(&theirs));
            let ours = without_arguments(&ours);
            assert!(theirs.contains(&ours), "{raw}: {ours}, not {theirs:?}");
            readings.equal_but_arguments += 1;
        }
    }
    println!("{}: {readings:?}", program.display());
    readings
}

/// What a tool makes of the raw names.
fn filter(tool: &str, names: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut child = Command::new(tool)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = names.iter().flat_map(|(raw, _)| [raw, "\n"]).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// `> >` and `>>` are both in use.
fn without_spaces(name: &str) -> String {
    name.replace(' ', "")
}

/// The function with the names of its classes, without arguments of templates and of itself.
fn without_arguments(name: &str) -> String {
    // `std::string` is a short form of `std::basic_string<...>`.
    let mut name = name
        .replace("basic_", "")
        .replace("(anonymousnamespace)", "{anonymous}");
    for operator in [
        "<<=", ">>=", "<=>", "<<", ">>", "<=", ">=", "->*", "->", "<", ">", "()",
    ] {
        name = name.replace(&format!("operator{operator}"), "operator");
    }
    let mut depth = 0_usize;
    let mut rest = String::new();
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => rest.push(character),
            _ => {}
        }
    }
    rest
}

/// C++: a program with its whole library linked into it.
#[test]
fn cpp() {
    let workshop = Workshop::new();
    let program = workshop.compile("c++", CPP, "cpp", &["-O1", "-g", "-static"]);
    let library = run(Command::new("c++").arg("-print-file-name=libstdc++.so.6"));
    let library = String::from_utf8(library).unwrap();
    for program in [&*program, Path::new(library.trim())] {
        let readings = compare(program);
        assert!(readings.equal > 500, "{readings:?}");
        assert!(
            readings.equal_but_arguments < readings.equal / 20,
            "{readings:?}"
        );
    }
}

/// Rust: a program with its standard library, without an exception.
#[test]
fn rust() {
    let workshop = Workshop::new();
    let arguments = ["-g", "-Csymbol-mangling-version=v0"];
    let readings = compare(&workshop.compile("rustc", RUST, "rust", &arguments));
    assert!(
        readings.equal > 400 && readings.equal_but_arguments == 0,
        "{readings:?}"
    );
}
