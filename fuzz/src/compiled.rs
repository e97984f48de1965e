//! Small programs with all that names are read from, as today's compilers and packagers leave it.

use crate::names::Input;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A function that is local to its file and has another inlined.
const SOURCE: &str = "volatile int sink;
static inline __attribute__((always_inline)) int inlined(int x) { sink += x; return sink * 3; }
static __attribute__((noinline)) int local(int x) { return inlined(x) + inlined(x + 1); }
int outer(int x) { return local(x) + inlined(x); }
void _start(void) { for (;;) outer(sink); }
";
/// What is said of a place in it, the innermost function first, by debug information and by symbols alone.
const LINES: &str = "inlined:2 local:3";
const SYMBOL: &str = "local:0";

/// In one small segment, without what is not read for names.
const SMALL: [&str; 6] = [
    "-O2",
    "-nostdlib",
    "-static",
    "-fno-asynchronous-unwind-tables",
    "-fno-ident",
    "-Wl,-z,noseparate-code",
];
/// As `usr/lib/debug/.build-id` has it.
const BUILD_ID: &str = "-Wl,--build-id=0x01234567";

/// Where they are made.
struct Workshop(TempDir);

impl Workshop {
    /// Has a compiler make a program, which says that it was made in `/`.
    fn compile(&self, name: &str, compiler: &str, arguments: &[&str]) {
        fs::write(self.path("source.c"), SOURCE).unwrap();
        let prefix = format!("-fdebug-prefix-map={}=/", self.0.path().display());
        let mut all = SMALL.to_vec();
        all.extend([BUILD_ID, &prefix, "-o", name, "source.c"]);
        all.extend(arguments);
        self.run(compiler, &all);
    }

    /// A copy of a program, changed by objcopy.
    fn objcopy(&self, from: &str, to: &str, arguments: &[&str]) {
        self.run("objcopy", &[arguments, &[from, to]].concat());
    }

    fn run(&self, tool: &str, arguments: &[&str]) {
        let mut command = Command::new(tool);
        let output = command.current_dir(&self.0).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{tool}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A program with another file, if any, as an input of which something is read that says `wanted` of a place.
    fn seed(&self, program: &str, other: Option<&str>, wanted: &str) -> Vec<u8> {
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        let (program_bytes, other_bytes) = (read(program), other.map(read).unwrap_or_default());
        let input = Input {
            program: &program_bytes,
            other: &other_bytes,
        };
        let said = said(&input);
        let is_said = said.iter().any(|said| said == wanted);
        assert!(is_said, "{program}, {other:?}: nothing says {wanted}");
        input.bytes()
    }
}

/// The functions at each place with their lines.
pub(crate) fn said(input: &Input<'_>) -> Vec<String> {
    let answers = input.named().unwrap();
    let frames = answers.iter().map(|answer| answer.frames.iter());
    let said = frames.map(|frames| {
        let frames = frames.map(|frame| format!("{}:{}", frame.name, frame.line));
        frames.collect::<Vec<_>>().join(" ")
    });
    said.collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let workshop = Workshop(tempfile::tempdir().unwrap());
    [whole(&workshop), apart(&workshop), split(&workshop)].concat()
}

/// All in one file: DWARF 5 of both compilers, of which clang's has `.debug_addr`, compressed in each way, and symbols in MiniDebugInfo.
fn whole(workshop: &Workshop) -> Vec<Vec<u8>> {
    workshop.compile("gcc", "gcc", &["-gdwarf-5"]);
    workshop.compile("clang", "clang", &["-gdwarf-5"]);
    let mut seeds = vec![
        workshop.seed("gcc", None, LINES),
        workshop.seed("clang", None, LINES),
    ];
    for kind in ["zlib", "zlib-gnu", "zstd"] {
        let argument = format!("--compress-debug-sections={kind}");
        workshop.objcopy("gcc", kind, &[&argument]);
        seeds.push(workshop.seed(kind, None, LINES));
    }
    workshop.objcopy("gcc", "stripped", &["--strip-all"]);
    workshop.objcopy("gcc", "mini", &["--strip-debug"]);
    workshop.run("xz", &["mini"]);
    let section = "--add-section=.gnu_debugdata=mini.xz";
    workshop.objcopy("stripped", "with_mini", &[section]);
    seeds.push(workshop.seed("with_mini", None, SYMBOL));
    seeds
}

/// Stripped, with a debug file that is found by build id or by a link, and with one that it shares.
fn apart(workshop: &Workshop) -> Vec<Vec<u8>> {
    workshop.objcopy("gcc", "other", &["--only-keep-debug"]);
    let without_id = ["--remove-section=.note.gnu.build-id"];
    let link = ["--add-gnu-debuglink=other"];
    workshop.objcopy("stripped", "linked", &[&without_id[..], &link].concat());
    for name in ["one", "two"] {
        fs::copy(workshop.path("gcc"), workshop.path(name)).unwrap();
    }
    let shared = ["-m", "shared", "-M", "/other", "one", "two"];
    workshop.run("dwz", &shared);
    vec![
        workshop.seed("stripped", Some("other"), LINES),
        workshop.seed("linked", Some("other"), LINES),
        workshop.seed("one", Some("shared"), LINES),
    ]
}

/// Split by the compiler, as it left it and as a package. No packager of today reads what gcc writes as version 5.
fn split(workshop: &Workshop) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (compiler, version, split, packager) in [
        ("gcc", "-gdwarf-5", "program-source.dwo", None),
        ("gcc", "-gdwarf-4", "program-source.dwo", Some("dwp")),
        ("clang", "-gdwarf-5", "source.dwo", Some("llvm-dwp")),
    ] {
        workshop.compile("program", compiler, &[version, "-gsplit-dwarf"]);
        seeds.push(workshop.seed("program", Some(split), LINES));
        if let Some(packager) = packager {
            // It looks for them where the program says that they are.
            let _ = fs::remove_file(workshop.path("package"));
            workshop.run(packager, &["-o", "package", split]);
            seeds.push(workshop.seed("program", Some("package"), LINES));
        }
    }
    seeds
}
