//! The debug information in ELF files, through blazesym.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use lru::LruCache;

use crate::module::Module;

/// Longest part of a foreign message that is kept, in characters: it may quote the file.
pub(crate) const LONGEST_MESSAGE: usize = 300;

/// How long a file is kept ready after it was asked about: its steady places have been named by then, and opening it again takes less
/// than a millisecond.
const KEPT: Duration = Duration::from_secs(60);

/// Files whose debug information is kept ready: those asked about last, as many as fit.
pub(crate) struct DebugFiles {
    files: LruCache<u64, DebugFile>,
    bytes: u64,
    budget: u64,
}

impl DebugFiles {
    /// None yet. `budget` bounds the bytes that all of them have in their files.
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            files: LruCache::unbounded(),
            bytes: 0,
            budget,
        }
    }

    /// What there is of `module`, unless it has nothing that may be read.
    ///
    /// DWARF is read only if the file has all of it: blazesym would open any path that a `.gnu_debuglink` or
    /// `.gnu_debugaltlink` names, from this mount namespace, be it a pipe or a device. Compressed sections are left
    /// alone because their size is unknown until they are in memory.
    pub(crate) fn get(&mut self, module: &Module) -> Option<&DebugFile> {
        let sections = module.debug();
        let may_be_read = sections.present && !sections.names_other_files && !sections.compressed;
        let bytes = module.bytes_of_names();
        if !may_be_read || bytes > self.budget {
            return None;
        }
        let number = module.number();
        if !self.files.contains(&number) {
            while self.bytes > self.budget - bytes
                && let Some((_, file)) = self.files.pop_lru()
            {
                self.bytes -= file.bytes;
            }
            self.bytes += bytes;
            self.files.put(number, DebugFile::new(module, bytes));
        }
        let file = self.files.get_mut(&number)?;
        file.asked = Instant::now();
        Some(file)
    }

    /// Lets go of files that have not been asked about for a while.
    pub(crate) fn forget_unasked(&mut self) {
        while let Some((_, file)) = self.files.peek_lru()
            && file.asked.elapsed() > KEPT
        {
            self.bytes -= file.bytes;
            self.files.pop_lru();
        }
    }

    /// Lets go of a file.
    pub(crate) fn forget(&mut self, module: &Module) {
        if let Some(file) = self.files.pop(&module.number()) {
            self.bytes -= file.bytes;
        }
    }
}

/// One file as blazesym sees it.
///
/// blazesym wants a path and remembers what it read under it. The only path that leads to a file which may be deleted, replaced or
/// in another mount namespace is `/proc/self/fd/N`, and N is given to another file once ours is closed. So each file gets
/// a `Symbolizer` of its own: it is asked about one path only, it reads that path once (no reloading), and it is found by
/// the module's number, which is never used again. Nothing it remembers can answer for another file, and dropping it frees all
/// that the file cost.
pub(crate) struct DebugFile {
    symbolizer: Symbolizer,
    path: PathBuf,
    bytes: u64,
    asked: Instant,
}

impl DebugFile {
    fn new(module: &Module, bytes: u64) -> Self {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_demangling(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
            .build();
        Self {
            symbolizer,
            path: format!("/proc/self/fd/{}", module.descriptor()).into(),
            bytes,
            asked: Instant::now(),
        }
    }

    /// What is at ELF addresses, one answer for each. After an error the file must be forgotten: what panics in blazesym, which
    /// trusts some sums and lengths in a file to be sane, may leave it half changed.
    pub(crate) fn find(&self, addresses: &[u64]) -> Result<Vec<Symbolized<'_>>, String> {
        let elf = Source::Elf(Elf::new(&self.path));
        let ask = || {
            self.symbolizer
                .symbolize(&elf, Input::VirtOffset(addresses))
        };
        catch_unwind(AssertUnwindSafe(ask))
            .map_err(|_| "its contents contradict each other".to_owned())?
            .map_err(|error| format!("{error:#}").chars().take(LONGEST_MESSAGE).collect())
    }
}
