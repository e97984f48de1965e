//! Go programs that were stripped: what their runtime knows of functions, beside what DWARF says of the whole program.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSection};
use support::agreement::{every_address, printed};
use support::{Function, Printed, Workshop, file_offset, frames_by, functions, open, run};
use symbolizer::{Options, Symbolizer};

const GO: &str = r#"
package main

import (
	"fmt"
	"os"
	"strings"
)

type shape interface{ area(scale int) int }
type square struct{ side int }

//go:noinline
func (s *square) area(scale int) int { return s.side*s.side*scale + inlined(scale) }

func inlined(x int) int { return deeper(x) + len(os.Args) }

func deeper(x int) int {
	if x > 7 {
		return strings.Count(os.Args[0], "x")
	}
	return x * 3
}

//go:noinline
func sum[V int | float64](all []V) V {
	var sum V
	for _, one := range all {
		sum += one
	}
	return sum
}

func main() {
	var s shape = &square{len(os.Args)}
	closure := func(y int) int {
		defer fmt.Println(y)
		return s.area(y) + inlined(y)
	}
	fmt.Println(closure(3), sum([]int{1, 2}), sum([]float64{1, 2}), c(-4))
}
"#;

const WITHOUT_C: &str = "package main\nfunc c(x int) int { return x }\n";
const WITH_C: &str = "package main\n// static int negated(int x) { return -x; }\nimport \"C\"\nfunc c(x int) int { return int(C.negated(C.int(x))) }\n";

/// The compilers that are here: what is called `go`, and those that Debian has beside it.
fn compilers() -> Vec<PathBuf> {
    let mut compilers = vec![PathBuf::from("go")];
    for entry in std::fs::read_dir("/usr/lib").unwrap() {
        let go = entry.unwrap().path().join("bin/go");
        let directory = go.to_str().unwrap();
        if directory.starts_with("/usr/lib/go-1.") && go.exists() {
            compilers.push(go);
        }
    }
    compilers
}

fn build(workshop: &Workshop, go: &Path, c: &str, arguments: &[&str]) -> PathBuf {
    let module = workshop.path("program");
    std::fs::create_dir_all(&module).unwrap();
    std::fs::write(
        module.join("go.mod"),
        "module example.com/program\ngo 1.18\n",
    )
    .unwrap();
    std::fs::write(module.join("main.go"), GO).unwrap();
    std::fs::write(module.join("c.go"), c).unwrap();
    let program = workshop.path("whole");
    let mut command = Command::new(go);
    command
        .current_dir(module)
        .arg("build")
        .args(arguments)
        .arg("-o")
        .arg(&program)
        .arg(".");
    run(command
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "1"));
    program
}

fn own(function: &Function) -> bool {
    ["main.", "strings.", "fmt."]
        .iter()
        .any(|package| function.name.starts_with(package))
}

/// Names, files, lines and inlined functions at every address, of programs with and without C, that load anywhere or not; and the same without names of
/// sections.
#[test]
fn stripped_programs() {
    for go in compilers() {
        for c in [WITHOUT_C, WITH_C] {
            for mode in ["-buildmode=exe", "-buildmode=pie"] {
                let workshop = Workshop::new();
                let whole = build(&workshop, &go, c, &[mode]);
                let stripped = workshop.path("stripped");
                run(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
                agree(&stripped, &whole);

                let mut image = std::fs::read(&stripped).unwrap();
                image[0x28..0x30].fill(0);
                image[0x3c..0x40].fill(0);
                std::fs::write(&stripped, image).unwrap();
                agree(&stripped, &whole);
            }
        }
    }
}

fn agree(stripped: &Path, whole: &Path) {
    let ours = every_address(&open(stripped), whole, own);
    let addresses: Vec<u64> = ours.iter().map(|(address, _)| *address).collect();
    // That of binutils 2.40 cannot read what Go 1.26 writes.
    let theirs = frames_by("llvm-addr2line", whole, &addresses, false);
    let mut inlined = 0;
    for ((address, answer), theirs) in ours.iter().zip(theirs) {
        let ours = printed(answer, false);
        let same = |(one, other): (&Printed, &Printed)| {
            // What cgo writes has no directory.
            same_name(&one.0, &other.0) && one.1 == other.1.trim_start_matches("./")
        };
        let agree = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same);
        assert!(
            agree,
            "{address:#x} of {}: {ours:?}, not {theirs:?}",
            whole.display()
        );
        inlined += usize::from(ours.len() > 1);
    }
    assert!(inlined > 1000, "{inlined}");
}

/// Whether two names are of the same function: the linker marks what is called by the rules of assembly, and before 1.20 the runtime does not know the
/// types that a function was made for.
fn same_name(one: &str, other: &str) -> bool {
    let other = other.strip_suffix(".abi0").unwrap_or(other);
    let general = |name: &str| match name.split_once('[') {
        Some((before, rest)) => format!("{before}{}", rest.rsplit_once(']').unwrap().1),
        None => name.to_owned(),
    };
    one == other || (one.contains("[...]") && general(one) == general(other))
}

/// A table that makes no sense costs names only, and no more than is in it.
#[test]
fn damaged_tables() {
    let workshop = Workshop::new();
    let whole = build(&workshop, Path::new("go"), WITHOUT_C, &[]);
    let image = std::fs::read(&whole).unwrap();
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
    let (start, size) = elf
        .section_by_name(".gopclntab")
        .unwrap()
        .file_range()
        .unwrap();
    let functions: Vec<Function> = functions(&image).into_iter().filter(own).collect();
    let offsets: Vec<u64> = functions
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    let stripped = workshop.path("stripped");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
    let image = std::fs::read(&stripped).unwrap();
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
    assert_eq!(elf.section_by_name(".gopclntab").unwrap().size(), size);
    let damaged = workshop.path("damaged");
    let named = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        let answers = Symbolizer::new(Options::default()).user(&open(&damaged), &offsets);
        answers.iter().filter(|answer| answer.named).count()
    };
    assert_eq!(named(&image), offsets.len());
    for field in 1..9 {
        for value in [0, 1, u64::MAX, 1 << 32, i64::MAX as u64] {
            let mut bytes = image.clone();
            let at = start as usize + 8 * field;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            named(&bytes);
        }
    }
    for byte in [0, 0x7f, 0x80, 0xff] {
        let mut bytes = image.clone();
        bytes[start as usize + 72..(start + size) as usize].fill(byte);
        assert_eq!(named(&bytes), 0);
    }
    for at in (start..start + size).step_by(size as usize / 200) {
        let mut bytes = image.clone();
        bytes[at as usize..]
            .iter_mut()
            .take(64)
            .for_each(|byte| *byte ^= 0xa5);
        named(&bytes);
    }
}
