//! What each word of a window is called.

use crate::process::MappedFile;
use bpf::{FileId, Place, Word};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbolizer::{Frame, Mapping, Options, Symbolized, Symbolizer};

/// How long a window waits, all in all, for files that are still being opened: one on a server that does not answer holds up
/// the opening of all that come after it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Least time between two readings of the kernel's symbols, which take some 50 ms each: where some are missing, and where code of
/// the kernel is known to have come or gone.
const KERNEL_RELOAD: Duration = Duration::from_secs(300);
const CHANGED_KERNEL_RELOAD: Duration = Duration::from_secs(60);
/// What the kernel calls the code of BPF programs, among that of its modules.
const BPF: &str = "[bpf]";

/// The agent has 40 MB in all where programs are as distributions ship them: without DWARF, or with little beside large tables of
/// symbols, as node. Of a Rust program's 4 MB, all of them asked about, 10 MB of memory were seen to be taken.
const BOUNDS: Options = Options {
    cache_bytes: 5 << 20,
    debug_bytes: 16 << 20,
};

/// Names of words.
pub(crate) type Names = HashMap<Word, Arc<Symbolized>>;

/// What could not be named, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamingTrouble {
    /// Mapped files that could not be opened or read.
    pub(crate) files: u64,
    /// Places without a symbol.
    pub(crate) unnamed: u64,
    /// The kernel gives no names.
    pub(crate) kernel: bool,
}

/// Names words. It belongs to one thread: blazesym's state cannot be shared.
pub(super) struct Namer {
    symbolizer: Symbolizer,
    kernel_reloaded: Instant,
    /// Code of the kernel came or went since then.
    kernel_changed: bool,
    trouble: NamingTrouble,
    /// For words that are no place in code.
    notes: Arc<Mapping>,
    anonymous: Arc<Mapping>,
}

impl Namer {
    pub(super) fn new() -> Self {
        Self {
            symbolizer: Symbolizer::new(BOUNDS),
            kernel_reloaded: Instant::now(),
            kernel_changed: false,
            trouble: NamingTrouble::default(),
            notes: pseudo_mapping("[thermograph]"),
            anonymous: pseudo_mapping("//anon"),
        }
    }

    pub(super) fn trouble(&self) -> NamingTrouble {
        self.trouble
    }

    /// BPF programs came or went: the symbols of the kernel that were read may be of others.
    pub(super) fn kernel_has_changed(&mut self) {
        self.kernel_changed = true;
    }

    /// Adds the names of `words` that `names` does not have yet. An outcome that there is nothing to say of gets none.
    pub(super) fn name(
        &mut self,
        names: &mut Names,
        words: impl Iterator<Item = Word>,
        files: &HashMap<FileId, Arc<MappedFile>>,
        functions: &HashMap<Word, Arc<str>>,
    ) {
        let mut by_file: HashMap<FileId, Vec<(Word, u32)>> = HashMap::new();
        let mut kernel = Vec::new();
        for word in words {
            if names.contains_key(&word) {
                continue;
            }
            match word.place() {
                Place::File { file, offset } => {
                    by_file.entry(file).or_default().push((word, offset))
                }
                Place::Kernel(address) => kernel.push((word, address)),
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
                Place::Unresolved(_) => {}
            }
        }
        let deadline = Instant::now() + PATIENCE;
        for (file, mut offsets) in by_file {
            offsets.sort_unstable();
            offsets.dedup();
            if let Some(file) = files.get(&file) {
                self.name_in_file(names, file, &offsets, deadline);
            }
        }
        kernel.sort_unstable();
        kernel.dedup();
        let addresses: Vec<u64> = kernel.iter().map(|(_, address)| *address).collect();
        let mut named = self.symbolizer.kernel(&addresses);
        self.trouble.kernel = self.symbolizer.kernel_error().is_some();
        if self.is_outdated(&named) {
            self.symbolizer.reload_kernel();
            self.kernel_reloaded = Instant::now();
            self.kernel_changed = false;
            named = self.symbolizer.kernel(&addresses);
        }
        names.extend(kernel.iter().map(|(word, _)| *word).zip(named));
        for failure in self.symbolizer.take_failures() {
            self.trouble.files += 1;
            tracing::debug!("{}: {}", failure.module, failure.error);
        }
    }

    fn name_in_file(
        &mut self,
        names: &mut Names,
        file: &MappedFile,
        words: &[(Word, u32)],
        deadline: Instant,
    ) {
        let offsets: Vec<u64> = words
            .iter()
            .map(|(_, offset)| file.offset(*offset))
            .collect();
        let patience = deadline.saturating_duration_since(Instant::now());
        let named = match file.module(patience) {
            Ok(module) => self.symbolizer.user(&module, &offsets),
            Err(reason) => {
                self.trouble.files += 1;
                tracing::debug!(
                    "{} cannot be named: {reason}",
                    String::from_utf8_lossy(file.path())
                );
                // The file offset stands for the ELF address, which its headers would have told.
                let (mapping, name) = (pseudo_mapping(&file.name()), file.name());
                offsets
                    .iter()
                    .map(|offset| bare(&mapping, *offset, &format!("{name}+{offset:#x}")))
                    .collect()
            }
        };
        self.trouble.unnamed += named.iter().filter(|symbolized| !symbolized.named).count() as u64;
        names.extend(words.iter().map(|(word, _)| *word).zip(named));
    }

    /// Whether the kernel's symbols are to be read again: kernel modules and BPF programs come while the agent runs, and one
    /// takes the place of another.
    fn is_outdated(&self, named: &[Arc<Symbolized>]) -> bool {
        let is_bpf = |found: &Symbolized| {
            found
                .mapping
                .as_ref()
                .is_some_and(|mapping| &*mapping.name == BPF)
        };
        let pause = match self.kernel_changed {
            true => CHANGED_KERNEL_RELOAD,
            false => KERNEL_RELOAD,
        };
        let is_doubtful =
            |found: &Arc<Symbolized>| !found.named || self.kernel_changed && is_bpf(found);
        self.kernel_reloaded.elapsed() >= pause && named.iter().any(is_doubtful)
    }

    fn note(&self, text: &str) -> Arc<Symbolized> {
        bare(&self.notes, 0, text)
    }
}

fn pseudo_mapping(name: &str) -> Arc<Mapping> {
    Arc::new(Mapping {
        name: name.into(),
        build_id: None,
        start: 0,
        limit: 0,
        file_offset: 0,
    })
}

fn bare(mapping: &Arc<Mapping>, address: u64, name: &str) -> Arc<Symbolized> {
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
