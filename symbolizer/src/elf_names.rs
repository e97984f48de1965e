//! The names in ELF files: those of their symbols, and lines and inlined functions where there is debug information.

use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;

use crate::debug_file::DebugFile;
use crate::debug_info::{DebugInfo, Found, Function, shortened};
use crate::elf_symbols::{ElfSymbols, Symbol};
use crate::frame::Frame;
use crate::go_functions::GoFunctions;
use crate::mini_debug_info::MiniDebugInfo;
use crate::module::Module;
use crate::names::Names;
use crate::worker::WorkerFault;

/// Files remembered for what is wrong with them, so that each is reported once.
pub(crate) const MOST_FAULTY: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Failures kept for [`ElfNames::take_failures`].
pub(crate) const MOST_REPORTED: usize = 1024;
/// Indexes of symbols and MiniDebugInfo have these parts of the memory that debug information has, and beside it. An index takes 12 bytes a
/// symbol: one of node's 2 MB, of 400,000 symbols 5.
const INDEX_SHARE: u64 = 2;
const MINI_SHARE: u64 = 4;
/// What is said of a file that ends too early.
const CUT: &str = "the file ends before its table of sections";
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
    /// There is more debug information than is read: lines and inlined functions are missing.
    #[error("its debug sections are larger than what is read of a file, so lines are missing")]
    TooMuchDebugInfo,
    /// The table of functions of a Go program, or a part of it, cannot be read.
    #[error("its table of Go functions cannot be read: {0}")]
    Go(String),
    /// Its debug file was found, and is not the right one.
    #[error("its debug file is not used: {0}")]
    DebugFile(String),
    /// The file became shorter while it was open, and is not read any more; or its debug file did, and lines are missing.
    #[error("it was truncated while it was in use")]
    Truncated,
    /// It was too much for the worker that read it: it is left alone for a while.
    #[error("the worker that read it {0}")]
    Worker(WorkerFault),
}

/// A file that was asked about and has something wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFailure {
    /// The file's name as its opener gave it.
    pub module: Arc<str>,
    /// What is wrong.
    pub error: FileError,
}

/// The frames of one address, innermost first; none if there is no symbol.
pub(crate) type Frames = Option<Box<[Frame]>>;

/// How much of a file is not asked about any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A part was damaged: all is still asked about.
    Part,
    DebugInfo,
    All,
}

/// Where names of files come from.
pub(crate) struct ElfNames {
    debug: DebugInfo,
    symbols: ElfSymbols,
    mini: MiniDebugInfo,
    faults: LruCache<u64, Fault>,
    failures: Vec<FileFailure>,
}

impl ElfNames {
    /// `debug_bytes` bounds the debug information that is kept ready.
    pub(crate) fn new(debug_bytes: u64) -> Self {
        Self {
            debug: DebugInfo::new(debug_bytes),
            symbols: ElfSymbols::new(debug_bytes / INDEX_SHARE),
            mini: MiniDebugInfo::new(debug_bytes / MINI_SHARE),
            faults: LruCache::new(MOST_FAULTY),
            failures: Vec::new(),
        }
    }

    /// The largest file that is written, in memory and without a name, in bytes.
    pub(crate) fn largest_unpacked(&self) -> u64 {
        self.mini.budget()
    }

    /// The frames at ELF addresses, one answer for each.
    pub(crate) fn find(
        &mut self,
        module: &Module,
        addresses: &[u64],
        names: &mut Names,
    ) -> Vec<Frames> {
        let symbols = self.symbols(module, addresses);
        let mut frames = self.lines(module, addresses, &symbols, names);
        for (frames, symbol) in frames.iter_mut().zip(&symbols) {
            if frames.is_none() {
                *frames = symbol.as_ref().map(|symbol| bare(symbol, names));
            }
        }
        frames
    }

    /// What tables of symbols say of ELF addresses, one answer for each: nothing if the file cannot be read.
    pub(crate) fn symbols(
        &mut self,
        module: &Module,
        addresses: &[u64],
    ) -> Vec<Option<Rc<Symbol>>> {
        if addresses.is_empty() || self.fault(module) == Some(Fault::All) {
            return vec![None; addresses.len()];
        }
        // What is read of it may be anything now. And blazesym maps it, and reading a mapping beyond the file's end is fatal; a
        // truncation after this is still.
        if module.was_truncated() {
            self.debug.forget(module);
            self.fail(module, Fault::All, FileError::Truncated);
            return vec![None; addresses.len()];
        }
        let debug = module.debug_file();
        let is_short = |file: &DebugFile| file.module.was_truncated();
        if debug.is_ok_and(|file| file.is_some_and(is_short)) {
            self.debug.forget(module);
            self.fail(module, Fault::DebugInfo, FileError::Truncated);
        }
        if let Err(refusal) = debug {
            let error = FileError::DebugFile(refusal.to_string());
            self.fail(module, Fault::Part, error);
        }
        if module.is_cut() {
            self.fail(module, Fault::Part, FileError::Symbols(CUT.to_owned()));
        }
        let mut found = self.symbols.find(module, addresses);
        if found.symbols.iter().any(Option::is_none)
            && let Some(more) = self.mini.find(module, addresses, &mut self.symbols)
        {
            found.is_damaged |= more.is_damaged;
            for (symbol, more) in found.symbols.iter_mut().zip(more.symbols) {
                *symbol = symbol.take().or(more);
            }
        }
        if found.is_damaged {
            self.fail(module, Fault::Part, FileError::Symbols(PARTLY.to_owned()));
        }
        found.symbols
    }

    /// The frames by what says more than tables of symbols do, one answer for each ELF address: by debug information, or by the table of Go's
    /// runtime. `symbols` is what the tables say of the same addresses.
    pub(crate) fn lines(
        &mut self,
        module: &Module,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        names: &mut Names,
    ) -> Vec<Frames> {
        let fault = self.fault(module);
        if addresses.is_empty() || fault == Some(Fault::All) {
            return vec![None; addresses.len()];
        }
        let mut frames = if fault == Some(Fault::DebugInfo) {
            Vec::new()
        } else {
            self.debug_frames(module, addresses, symbols, names)
        };
        frames.resize(addresses.len(), None);
        let go = self.fill_by_go(module, addresses, symbols, &mut frames, names);
        if let Err(error) = go {
            self.fail(module, Fault::Part, FileError::Go(error.to_string()));
        }
        frames
    }

    fn fault(&mut self, module: &Module) -> Option<Fault> {
        self.faults.get(&module.number()).copied()
    }

    /// Lets go of what has not been of use for a while.
    pub(crate) fn tend(&mut self) {
        self.debug.forget_unasked();
        self.symbols.forget_unasked();
        self.mini.forget_unasked();
    }

    /// The files found wanting since the last call, at most 1024 of them. A file is reported again only after it was forgotten among others.
    pub(crate) fn take_failures(&mut self) -> Vec<FileFailure> {
        std::mem::take(&mut self.failures)
    }

    /// The frames by debug information; none at all without it. `symbols` is what the tables of symbols say of the same addresses.
    fn debug_frames(
        &mut self,
        module: &Module,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        names: &mut Names,
    ) -> Vec<Frames> {
        let mut damage = None;
        let found = self.debug.find(module, addresses, symbols, |answers| {
            damage = answers.damage;
            let found = answers.found.into_iter();
            found.map(|found| Some(frames(found?, names))).collect()
        });
        if let Some(damage) = damage {
            let error = FileError::DebugInfo(shortened(&damage));
            self.fail(module, Fault::Part, error);
        }
        match found {
            Ok(frames) => frames.unwrap_or_default(),
            Err(error) => {
                self.fail(module, Fault::DebugInfo, error);
                Vec::new()
            }
        }
    }

    /// Fills in what the runtime of a Go program knows; the function's own name is rather that of its symbol. An error is the last of them.
    fn fill_by_go(
        &self,
        module: &Module,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        frames: &mut [Frames],
        names: &mut Names,
    ) -> io::Result<()> {
        let missing = frames.iter().any(Option::is_none);
        let Some(go) = missing.then(|| module.go()).flatten() else {
            return Ok(());
        };
        let mut functions = GoFunctions::new(module.file(), go)?;
        let mut whole = Ok(());
        for ((at, symbol), place) in addresses.iter().zip(symbols).zip(frames) {
            if place.is_some() {
                continue;
            }
            match functions.find(*at) {
                Ok(None) => {}
                Ok(Some(mut found)) => {
                    if let (Some(symbol), Some(outermost)) = (symbol, found.0.last_mut()) {
                        outermost.name = symbol.name.clone().into();
                    }
                    *place = Some(self::frames(found, names));
                }
                Err(error) => whole = Err(error),
            }
        }
        whole
    }

    /// Remembers what is wrong with a file, and reports what is found first.
    fn fail(&mut self, module: &Module, fault: Fault, error: FileError) {
        let before = self.fault(module);
        self.faults.put(
            module.number(),
            before.map_or(fault, |before| before.max(fault)),
        );
        if before.is_none() && self.failures.len() < MOST_REPORTED {
            self.failures.push(FileFailure {
                module: module.name().clone(),
                error,
            });
        }
    }
}

/// The one frame of a symbol.
pub(crate) fn bare(symbol: &Symbol, names: &mut Names) -> Box<[Frame]> {
    let function = Function {
        name: (&*symbol.name).into(),
        file: None,
        line: 0,
    };
    [frame(&function, false, names)].into()
}

/// The frames of what was found by debug information.
fn frames(found: Found<'_>, names: &mut Names) -> Box<[Frame]> {
    let outermost = found.0.len().saturating_sub(1);
    let functions = found.0.iter().enumerate();
    functions
        .map(|(place, function)| frame(function, place < outermost, names))
        .collect()
}

fn frame(function: &Function<'_>, inlined: bool, names: &mut Names) -> Frame {
    let (name, system_name) = names.function(match &*function.name {
        "" => "[inlined]",
        name => name,
    });
    Frame {
        name,
        system_name,
        file: function.file.as_ref().map(|file| names.plain(file)),
        line: function.line,
        inlined,
    }
}
