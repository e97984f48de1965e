//! The one door: batches of offsets and addresses in, answers out.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::elf_names::{ElfNames, FileFailure, Frames};
use crate::frame::{Frame, KERNEL_MARK, Mapping, Symbolized};
use crate::kernel::{KernelError, KernelSymbols};
use crate::kernel_modules::KernelModules;
use crate::module::Module;
use crate::names::Names;
use crate::worker::{Client, Launch, MOST_ADDRESSES, WorkerStats};

/// Offsets named in one go; bounds what blazesym's answers take before they are ours. Each reads the file's tables of symbols once.
const BATCH: usize = MOST_ADDRESSES;

/// Bounds on what a [`Symbolizer`] of one process holds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for answers and their names, in bytes.
    pub cache_bytes: usize,
    /// Debug information that is kept ready, in bytes of files' `.debug_*` sections, as they are decompressed, and tables of symbols:
    /// those asked about last, as many as fit. A file that alone has more is named from its symbols only. What is parsed of it
    /// takes as much again or more. Indexes of symbols may have half of this, and decompressed MiniDebugInfo a quarter.
    pub debug_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            // With 11 MB of a Rust program, all of it asked about, a worker was seen to have 30 MB.
            debug_bytes: 16 << 20,
        }
    }
}

/// Names file offsets and kernel addresses, each once while it stays in the cache.
///
/// It cannot be sent to another thread once made (blazesym's state is not shared), so it belongs to one thread for good.
pub struct Symbolizer {
    cache: Cache,
    files: Files,
    kernel: Option<Result<KernelSymbols, KernelError>>,
    /// When the kernel's symbols were read.
    kernel_modules: KernelModules,
}

/// Where foreign files are read.
enum Files {
    Here(ElfNames),
    InWorker(Client),
}

/// What is found out at a time, and whether it stays so.
struct Answer {
    symbolized: Symbolized,
    is_final: bool,
}

impl Symbolizer {
    /// A symbolizer that has read nothing yet, and will read files itself. It is for files that the caller trusts: debug information is
    /// read through a memory mapping, so a file that is truncated meanwhile kills the process with SIGBUS, and one on a server
    /// that does not answer blocks the caller.
    pub fn new(options: Options) -> Self {
        let files = Files::Here(ElfNames::new(options.debug_bytes));
        Self::with(options.cache_bytes, files)
    }

    /// A symbolizer that has a worker read files. `cache_bytes` is for answers and their names.
    pub fn in_worker(cache_bytes: usize, launch: Launch) -> Self {
        Self::with(cache_bytes, Files::InWorker(Client::new(launch)))
    }

    fn with(cache_bytes: usize, files: Files) -> Self {
        Self {
            cache: Cache::new(cache_bytes),
            files,
            kernel: None,
            kernel_modules: KernelModules::default(),
        }
    }

    /// To be called before each window's words are named: the worker may take so much time for it, and no more.
    pub fn begin_window(&mut self, time: Duration) {
        match &mut self.files {
            Files::Here(files) => files.tend(),
            Files::InWorker(worker) => worker.begin_window(time),
        }
    }

    /// What is at these file offsets of `module`: one answer for each, in their order.
    ///
    /// Each offset is looked up as it is: the offset of a return address must have been reduced by one before. One without a
    /// symbol is called `name+0xaddress` after the last part of the module's name and the ELF address, which is what addr2line
    /// takes; outside the executable segments the file offset stands in its place. A file that cannot be read costs only its own names.
    /// A name once given stays as it is while it is in the cache.
    pub fn user(&mut self, module: &Module, offsets: &[u64]) -> Vec<Arc<Symbolized>> {
        answer(self, module.number(), offsets, |symbolizer, missing| {
            symbolizer.name_offsets(module, missing)
        })
    }

    /// What is known without reading anything of what is at these file offsets of `module`: one answer for each, in their order.
    pub fn known(&mut self, module: &Module, offsets: &[u64]) -> Vec<Option<Arc<Symbolized>>> {
        let mut known = |&offset: &u64| self.cache.get((module.number(), offset)).cloned();
        offsets.iter().map(&mut known).collect()
    }

    /// Whether `module`, which was asked about, would have lines if there were a debug file. One that was given and is not the right one
    /// does not change that.
    pub fn lacks_debug_info(&mut self, module: &Module) -> bool {
        match &mut self.files {
            Files::Here(_) => module.lacks_debug_info(),
            Files::InWorker(worker) => worker.lacks_debug_info(module),
        }
    }

    /// Adds a debug file to `module` that was fetched from elsewhere. It counts if it says that it is of the same build id, and if none is
    /// found where debug files are installed. Places that had no name get one when they are asked about again; those that had
    /// one keep it. A symbolizer that reads files itself must not have been asked about the module before.
    pub fn give_debug_file(&mut self, module: &Module, file: File) {
        module.give_debug_file(file);
        if let Files::InWorker(worker) = &mut self.files {
            worker.has_debug_file_now(module);
        }
        self.cache.forget_unnamed(module.number());
    }

    /// What is at these kernel addresses: one answer for each, in their order. Every name ends in `_[k]`; an address without a symbol is
    /// called by its distance from `_stext`, and `[kernel]` if even that is not known. The kernel's symbols are read at the
    /// first call, which takes some 50 ms.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Arc<Symbolized>> {
        if self.kernel.is_none() {
            // Before the symbols: if they change in between, that is seen.
            self.kernel_modules = KernelModules::load();
        }
        match self.kernel.get_or_insert_with(KernelSymbols::load) {
            Ok(symbols) => {
                let number = symbols.number();
                answer(self, number, addresses, Self::name_kernel_addresses)
            }
            Err(_) => {
                let nothing = Arc::new(kernel_answer(
                    None,
                    0,
                    "[kernel]",
                    false,
                    self.cache.names(),
                ));
                vec![nothing; addresses.len()]
            }
        }
    }

    /// Whether there are other kernel modules than when the kernel's symbols were read.
    pub fn kernel_modules_changed(&self) -> bool {
        self.kernel.is_some() && KernelModules::load() != self.kernel_modules
    }

    /// Reads the kernel's symbols anew at the next [`kernel`](Self::kernel): to be called after kernel modules or BPF
    /// programs came or went.
    pub fn reload_kernel(&mut self) {
        self.kernel = None;
    }

    /// Why there are no kernel names, if so. Nothing is known before the first [`kernel`](Self::kernel).
    pub fn kernel_error(&self) -> Option<&KernelError> {
        self.kernel.as_ref()?.as_ref().err()
    }

    /// The files found wanting since the last call, at most 1024 of them. A file is reported again only after it was forgotten among others.
    pub fn take_failures(&mut self) -> Vec<FileFailure> {
        match &mut self.files {
            Files::Here(files) => files.take_failures(),
            Files::InWorker(worker) => worker.take_failures(),
        }
    }

    /// What went wrong with workers.
    pub fn worker_stats(&self) -> WorkerStats {
        match &self.files {
            Files::Here(_) => WorkerStats::default(),
            Files::InWorker(worker) => worker.stats(),
        }
    }

    /// Why a worker could not be started, if that was tried in vain since the last call.
    pub fn take_start_error(&mut self) -> Option<io::Error> {
        match &mut self.files {
            Files::Here(_) => None,
            Files::InWorker(worker) => worker.take_start_error(),
        }
    }

    /// Memory that cached answers and their names take, in bytes.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    fn name_offsets(&mut self, module: &Module, offsets: &[u64]) -> Vec<Answer> {
        let addresses: Vec<u64> = offsets
            .iter()
            .filter_map(|&offset| module.elf_address(offset))
            .collect();
        let mut found = self.find(module, &addresses).into_iter();
        let named = offsets
            .iter()
            .map(|&offset| match module.elf_address(offset) {
                Some(address) => (offset, address, found.next().flatten()),
                None => (offset, offset, Some(None)),
            });
        named
            .map(|(offset, address, found)| {
                let is_final = found.is_some();
                let frames = found.flatten();
                let symbolized = Symbolized {
                    mapping: module.segment_of(offset).cloned(),
                    address,
                    named: frames.is_some(),
                    frames: frames.unwrap_or_else(|| [unnamed(module, address)].into()),
                };
                Answer {
                    symbolized,
                    is_final,
                }
            })
            .collect()
    }

    /// The frames at ELF addresses, one answer for each; none for those that could not be looked for now.
    fn find(&mut self, module: &Module, addresses: &[u64]) -> Vec<Option<Frames>> {
        let names = self.cache.names();
        match &mut self.files {
            Files::Here(files) => {
                let found = files.find(module, addresses, names);
                found.into_iter().map(Some).collect()
            }
            Files::InWorker(worker) => worker.find(module, addresses, names),
        }
    }

    fn name_kernel_addresses(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let Some(Ok(symbols)) = &self.kernel else {
            return Vec::new();
        };
        let names = self.cache.names();
        let places = addresses.iter().map(|&address| symbols.find(address));
        places
            .map(|place| match place.name {
                Some(name) => kernel_answer(place.mapping, place.address, name, true, names),
                None if place.address == 0 => kernel_answer(None, 0, "[kernel]", false, names),
                None => {
                    let name = format!("[kernel]+{:#x}", place.address);
                    kernel_answer(place.mapping, place.address, &name, false, names)
                }
            })
            .map(|symbolized| Answer {
                symbolized,
                is_final: true,
            })
            .collect()
    }
}

/// Answers from the cache, and through `name` what is not in it: each distinct word once, in ascending order.
fn answer(
    symbolizer: &mut Symbolizer,
    number: u64,
    words: &[u64],
    mut name: impl FnMut(&mut Symbolizer, &[u64]) -> Vec<Answer>,
) -> Vec<Arc<Symbolized>> {
    let mut missing = Vec::new();
    let mut cached = |&word: &u64| {
        let answer = symbolizer.cache.get((number, word)).cloned();
        if answer.is_none() {
            missing.push(word);
        }
        answer
    };
    let answers: Vec<Option<Arc<Symbolized>>> = words.iter().map(&mut cached).collect();
    missing.sort_unstable();
    missing.dedup();
    let mut fresh = Vec::with_capacity(missing.len());
    for batch in missing.chunks(BATCH) {
        let named = name(symbolizer, batch);
        let keep = |(&word, answer): (&u64, Answer)| {
            if answer.is_final {
                symbolizer.cache.insert((number, word), answer.symbolized)
            } else {
                Arc::new(answer.symbolized)
            }
        };
        fresh.extend(batch.iter().zip(named).map(keep));
    }
    let fill = |(answer, word): (Option<_>, _)| {
        answer.or_else(|| fresh.get(missing.binary_search(word).ok()?).cloned())
    };
    answers.into_iter().zip(words).filter_map(fill).collect()
}

fn unnamed(module: &Module, address: u64) -> Frame {
    // Not shared: every such name is different.
    let name: Arc<str> = format!("{}+{address:#x}", module.short_name()).into();
    Frame {
        system_name: name.clone(),
        name,
        file: None,
        line: 0,
        inlined: false,
    }
}

fn kernel_answer(
    mapping: Option<&Arc<Mapping>>,
    address: u64,
    raw: &str,
    named: bool,
    names: &mut Names,
) -> Symbolized {
    let (name, system_name) = names.function(raw);
    let name = names.plain(&format!("{name}{KERNEL_MARK}"));
    let frame = Frame {
        name,
        system_name,
        file: None,
        line: 0,
        inlined: false,
    };
    Symbolized {
        mapping: mapping.cloned(),
        address,
        frames: [frame].into(),
        named,
    }
}
