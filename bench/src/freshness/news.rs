//! What the agent is to know of as soon as it happens: programs that begin, and libraries that are loaded.

use anyhow::{Context, ensure};
use fixtures::Program;
use object::{Object, ObjectSegment, SegmentFlags, elf};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Linked with the C library alone, as most programs, and gone when its input ends.
const SMALL: &str = "cat";
/// Between two of something known, and between two of something unknown.
const KNOWN: Duration = Duration::from_millis(30);
const UNKNOWN: Duration = Duration::from_millis(150);

/// Something that happens again and again.
pub(crate) enum News {
    /// A program begins, whose files are known.
    Program,
    /// Libraries that are known are loaded.
    Library,
    /// A program begins that nobody has seen before.
    NewProgram(Copies),
    /// A library is loaded that nobody has seen before.
    NewLibrary(Copies),
}

impl News {
    /// Lets it happen so often, and returns when it is over.
    pub(crate) fn happen(&self, times: usize) -> anyhow::Result<()> {
        match self {
            News::Program => (0..times).try_for_each(|_| run(Path::new(SMALL), KNOWN)),
            // They take each other's place: one that is mapped again where it was is no news.
            News::Library => {
                let both = ["liblinked.so", "libloaded.so"].map(fixtures::library);
                load(both.iter().cycle().take(times), KNOWN)
            }
            News::NewProgram(copies) => {
                let mut made = copies.made.iter().take(times);
                made.try_for_each(|copy| run(copy, UNKNOWN))
            }
            News::NewLibrary(copies) => load(copies.made.iter().take(times), UNKNOWN),
        }
    }
}

/// Runs a program for so long.
fn run(program: &Path, length: Duration) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    thread::sleep(length);
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// Has a program load libraries, each for so long.
fn load<'a>(libraries: impl Iterator<Item = &'a PathBuf>, length: Duration) -> anyhow::Result<()> {
    let mut command = Program::Loads.command();
    command.arg(length.as_secs_f64().to_string());
    let output = command.args(libraries).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(())
}

/// Copies of one file, each with a content of its own.
pub(crate) struct Copies {
    _directory: TempDir,
    made: Vec<PathBuf>,
}

impl Copies {
    /// Makes so many, each a byte longer than the one before: a table is of files of one size.
    pub(crate) fn of(original: &Path, number: usize) -> anyhow::Result<Copies> {
        let directory = TempDir::with_prefix("thermograph-bench-")?;
        let mut made = Vec::new();
        for number in 1..=number {
            let copy = directory.path().join(format!("copy-{number}"));
            fs::copy(original, &copy)
                .with_context(|| format!("cannot copy {}", original.display()))?;
            let mut file = OpenOptions::new().append(true).open(&copy)?;
            file.write_all(&vec![0; number])?;
            file.sync_all()?;
            made.push(copy);
        }
        Ok(Copies {
            _directory: directory,
            made,
        })
    }
}

/// Bytes of code in a file.
pub(crate) fn text_bytes(path: &Path) -> anyhow::Result<u64> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = object::File::parse(bytes.as_slice())?;
    let executable = file.segments().filter(|segment| {
        matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.contains(elf::PF_X))
    });
    Ok(executable.map(|segment| segment.file_range().1).sum())
}
