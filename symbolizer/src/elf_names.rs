//! The names in one ELF file, through blazesym.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer};

use crate::demangle::is_mangled;
use crate::frame::Frame;
use crate::module::Module;
use crate::names::Names;

/// Longest part of a foreign message that is kept, in characters: it may quote the file.
const LONGEST_MESSAGE: usize = 300;
/// What is said of an error that not all addresses of a file meet.
const PARTLY: &str = "a part of them is damaged";

/// What is wrong with a file that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The symbols, or some of them, cannot be read: offsets are without a name.
    #[error("its symbols cannot be read: {0}")]
    Symbols(String),
    /// The debug information, or a part of it, cannot be read: lines and inlined functions are missing.
    #[error("its debug sections cannot be read, so lines are missing: {0}")]
    DebugInfo(String),
    /// The file became shorter while it was open: it is not read any more.
    #[error("it was truncated while it was in use")]
    Truncated,
}

/// One file as blazesym sees it.
///
/// blazesym wants a path and remembers what it read under it. The only path that leads to a file which may be deleted, replaced or
/// in another mount namespace is `/proc/self/fd/N`, and N is given to another file once ours is closed. So each file gets
/// a `Symbolizer` of its own: it is asked about one path only, it reads that path once (no reloading), and it is found by
/// the module's number, which is never used again. Nothing it remembers can answer for another file, and dropping it frees all
/// that the file cost.
pub(crate) struct ElfNames {
    symbolizer: Symbolizer,
    path: PathBuf,
    /// Whether to read DWARF.
    debug: bool,
    /// What was found wrong first and, until it is taken, is to be reported.
    error: Option<FileError>,
    reported: bool,
}

/// The frames of one address, innermost first; none if there is no symbol.
pub(crate) type Frames = Option<Box<[Frame]>>;

impl ElfNames {
    /// Prepares to read `module`, its debug information only if it is at most `debug_bytes` large.
    ///
    /// DWARF is read only if the file has all of it: blazesym would open any path that a `.gnu_debuglink` or
    /// `.gnu_debugaltlink` names, from this mount namespace, be it a pipe or a device. Compressed sections are left
    /// alone because their size is unknown until they are in memory.
    pub(crate) fn new(module: &Module, debug_bytes: u64) -> Self {
        let sections = module.debug();
        let debug = sections.present
            && !sections.names_other_files
            && !sections.compressed
            && sections.bytes <= debug_bytes;
        let path = format!("/proc/self/fd/{}", module.descriptor()).into();
        Self {
            symbolizer: symbolizer(debug),
            path,
            debug,
            error: None,
            reported: false,
        }
    }

    /// The frames at ELF addresses, one answer for each. An error is one of the whole file: nothing of it can be named.
    pub(crate) fn find(
        &mut self,
        addresses: &[u64],
        names: &mut Names,
    ) -> Result<Vec<Frames>, FileError> {
        let debug = match self
            .debug
            .then(|| ask(&self.symbolizer, &self.path, true, addresses))
        {
            None => None,
            Some(Ok(found)) => Some(found),
            Some(Err(message)) => {
                self.symbolizer = symbolizer(false);
                self.debug = false;
                self.error.get_or_insert(FileError::DebugInfo(message));
                None
            }
        };
        let symbols =
            ask(&self.symbolizer, &self.path, false, addresses).map_err(FileError::Symbols)?;
        if any_damaged(&symbols) {
            self.error
                .get_or_insert_with(|| FileError::Symbols(PARTLY.to_owned()));
        }
        let Some(debug) = debug else {
            return Ok(symbols
                .iter()
                .map(|found| frames(symbol(found)?, None, names))
                .collect());
        };
        if any_damaged(&debug) {
            self.error
                .get_or_insert_with(|| FileError::DebugInfo(PARTLY.to_owned()));
        }
        let both = debug.iter().zip(&symbols);
        Ok(both
            .map(|(debug, found)| match symbol(debug) {
                Some(debug) => frames(debug, symbol(found), names),
                None => frames(symbol(found)?, None, names),
            })
            .collect())
    }

    /// What was found wrong with the file, once.
    pub(crate) fn take_error(&mut self) -> Option<FileError> {
        let first = !std::mem::replace(&mut self.reported, self.error.is_some());
        if first { self.error.clone() } else { None }
    }
}

/// Whether blazesym met an error at one of the addresses, which is all it says then.
fn any_damaged(found: &[Symbolized<'_>]) -> bool {
    found
        .iter()
        .any(|found| matches!(found, Symbolized::Unknown(Reason::IgnoredError)))
}

fn symbolizer(debug: bool) -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_demangling(false)
        .enable_code_info(debug)
        .enable_inlined_fns(debug)
        .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
        .build()
}

/// Asks blazesym, which trusts some sums and lengths in a file to be sane: what panics in it is that file's fault.
fn ask<'names>(
    symbolizer: &'names Symbolizer,
    path: &PathBuf,
    debug: bool,
    addresses: &[u64],
) -> Result<Vec<Symbolized<'names>>, String> {
    let mut elf = Elf::new(path);
    elf.debug_syms = debug;
    // A panic may leave the symbolizer half changed: after an error every caller drops it.
    catch_unwind(AssertUnwindSafe(|| {
        symbolizer.symbolize(&Source::Elf(elf), Input::VirtOffset(addresses))
    }))
    .map_err(|_| "its contents contradict each other".to_owned())?
    .map_err(|error| format!("{error:#}").chars().take(LONGEST_MESSAGE).collect())
}

fn symbol<'found>(found: &'found Symbolized<'_>) -> Option<&'found Sym<'found>> {
    match found {
        Symbolized::Sym(symbol) => Some(symbol),
        Symbolized::Unknown(_) => None,
    }
}

/// The frames of what was found. `linker` is the ELF symbol at the same address, if `found` is from DWARF: there a C++ function that is
/// internal to its file has no mangled name, only the last part of its own, and a function may have no name at all.
fn frames(found: &Sym<'_>, linker: Option<&Sym<'_>>, names: &mut Names) -> Frames {
    let better = linker.filter(|linker| {
        found.name.is_empty()
            || (linker.addr == found.addr && is_mangled(&linker.name) && !is_mangled(&found.name))
    });
    let name = &better.unwrap_or(found).name;
    if name.is_empty() {
        return None;
    }
    let inner = found
        .inlined
        .iter()
        .rev()
        .map(|function| (&*function.name, function.code_info.as_ref(), true));
    let outer = std::iter::once((&**name, found.code_info.as_deref(), false));
    Some(
        inner
            .chain(outer)
            .map(|(name, place, inlined)| frame(name, place, inlined, names))
            .collect(),
    )
}

fn frame(raw: &str, place: Option<&CodeInfo<'_>>, inlined: bool, names: &mut Names) -> Frame {
    let (name, system_name) = names.function(if raw.is_empty() { "[inlined]" } else { raw });
    Frame {
        name,
        system_name,
        file: place.map(|place| names.plain(&place.to_path().to_string_lossy())),
        line: place.and_then(|place| place.line).unwrap_or(0),
        inlined,
    }
}
