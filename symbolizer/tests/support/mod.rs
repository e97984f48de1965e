//! Programs made on the spot, and what other tools say about them.

// Each test file uses its own part of this.
#![allow(dead_code)]

pub(crate) mod agreement;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::elf::{self, FileHeader64};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSymbol};
use symbolizer::Module;
use tempfile::TempDir;

pub(crate) const C: &str = r#"
volatile int sink;
static inline __attribute__((always_inline)) int innermost(int x) { sink += x; return sink * 3; }
static inline __attribute__((always_inline)) int middle(int x) {
    int y = innermost(x + 1);
    return y + innermost(y);
}
__attribute__((noinline)) int leaf(int x) { return middle(x) + 7; }
static __attribute__((noinline)) int local(int x) { sink -= x; return leaf(x) + leaf(x + 1); }
int f(int x) { return local(x) ^ local(x + 2); }
int exported(int x) { sink = x; return f(x) - 1; }
"#;

pub(crate) const CPP: &str = r#"
#include <vector>
namespace outer {
volatile long sink;
template <typename T> struct Box {
    T value;
    __attribute__((noinline)) T add(T other) const { sink += other; return value + other; }
    inline __attribute__((always_inline)) T twice() const { sink += 2; return value * 2; }
};
template <typename T, int N> __attribute__((noinline)) T fold(const Box<T> &box) {
    T sum = 0;
    for (int i = 0; i < N; i++) sum += box.add(i) + box.twice();
    return sum;
}
namespace { __attribute__((noinline)) long hidden(std::vector<long> &v) { v.push_back(long(sink)); return v.back(); } }
}
int main(int argc, char **) {
    std::vector<long> v;
    auto closure = [&](long x) __attribute__((noinline)) { outer::sink += x; return outer::hidden(v) + x; };
    return outer::fold<long, 3>({argc}) + outer::fold<short, 5>({(short)argc}) + closure(argc);
}
"#;

pub(crate) const RUST: &str = r#"
use std::hint::black_box;
trait Shape { fn area(&self) -> u64; }
struct Square(u64);
struct Wide<T>(T, u64);
impl Shape for Square { #[inline(never)] fn area(&self) -> u64 { black_box(self.0) * self.0 } }
impl<T: Copy + Into<u64>> Shape for Wide<T> { #[inline(never)] fn area(&self) -> u64 { black_box(self.1) * self.0.into() } }
#[inline(always)] fn inlined(x: u64) -> u64 { black_box(x) + 1 }
#[inline(never)] fn generic<S: Shape>(shapes: &[S]) -> u64 { shapes.iter().map(|s| inlined(s.area())).sum() }
fn main() {
    let closure: &dyn Fn(u64) -> u64 = black_box(&|x: u64| black_box(x) << 1);
    let total = generic(&[Square(black_box(3))]) + generic(&[Wide(black_box(3u32), 4)]) + generic(&[Wide(1u8, 2)]);
    std::process::exit(closure(total) as i32 & 1);
}
"#;

pub(crate) const GO: &str = r#"
package main

import "os"

type shape interface{ area() int }
type square struct{ side int }
type wide[T int | int64] struct {
	square
	more T
}

//go:noinline
func (s square) area() int { return s.side * s.side }

//go:noinline
func (w *wide[T]) area() int { return w.square.area() + twice(int(w.more)) }

func twice(x int) int { return x + x }

//go:noinline
func sum[S shape](shapes []S) (total int) {
	for _, s := range shapes {
		total += twice(s.area())
	}
	return
}

func main() {
	n := len(os.Args)
	later := func(x int) int { return x*n + twice(x) }
	defer func() { os.Exit(n & 1) }()
	total := sum([]square{{n}, {2}}) + sum([]*wide[int]{{square{n}, 3}}) + sum([]*wide[int64]{{square{n}, 4}})
	if later(total) == 12 {
		panic("never")
	}
}
"#;

/// A directory with programs in it.
pub(crate) struct Workshop(TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `source` and has `compiler` make `name` of it.
    pub(crate) fn compile(
        &self,
        compiler: &str,
        source: &str,
        name: &str,
        arguments: &[&str],
    ) -> PathBuf {
        let extension = match compiler {
            "c++" | "clang++" => "cc",
            "rustc" => "rs",
            "go" => "go",
            _ => "c",
        };
        let source_path = self.path(&format!("{name}_source.{extension}"));
        std::fs::write(&source_path, source).unwrap();
        let program = self.path(name);
        let mut command = Command::new(compiler);
        if compiler == "go" {
            command
                .arg("build")
                .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache"))
                .env("GOPROXY", "off")
                .env("GOTOOLCHAIN", "local")
                .env("GOFLAGS", "");
        }
        // Where clang leaves what it splits off.
        command.current_dir(self.0.path());
        run(command
            .args(arguments)
            .arg("-o")
            .arg(&program)
            .arg(&source_path));
        program
    }

    /// The C program, with `main`, as an executable.
    pub(crate) fn c_program(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let source = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
        self.compile("cc", &source, name, arguments)
    }
}

/// The functions of the C program.
pub(crate) fn own(function: &Function) -> bool {
    ["leaf", "local", "f", "exported", "main"].contains(&&*function.name)
}

pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub(crate) fn open(path: &Path) -> Module {
    Module::open(File::open(path).unwrap(), path.to_str().unwrap()).unwrap()
}

/// A function in a symbol table: name, ELF address, size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// The functions with a size in the symbol table, or in the dynamic one if there is no other: read by `object` alone.
pub(crate) fn functions(image: &[u8]) -> Vec<Function> {
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(image).unwrap();
    let function = |symbol: object::read::elf::ElfSymbol<'_, '_, FileHeader64<LittleEndian>>| {
        let kind = symbol.elf_symbol().st_type();
        let is_function =
            matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC) && !symbol.is_undefined();
        (is_function && symbol.size() > 0).then(|| Function {
            name: symbol.name().unwrap().to_owned(),
            address: symbol.address(),
            size: symbol.size(),
        })
    };
    let all: Vec<_> = elf.symbols().filter_map(function).collect();
    if all.is_empty() {
        elf.dynamic_symbols().filter_map(function).collect()
    } else {
        all
    }
}

/// The file offset of an ELF address, by the program headers as `object` reads them.
pub(crate) fn file_offset(image: &[u8], address: u64) -> u64 {
    let header = FileHeader64::<LittleEndian>::parse(image).unwrap();
    let segments = header.program_headers(LittleEndian, image).unwrap();
    let within = segments.iter().find(|segment| {
        let start = segment.p_vaddr(LittleEndian);
        segment.p_type(LittleEndian) == elf::PT_LOAD
            && (start..start + segment.p_filesz(LittleEndian)).contains(&address)
    });
    let segment = within.unwrap();
    address - segment.p_vaddr(LittleEndian) + segment.p_offset(LittleEndian)
}

/// A frame as addr2line prints it: function and `file:line`, innermost first.
pub(crate) type Printed = (String, String);

/// What `addr2line -fi` says of each address, with `-C` if `demangled`.
pub(crate) fn addr2line(program: &Path, addresses: &[u64], demangled: bool) -> Vec<Vec<Printed>> {
    frames_by("addr2line", program, addresses, demangled)
}

/// What a tool prints that is given addresses on its standard input, a line each. Written beside it: it answers as it reads.
pub(crate) fn answers_of(tool: &mut Command, addresses: &[u64]) -> String {
    let mut child = tool
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = addresses
        .iter()
        .map(|address| format!("{address:#x}\n"))
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The same by another tool that takes the same options.
pub(crate) fn frames_by(
    tool: &str,
    program: &Path,
    addresses: &[u64],
    demangled: bool,
) -> Vec<Vec<Printed>> {
    let mut command = Command::new(tool);
    command
        .args(if demangled { "-afiC" } else { "-afi" }.split(' '))
        .arg("-e")
        .arg(program);
    let text = answers_of(&mut command, addresses);
    let mut answers: Vec<Vec<Printed>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            answers.push(Vec::new());
        } else {
            let place = lines
                .next()
                .unwrap()
                .split(" (discriminator")
                .next()
                .unwrap();
            answers
                .last_mut()
                .unwrap()
                .push((line.to_owned(), place.to_owned()));
        }
    }
    assert_eq!(answers.len(), addresses.len());
    answers
}

/// A stripped copy of a library that has its symbols compressed by xz, with these arguments, as Fedora's have.
pub(crate) fn with_mini_debug_info(workshop: &Workshop, whole: &Path, xz: &[&str]) -> PathBuf {
    let [stripped, mini, packed, library] =
        ["stripped", "mini", "packed", "with_mini"].map(|name| workshop.path(name));
    run(Command::new("strip").arg("-o").arg(&stripped).arg(whole));
    let mut objcopy = Command::new("objcopy");
    run(objcopy.arg("--only-keep-debug").arg(whole).arg(&mini));
    let bytes = run(Command::new("xz").arg("-c").args(xz).arg(&mini));
    std::fs::write(&packed, bytes).unwrap();
    let argument = format!(".gnu_debugdata={}", packed.display());
    let mut objcopy = Command::new("objcopy");
    run(objcopy
        .arg("--add-section")
        .arg(argument)
        .arg(&stripped)
        .arg(&library));
    library
}
