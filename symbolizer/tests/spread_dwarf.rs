//! Debug information that is in several files: shared by `dwz`, or split off by the compiler.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use support::agreement::{agree, every_address};
use support::{CPP, Function, Workshop, open, own, run};
use symbolizer::{FileError, Module, Options, Symbolizer};

/// The program as it is found in a root.
fn in_root(program: &Path, root: &Path, path: &str) -> Module {
    let root = File::open(root).unwrap();
    open(program).with_roots(path, [Arc::new(root.into())])
}

/// The same program twice, named alike: as it is, and with the debug information split off. addr2line misses inlined functions whose types are in
/// units of their own, so they are there only in the second.
fn split(workshop: &Workshop, compiler: &str, arguments: &[&str]) -> (PathBuf, PathBuf) {
    let build = |name: &str, split: &[&str]| {
        let arguments = [&["-O2", "-g"], arguments, split].concat();
        let program = match compiler {
            "c++" => workshop.compile(compiler, CPP, "program", &arguments),
            _ => {
                let main = "int main(int argc, char **argv) { return exported(argc); }";
                let source = format!("{}\n{main}\n", support::C);
                workshop.compile(compiler, &source, "program", &arguments)
            }
        };
        std::fs::rename(program, workshop.path(name)).unwrap();
        workshop.path(name)
    };
    let types: &[&str] = match compiler {
        "c++" => &["-gsplit-dwarf", "-fdebug-types-section"],
        _ => &["-gsplit-dwarf"],
    };
    (build("whole", &[]), build("split", types))
}

fn cpp(function: &Function) -> bool {
    function.name == "main" || function.name.starts_with("_ZN5outer")
}

/// Split DWARF says the same as the whole, from `.dwo` files and from the package that `dwp` makes of them.
#[test]
fn split_off_by_the_compiler() {
    // No packager of today reads what gcc writes as version 5: one of LLVM 14 never ends on it.
    for (compiler, packager, arguments) in [
        ("cc", Some("dwp"), &["-gdwarf-4"][..]),
        ("cc", None, &["-gdwarf-5"]),
        ("c++", None, &["-gdwarf-5"]),
        ("c++", Some("dwp"), &["-gdwarf-4"]),
        ("clang", Some("llvm-dwp"), &["-gdwarf-5"]),
    ] {
        let workshop = Workshop::new();
        let (whole, program) = split(&workshop, compiler, arguments);
        let of_interest = if compiler == "c++" { cpp } else { own };
        let module = || in_root(&program, Path::new("/"), program.to_str().unwrap());
        assert!(
            agree(&module(), &whole, false, of_interest) > 0,
            "{arguments:?}"
        );

        let package = workshop.path("split.dwp");
        if let Some(packager) = packager {
            let mut command = Command::new(packager);
            run(command.arg("-e").arg(&program).arg("-o").arg(&package));
        }
        for entry in std::fs::read_dir(workshop.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "dwo") {
                std::fs::remove_file(path).unwrap();
            }
        }
        if packager.is_some() {
            assert!(
                agree(&module(), &whole, false, of_interest) > 0,
                "{arguments:?}"
            );
            std::fs::remove_file(package).unwrap();
        }
        without_the_rest(&module(), &whole, of_interest);
    }
}

/// Without the files there are the names of symbols, and lines where those are in the program itself.
fn without_the_rest(module: &Module, whole: &Path, of_interest: impl Fn(&Function) -> bool) {
    let image = std::fs::read(whole).unwrap();
    let functions = support::functions(&image);
    for (address, answer) in every_address(module, whole, of_interest) {
        // clang leaves inlined functions in the program itself, too.
        let name = &answer.frames.last().unwrap().system_name;
        let covers = |function: &&Function| {
            (function.address..function.address + function.size).contains(&address)
        };
        let mut covering = functions.iter().filter(covers);
        assert!(
            covering.any(|function| *function.name == **name),
            "{name} at {address:#x}"
        );
    }
}

/// Of every byte of every function, also of those that the linker has made one, each of the two readers says the same: one reads a program as it
/// is, the other the same program with its debug information compressed.
#[test]
fn readers_agree() {
    for (compiler, source, arguments) in [
        ("c++", CPP, ["-O2", "-g"]),
        ("rustc", support::RUST, ["-O", "-g"]),
    ] {
        let workshop = Workshop::new();
        let plain = workshop.compile(compiler, source, "plain", &arguments);
        let compressed = workshop.path("compressed");
        run(Command::new("objcopy")
            .arg("--compress-debug-sections=zlib")
            .arg(&plain)
            .arg(&compressed));
        let ask = |program: &Path| every_address(&open(program), &plain, |_| true);
        let both = ask(&plain).into_iter().zip(ask(&compressed));
        let mut compared = 0;
        for ((address, plain), (_, compressed)) in both {
            assert_eq!(plain.frames, compressed.frames, "{compiler}: {address:#x}");
            compared += usize::from(plain.frames.len() > 1);
        }
        assert!(compared > 100, "{compiler}: {compared}");
    }
}

/// Two programs whose debug files share a third: by its path, absolute and relative to where the debug file is, and by its build id.
/// Without it, or with another in its place, there are the names of symbols.
#[test]
fn shared_by_dwz() {
    for (version, arguments, link) in [
        (
            "-gdwarf-5",
            &["-M", "/usr/lib/debug/.dwz/shared"][..],
            ".dwz/shared",
        ),
        ("-gdwarf-4", &["-M", "../../.dwz/shared"], ".dwz/shared"),
        ("-gdwarf-4", &["-M", "/nowhere"], ".build-id"),
        (
            "-gdwarf-5",
            &["--dwarf-5", "-M", "../../.dwz/shared"],
            ".dwz/shared",
        ),
    ] {
        let workshop = Workshop::new();
        let debug_directory = workshop.path("root/usr/lib/debug");
        std::fs::create_dir_all(debug_directory.join("opt/deep")).unwrap();
        std::fs::create_dir_all(debug_directory.join(".dwz")).unwrap();
        let programs = [("one", "-DONE"), ("two", "-DTWO")].map(|(name, define)| {
            let whole = workshop.compile("c++", CPP, name, &["-O2", version, define]);
            let debug = debug_directory.join(format!("opt/deep/{name}.debug"));
            run(Command::new("objcopy")
                .arg("--only-keep-debug")
                .arg(&whole)
                .arg(&debug));
            let link = format!("--add-gnu-debuglink={}", debug.display());
            let stripped = workshop.path(&format!("{name}.stripped"));
            run(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
            (name, whole, stripped, debug, link)
        });
        let shared = debug_directory.join(".dwz/shared");
        let debug_files = programs.iter().map(|(_, _, _, debug, _)| debug);
        run(Command::new("dwz")
            .arg("-m")
            .arg(&shared)
            .args(arguments)
            .args(debug_files));
        if link == ".build-id" {
            let id = open(&shared).build_id().unwrap().to_string();
            let path = debug_directory.join(format!(".build-id/{}/{}.debug", &id[..2], &id[2..]));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::rename(&shared, path).unwrap();
        }
        for (name, whole, stripped, _, link) in &programs {
            run(Command::new("objcopy").arg(link).arg(stripped));
            let path = format!("/opt/deep/{name}");
            let module = || in_root(stripped, &workshop.path("root"), &path);
            assert!(agree(&module(), whole, false, cpp) > 0);
        }

        for directory in [".dwz", ".build-id"] {
            let _ = std::fs::remove_dir_all(debug_directory.join(directory));
        }
        let (name, whole, stripped, ..) = &programs[0];
        let module = in_root(
            stripped,
            &workshop.path("root"),
            &format!("/opt/deep/{name}"),
        );
        without_the_rest(&module, whole, cpp);
        let mut symbolizer = Symbolizer::new(Options::default());
        symbolizer.user(&module, &[module.segments().next().unwrap().file_offset]);
        let failure = symbolizer.take_failures().pop().unwrap();
        assert!(
            matches!(failure.error, FileError::DebugInfo(_)),
            "{failure:?}"
        );
    }
}

/// Damage anywhere in a file of split DWARF, or in one that is shared, costs what was in it: each function still has its symbol's name, or the same one as without damage.
#[test]
fn damaged_parts() {
    let workshop = Workshop::new();
    let (whole, program) = split(&workshop, "cc", &["-gdwarf-5"]);
    let part = workshop.path("program-program_source.dwo");
    survive(
        &part,
        || in_root(&program, Path::new("/"), program.to_str().unwrap()),
        &whole,
    );

    let shared = workshop.path("shared");
    let debug_files = ["one", "two"].map(|name| {
        let debug = workshop.path(name);
        std::fs::copy(&whole, &debug).unwrap();
        debug
    });
    let mut dwz = Command::new("dwz");
    run(dwz
        .arg("-m")
        .arg(&shared)
        .arg("-M")
        .arg(&shared)
        .args(&debug_files));
    let [program, _] = debug_files;
    survive(
        &shared,
        || in_root(&program, Path::new("/"), program.to_str().unwrap()),
        &whole,
    );
}

fn survive(part: &Path, module: impl Fn() -> Module, whole: &Path) {
    let image = std::fs::read(part).unwrap();
    for at in (0..image.len()).step_by(image.len() / 150) {
        let mut bytes = image.clone();
        let end = bytes.len().min(at + 1 + at % 7);
        bytes[at..end].fill([0, 0xff, 0x80, 0x7f][at % 4]);
        std::fs::write(part, bytes).unwrap();
        let answers = every_address(&module(), whole, own);
        assert!(answers.iter().all(|(_, answer)| answer.named));
    }
    std::fs::write(part, image).unwrap();
    assert!(agree(&module(), whole, false, own) > 0);
}
