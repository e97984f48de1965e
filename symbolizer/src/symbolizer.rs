//! The one door: batches of offsets and addresses in, answers out.

use std::sync::Arc;

use crate::cache::Cache;
use crate::elf_names::{ElfNames, FileFailure};
use crate::frame::{Frame, Mapping, Symbolized};
use crate::kernel::{KernelError, KernelSymbols};
use crate::module::Module;
use crate::names::Names;

/// Offsets named in one go; bounds what blazesym's answers take before they are ours. Each reads the file's tables of symbols once.
const BATCH: usize = 4096;

/// Bounds on what a [`Symbolizer`] holds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for answers and their names, in bytes.
    pub cache_bytes: usize,
    /// Debug information that is kept ready, in bytes of files' `.debug_*` sections, as they are decompressed, and tables of symbols:
    /// those asked about last, as many as fit. A file that alone has more is named from its symbols only. What is parsed of it
    /// takes as much again or more. Indexes of symbols, and decompressed MiniDebugInfo, may have a quarter of this each.
    pub debug_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            debug_bytes: 64 << 20,
        }
    }
}

/// Names file offsets and kernel addresses, each once while it stays in the cache.
///
/// It cannot be sent to another thread once made (blazesym's state is not shared), so it belongs to one thread for good.
pub struct Symbolizer {
    cache: Cache,
    files: ElfNames,
    kernel: Option<Result<KernelSymbols, KernelError>>,
}

impl Symbolizer {
    /// A symbolizer that has read nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            cache: Cache::new(options.cache_bytes),
            files: ElfNames::new(options.debug_bytes),
            kernel: None,
        }
    }

    /// What is at these file offsets of `module`: one answer for each, in their order.
    ///
    /// Each offset is looked up as it is: the offset of a return address must have been reduced by one before. One without a
    /// symbol is called `name+0xaddress` after the last part of the module's name and the ELF address, which is what addr2line
    /// takes; outside the executable segments the file offset stands in its place. A file that cannot be read costs only its own names.
    pub fn user(&mut self, module: &Module, offsets: &[u64]) -> Vec<Arc<Symbolized>> {
        self.files.tend();
        answer(self, module.number(), offsets, |symbolizer, missing| {
            symbolizer.name_offsets(module, missing)
        })
    }

    /// What is at these kernel addresses: one answer for each, in their order. Every name ends in `_[k]`; an address without a symbol is
    /// called by its distance from `_stext`, and `[kernel]` if even that is not known. The kernel's symbols are read at the
    /// first call, which takes some 50 ms.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Arc<Symbolized>> {
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
        self.files.take_failures()
    }

    /// Memory that cached answers and their names take, in bytes.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    fn name_offsets(&mut self, module: &Module, offsets: &[u64]) -> Vec<Symbolized> {
        let addresses: Vec<u64> = offsets
            .iter()
            .filter_map(|&offset| module.elf_address(offset))
            .collect();
        let found = self.files.find(module, &addresses, self.cache.names());
        let mut found = found.into_iter();
        let named = offsets
            .iter()
            .map(|&offset| match module.elf_address(offset) {
                Some(address) => (offset, address, found.next().flatten()),
                None => (offset, offset, None),
            });
        named
            .map(|(offset, address, frames)| Symbolized {
                mapping: module.segment_of(offset).cloned(),
                address,
                named: frames.is_some(),
                frames: frames.unwrap_or_else(|| [unnamed(module, address)].into()),
            })
            .collect()
    }

    fn name_kernel_addresses(&mut self, addresses: &[u64]) -> Vec<Symbolized> {
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
            .collect()
    }
}

/// Answers from the cache, and through `name` what is not in it: each distinct word once, in ascending order.
fn answer(
    symbolizer: &mut Symbolizer,
    number: u64,
    words: &[u64],
    mut name: impl FnMut(&mut Symbolizer, &[u64]) -> Vec<Symbolized>,
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
        fresh.extend(
            batch
                .iter()
                .zip(named)
                .map(|(&word, answer)| symbolizer.cache.insert((number, word), answer)),
        );
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
    let name = names.plain(&format!("{name}_[k]"));
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
