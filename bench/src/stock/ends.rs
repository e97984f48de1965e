//! Whether a stack is whole, judged by what its root is and not by what the agent says of it.

use crate::capture::Root;
use fixtures::elf_files::programs;
use fixtures::readelf::{self, Function, Line};
use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the agent says of stacks that have no user part to walk.
const NO_USER_PART: [&str; 5] = [
    "[kernel thread]",
    "[io worker]",
    "[exiting]",
    "[exec]",
    "[idle]",
];
/// Where Go's stacks begin: its tables end there without a word.
const GO_ENTRIES: [&str; 6] = [
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.mstart",
    "runtime.mstart.abi0",
    "runtime.rt0_go.abi0",
    "runtime.rt0_go",
];
/// Longer than any `_start`.
const ENTRY_BYTES: u64 = 64;
/// Of e_entry in a 64-bit ELF header.
const E_ENTRY: u64 = 24;

/// How a stack ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    /// At the entry of its program or thread.
    Entry,
    /// There is nothing to walk: the agent's word on why.
    NoUserPart(String),
    /// The agent says that it is cut, and why.
    Cut(String),
    /// At this function, which is no entry, and the agent does not say so.
    Silent(String),
}

/// Entries of the files met so far. The agent calls a file by its name without directories.
pub(crate) struct Entries {
    paths: HashMap<String, Vec<PathBuf>>,
    by_file: HashMap<String, Vec<Range<u64>>>,
}

impl Entries {
    /// Of the programs and libraries of this host, and of the fixed inputs.
    pub(crate) fn of_host() -> Entries {
        let mut roots: Vec<PathBuf> = ["/usr", "/opt"].map(PathBuf::from).into();
        roots.extend(env::home_dir().map(|home| home.join(".rustup")));
        roots.extend(fixtures::Program::Short.path().parent().map(Path::to_owned));
        Entries::of_files(programs(&roots))
    }

    fn of_files(files: Vec<PathBuf>) -> Entries {
        let mut paths: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for path in files {
            if let Some(name) = path.file_name() {
                let name = name.to_string_lossy().into_owned();
                paths.entry(name).or_default().push(path);
            }
        }
        Entries {
            paths,
            by_file: HashMap::new(),
        }
    }

    /// How a stack with this root ends.
    pub(crate) fn judge(&mut self, root: &Root) -> End {
        match root {
            Root::Note(note) if NO_USER_PART.contains(&note.as_str()) => {
                End::NoUserPart(note.clone())
            }
            Root::Note(note) => End::Cut(note.clone()),
            Root::Nothing => End::Silent("nothing at all".to_owned()),
            Root::Place {
                function,
                file,
                address,
            } => {
                let is_entry = GO_ENTRIES.contains(&function.as_str())
                    || self.of(file).iter().any(|range| range.contains(address));
                match is_entry {
                    true => End::Entry,
                    false => End::Silent(function.clone()),
                }
            }
        }
    }

    /// ELF addresses that have no caller, of all files of this name: what ELF calls the entry, and what the compiler says has no
    /// return address. None of what is no file.
    fn of(&mut self, file: &str) -> &[Range<u64>] {
        if !self.by_file.contains_key(file) {
            let mut ranges = Vec::new();
            for path in self.paths.get(file).into_iter().flatten() {
                ranges.extend(without_return_address(path));
                let entry = entry(path);
                ranges.extend(entry.map(|entry| entry..entry.saturating_add(ENTRY_BYTES)));
            }
            self.by_file.insert(file.to_owned(), ranges);
        }
        self.by_file.get(file).map_or(&[], Vec::as_slice)
    }
}

fn entry(file: &Path) -> Option<u64> {
    let mut bytes = [0; 8];
    File::open(file)
        .ok()?
        .read_exact_at(&mut bytes, E_ENTRY)
        .ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn without_return_address(file: &Path) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut function_end = 0;
    // The row before this one.
    let mut open: Option<u64> = None;
    let read = readelf::read(file, |line| match line {
        Line::Section(_) => {}
        Line::Function(Function { end, .. }) => {
            ranges.extend(open.take().map(|start| start..function_end));
            function_end = end;
        }
        Line::Row(row) => {
            ranges.extend(open.take().map(|start| start..row.address));
            open = (row.return_address == "u").then_some(row.address);
        }
    });
    ranges.extend(open.take().map(|start| start..function_end));
    match read {
        Ok(()) => ranges,
        // No ELF file, or none that is there.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::Program;

    /// `_start` of a program has no caller, by its header and by its compiler, and `main` has one.
    #[test]
    fn entries_of_a_program() {
        let path = Program::Nested.path();
        let start = entry(&path).unwrap();
        let compiled = without_return_address(&path);
        assert!(
            compiled.iter().any(|range| range.contains(&start)),
            "{compiled:x?}"
        );
        let at = |address| Root::Place {
            function: String::new(),
            file: "nested".to_owned(),
            address,
        };
        let mut entries = Entries::of_files(vec![path.clone()]);
        assert_eq!(entries.judge(&at(start + 0x20)), End::Entry);
        assert_eq!(
            entries.judge(&at(start + 0x200)),
            End::Silent(String::new())
        );
    }

    /// Only what has no user part is whole without an entry.
    #[test]
    fn notes_are_the_agents_word() {
        let mut entries = Entries::of_files(Vec::new());
        let note = |text: &str| Root::Note(text.to_owned());
        assert_eq!(
            entries.judge(&note("[exiting]")),
            End::NoUserPart("[exiting]".to_owned())
        );
        let cut = "[stack cut: too deep]";
        assert_eq!(entries.judge(&note(cut)), End::Cut(cut.to_owned()));
    }
}
