//! The debug information of files: which of two readers reads it, and how much is kept ready.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use addr2line::gimli;

use crate::debug_file::DebugSource;
use crate::debug_sections::SectionError;
use crate::demangle::is_mangled;
use crate::elf_names::FileError;
use crate::elf_symbols::Symbol;
use crate::module::Module;
use crate::plain_dwarf::PlainDwarf;
use crate::room::{Kept, Room};
use crate::spread_dwarf::SpreadDwarf;

/// Longest part of a foreign message that is kept, in characters: it may quote the file.
pub(crate) const LONGEST_MESSAGE: usize = 300;

/// A function at an address, as debug information has it.
pub(crate) struct Function<'a> {
    /// Its linkage name, or the plain one. Empty if it has none.
    pub(crate) name: Cow<'a, str>,
    pub(crate) file: Option<Cow<'a, str>>,
    /// 0 if it is not known.
    pub(crate) line: u32,
}

/// The functions at an address: those inlined there, the innermost first, then the one that they are in.
pub(crate) struct Found<'a>(pub(crate) Vec<Function<'a>>);

/// What there is at the addresses asked about, in their order.
pub(crate) struct Answers<'a> {
    pub(crate) found: Vec<Option<Found<'a>>>,
    /// What made no sense at some of them.
    pub(crate) damage: Option<DebugError>,
}

/// Why debug information cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DebugError {
    #[error(transparent)]
    Section(#[from] SectionError),
    #[error(transparent)]
    Dwarf(#[from] gimli::Error),
    /// What blazesym says.
    #[error("{0}")]
    Blazesym(String),
    #[error("a part of them is damaged")]
    Partly,
    #[error("its contents contradict each other")]
    Contradiction,
    #[error("the file that it shares with others is not there")]
    SharedFile,
}

/// Whether a symbol that begins where a function does has the better name. A C++ function that is internal to its file has no mangled name in
/// DWARF, only the last part of its own; and of functions that the linker has made one each reader may find another. But what the compiler has
/// split off or copied is `f` in DWARF and `f.cold` or `f.isra.0` in the table of symbols.
pub(crate) fn is_better(symbol: &Symbol, name: &str) -> bool {
    name.is_empty() || (is_mangled(&symbol.name) && !symbol.name.starts_with(name))
}

/// One of the two.
pub(crate) enum Reader {
    Plain(PlainDwarf),
    Spread(SpreadDwarf),
}

/// Memory for debug information.
pub(crate) type DebugRoom<'a> = Room<'a, Reader>;

/// Debug information that is kept ready.
pub(crate) struct DebugInfo(Kept<Reader>);

impl DebugInfo {
    /// None yet. `budget` bounds the bytes that all of it has in its files, or in memory where it was compressed.
    pub(crate) fn new(budget: u64) -> Self {
        Self(Kept::new(budget))
    }

    /// Gives to `answer` what the debug information of a module says of ELF addresses, of which tables of symbols say `symbols`. Nothing if there is
    /// none. After an error it is not kept: what panics in a reader, which trusts some sums and lengths in a file to be
    /// sane, may leave it half changed.
    pub(crate) fn find<T>(
        &mut self,
        module: &Module,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        answer: impl FnOnce(Answers<'_>) -> T,
    ) -> Result<Option<T>, FileError> {
        let Some(source) = DebugSource::of(module) else {
            return Ok(None);
        };
        let (ready, mut room) = self.0.take(module.number());
        let ask = || {
            let reader = match ready {
                Some(reader) => reader,
                None => Reader::new(&source, &mut room)?,
            };
            let answers = match &reader {
                Reader::Plain(reader) => reader.find(&source, addresses, symbols)?,
                Reader::Spread(reader) => reader.find(&source, addresses, symbols, &mut room),
            };
            let answered = answer(answers);
            Ok::<_, DebugError>((reader, answered))
        };
        match catch_unwind(AssertUnwindSafe(ask)) {
            Ok(Ok((reader, answered))) => {
                room.keep(module.number(), reader);
                Ok(Some(answered))
            }
            Ok(Err(DebugError::Section(SectionError::TooLarge))) => {
                Err(FileError::TooMuchDebugInfo)
            }
            Ok(Err(error)) => Err(FileError::DebugInfo(shortened(&error))),
            Err(_) => Err(FileError::DebugInfo(shortened(&DebugError::Contradiction))),
        }
    }

    /// Lets go of that of a module.
    pub(crate) fn forget(&mut self, module: &Module) {
        self.0.take(module.number());
    }

    /// Lets go of what has not been asked about for a while.
    pub(crate) fn forget_unasked(&mut self) {
        self.0.forget_unasked();
    }
}

impl Reader {
    fn new(source: &DebugSource<'_>, room: &mut DebugRoom<'_>) -> Result<Self, DebugError> {
        if PlainDwarf::can_read(source.file) {
            PlainDwarf::new(source.file, room).map(Self::Plain)
        } else {
            SpreadDwarf::new(source, room).map(Self::Spread)
        }
    }
}

/// What is said of an error, which may quote the file.
pub(crate) fn shortened(error: &DebugError) -> String {
    error.to_string().chars().take(LONGEST_MESSAGE).collect()
}
