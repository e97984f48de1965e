//! What each word of a window is called.

use super::addresses;
use super::kernel::KernelNames;
use super::trouble::NamingTrouble;
use crate::cli::{Symbols, WORKER};
use crate::debuginfod::Debuginfod;
use crate::process::{MappedFile, Unopened};
use bpf::{FileId, Place, Word};
use hashbrown::HashSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbolizer::{Frame, Launch, Mapping, Symbolized, Symbolizer};

/// How long a window waits, all in all, for files that are still being opened: one on a server that does not answer holds up
/// the opening of all that come after it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Memory for names, in bytes. The agent has 40 MB in all.
const CACHE: usize = 5 << 20;

/// Names of words.
pub(crate) type Names = hashbrown::HashMap<Word, Arc<Symbolized>>;

/// Who names, and with what help.
pub(crate) struct Naming {
    pub(crate) symbols: Symbols,
    /// Where debug files come from that are not on this host.
    pub(crate) debuginfod: Option<Debuginfod>,
}

/// Words that stand for places in code.
#[derive(Default)]
struct Places {
    by_file: HashMap<FileId, Vec<(Word, u32)>>,
    kernel: Vec<(Word, u64)>,
}

/// Keeps the name of a word, which may have been asked for in vain before: a name once given stays.
pub(super) fn keep(names: &mut Names, word: Word, name: &Arc<Symbolized>) {
    let known = names.entry(word).or_insert_with(|| Arc::clone(name));
    if !known.named {
        *known = Arc::clone(name);
    }
}

/// Names words. It belongs to one thread.
pub(super) struct Namer {
    symbolizer: Symbolizer,
    /// What the worker may take for a window.
    time: Duration,
    naming: Naming,
    kernel: KernelNames,
    trouble: NamingTrouble,
    /// For words that are no place in code.
    notes: Arc<Mapping>,
    anonymous: Arc<Mapping>,
    nowhere: Arc<Mapping>,
}

impl Namer {
    pub(super) fn new(naming: Naming, time: Duration) -> Self {
        Self {
            symbolizer: Symbolizer::in_worker(CACHE, worker()),
            time,
            naming,
            kernel: KernelNames::new(),
            trouble: NamingTrouble::default(),
            notes: pseudo_mapping("[thermograph]"),
            anonymous: pseudo_mapping("//anon"),
            nowhere: pseudo_mapping("[unknown]"),
        }
    }

    pub(super) fn trouble(&self) -> NamingTrouble {
        self.trouble
    }

    /// BPF programs came or went: the symbols of the kernel that were read may be of others.
    pub(super) fn kernel_has_changed(&mut self) {
        self.kernel.have_changed();
    }

    /// Adds the names of `words` that `names` does not have yet. An outcome that there is nothing to say of gets none.
    pub(super) fn name(
        &mut self,
        names: &mut Names,
        words: impl Iterator<Item = Word>,
        files: &HashMap<FileId, Arc<MappedFile>>,
        functions: &HashMap<Word, Arc<str>>,
    ) {
        let Places { by_file, kernel } = self.places(names, words, functions);
        self.name_in_files(names, by_file, files);
        self.name_in_kernel(names, kernel);
        for failure in self.symbolizer.take_failures() {
            self.trouble.files.count(&failure.error);
            tracing::debug!("{}: {}", failure.module, failure.error);
        }
        if let Some(error) = self.symbolizer.take_start_error() {
            tracing::warn!(
                "cannot start the process that reads symbols, so new places in files have no names: {error}"
            );
        }
        self.trouble.worker = self.symbolizer.worker_stats();
    }

    /// The names of `words` that are there without reading a file; others are called by their offsets.
    pub(super) fn known(
        &mut self,
        words: impl Iterator<Item = Word>,
        files: &HashMap<FileId, Arc<MappedFile>>,
        functions: &HashMap<Word, Arc<str>>,
    ) -> Names {
        let mut names = Names::new();
        let places = self.places(&mut names, words, functions);
        for (file, words) in places.by_file {
            let Some(file) = files.get(&file) else {
                continue;
            };
            let offsets = words.iter().map(|(_, offset)| file.offset(*offset));
            let offsets: Vec<u64> = offsets.collect();
            names.extend(by_offset(file, &words));
            if let Ok(module) = file.module(Duration::ZERO) {
                let known = self.symbolizer.known(&module, &offsets);
                let words = words.iter().map(|(word, _)| *word);
                names.extend(
                    words
                        .zip(known)
                        .filter_map(|(word, name)| Some((word, name?))),
                );
            }
        }
        let addresses: Vec<u64> = places.kernel.iter().map(|(_, address)| *address).collect();
        let named = self.kernel.name(&mut self.symbolizer, &addresses);
        names.extend(places.kernel.iter().map(|(word, _)| *word).zip(named));
        names
    }

    /// Names those of `words` that are no places in code, and returns the others that `names` does not have yet.
    fn places(
        &self,
        names: &mut Names,
        words: impl Iterator<Item = Word>,
        functions: &HashMap<Word, Arc<str>>,
    ) -> Places {
        let mut places = Places::default();
        let mut seen = HashSet::new();
        for word in words {
            if !seen.insert(word) || names.contains_key(&word) {
                continue;
            }
            match word.place() {
                Place::File { file, offset } => {
                    places.by_file.entry(file).or_default().push((word, offset));
                }
                Place::Kernel(address) => places.kernel.push((word, address)),
                Place::Outcome(outcome) => {
                    if let Some(text) = outcome.frame() {
                        names.insert(word, self.note(text));
                    }
                }
                // Without the address: it would give away where that process has its memory, and every process would
                // have places of its own.
                Place::Anonymous(_) => {
                    names.insert(word, bare(&self.anonymous, 0, "[jit]"));
                }
                Place::Function(_) => {
                    if let Some(name) = functions.get(&word) {
                        let mut found = bare(&self.anonymous, 0, name);
                        Arc::make_mut(&mut found).named = true;
                        names.insert(word, found);
                    }
                }
                // Why is said by the outcome, the frame below it.
                Place::Unresolved(address) => {
                    let name = format!("[unknown {address:#x}]");
                    names.insert(word, bare(&self.nowhere, address, &name));
                }
            }
        }
        places
    }

    fn name_in_files(
        &mut self,
        names: &mut Names,
        by_file: HashMap<FileId, Vec<(Word, u32)>>,
        files: &HashMap<FileId, Arc<MappedFile>>,
    ) {
        self.symbolizer.begin_window(self.time);
        let deadline = Instant::now() + PATIENCE;
        let mut modules = Vec::with_capacity(by_file.len());
        for (file, mut words) in by_file {
            words.sort_unstable();
            let Some(file) = files.get(&file) else {
                continue;
            };
            let patience = deadline.saturating_duration_since(Instant::now());
            match file.module(patience) {
                Ok(module) => modules.push((module, file, words)),
                Err(reason) => self.leave_unnamed(names, file, &words, &reason),
            }
        }
        // Of all that is to be read within the time of a window, large files come last.
        modules.sort_by_key(|(module, ..)| module.bytes_of_names());
        for (module, file, words) in modules {
            let offsets: Vec<u64> = words
                .iter()
                .map(|(_, offset)| file.offset(*offset))
                .collect();
            let left_to_reader = match self.naming.symbols {
                Symbols::Local => None,
                Symbols::None => addresses::without_names(file, &module, &offsets),
            };
            let named = left_to_reader.unwrap_or_else(|| {
                if let Some(debuginfod) = &self.naming.debuginfod {
                    debuginfod.complete(&mut self.symbolizer, &module);
                }
                let named = self.symbolizer.user(&module, &offsets);
                let unnamed = named.iter().filter(|symbolized| !symbolized.named);
                self.trouble.unnamed += unnamed.count() as u64;
                named
            });
            names.extend(words.iter().map(|(word, _)| *word).zip(named));
        }
    }

    /// Calls places in a file that could not be opened by their offsets.
    fn leave_unnamed(
        &mut self,
        names: &mut Names,
        file: &MappedFile,
        words: &[(Word, u32)],
        reason: &Unopened,
    ) {
        self.trouble.files.unopened += 1;
        self.trouble.unnamed += words.len() as u64;
        tracing::debug!(
            "{} cannot be named: {reason}",
            String::from_utf8_lossy(file.path())
        );
        names.extend(by_offset(file, words));
    }

    fn name_in_kernel(&mut self, names: &mut Names, mut words: Vec<(Word, u64)>) {
        words.sort_unstable();
        let addresses: Vec<u64> = words.iter().map(|(_, address)| *address).collect();
        let named = self.kernel.name(&mut self.symbolizer, &addresses);
        self.trouble.kernel = self.symbolizer.kernel_error().is_some();
        names.extend(words.iter().map(|(word, _)| *word).zip(named));
    }

    fn note(&self, text: &str) -> Arc<Symbolized> {
        bare(&self.notes, 0, text)
    }
}

/// This program, also when another was put in its place.
fn worker() -> Launch {
    Launch {
        program: "/proc/self/exe".into(),
        arguments: vec![WORKER.into()],
    }
}

/// Names by offsets in a file: these stand for ELF addresses, which its headers would have told.
fn by_offset(
    file: &MappedFile,
    words: &[(Word, u32)],
) -> impl Iterator<Item = (Word, Arc<Symbolized>)> {
    let (mapping, name) = (pseudo_mapping(&file.name()), file.name());
    words.iter().map(move |(word, offset)| {
        let offset = file.offset(*offset);
        let name = format!("{name}+{offset:#x}");
        (*word, bare(&mapping, offset, &name))
    })
}

pub(super) fn pseudo_mapping(name: &str) -> Arc<Mapping> {
    Arc::new(Mapping {
        name: name.into(),
        build_id: None,
        start: 0,
        limit: 0,
        file_offset: 0,
    })
}

pub(super) fn bare(mapping: &Arc<Mapping>, address: u64, name: &str) -> Arc<Symbolized> {
    let name: Arc<str> = name.into();
    let frame = Frame {
        system_name: Arc::clone(&name),
        name,
        file: None,
        line: 0,
        inlined: false,
    };
    Arc::new(Symbolized {
        mapping: Some(Arc::clone(mapping)),
        address,
        frames: [frame].into(),
        named: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that was found later takes the place of none, and nothing takes the place of a name.
    #[test]
    fn a_name_once_given_stays() {
        let mapping = pseudo_mapping("file");
        let unnamed = bare(&mapping, 8, "file+0x8");
        let [first, second] = ["first", "second"].map(|name| {
            let mut found = bare(&mapping, 8, name);
            Arc::make_mut(&mut found).named = true;
            found
        });
        let word = Word::from_raw(1);
        let mut names = Names::new();
        for (found, kept) in [
            (&unnamed, &unnamed),
            (&first, &first),
            (&second, &first),
            (&unnamed, &first),
        ] {
            keep(&mut names, word, found);
            assert!(Arc::ptr_eq(&names[&word], kept));
        }
    }
}
