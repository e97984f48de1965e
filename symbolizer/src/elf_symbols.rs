//! The symbols of an ELF file: which one is at an address.
//!
//! The first time that a file is asked about, its tables are read from begin to end for all the addresses at once, which takes 1.3 ms for
//! the 165,000 symbols of rustc's library. If it is asked about again, an index of them is made, and kept with the symbols that are given while it is
//! of use. Nothing is mapped, so a file that shrinks meanwhile costs its own names only.

use std::io;
use std::rc::Rc;

use crate::elf_header::SymbolTable;
use crate::known_symbols::KnownSymbols;
use crate::module::Module;
use crate::positioned::Window;
use crate::room::{Kept, Room};
use crate::symbol_index::{Counts, SymbolIndex};
use crate::symbol_table::{Candidate, Nearest, read_symbols};

/// What a table says is at an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// Where it begins.
    pub(crate) address: u64,
    pub(crate) name: String,
}

/// Symbols for the addresses asked about, in their order, and whether a table or a name could not be read.
pub(crate) struct Found {
    pub(crate) symbols: Vec<Option<Rc<Symbol>>>,
    pub(crate) is_damaged: bool,
}

/// What is kept of the tables of a file, as far as they were looked into; nothing of those of a file that was asked about once.
type Ready = Vec<ReadyTable>;

/// What is kept of a table.
struct ReadyTable {
    /// None if there is no room for it, or it cannot be read.
    index: Option<SymbolIndex>,
    known: KnownSymbols,
}

/// The symbols of files, and what is kept of them.
pub(crate) struct ElfSymbols(Kept<Ready>);

impl ElfSymbols {
    /// Nothing kept yet. `budget` bounds its bytes.
    pub(crate) fn new(budget: u64) -> Self {
        Self(Kept::new(budget))
    }

    /// Finds the symbols at ELF addresses: in the first table that has one.
    ///
    /// Of the symbols with a size that one counts which begins last, if it covers the address. Else an assembler's symbol without a size
    /// does, which reaches to where the next one begins, or its section ends; but a dynamic table lacks most symbols, so there it is
    /// good for its own address only. A table that cannot be read costs the names in it.
    pub(crate) fn find(&mut self, module: &Module, addresses: &[u64]) -> Found {
        let mut wanted = addresses.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = vec![None; wanted.len()];
        let mut is_damaged = false;
        let (ready, mut room) = self.0.take(module.number());
        let was_asked = ready.is_some();
        let mut ready = ready.unwrap_or_default();
        for (number, table) in tables(module).into_iter().enumerate() {
            if found.iter().all(Option::is_some) {
                break;
            }
            if was_asked && ready.len() <= number {
                ready.push(table.ready(&mut room));
            }
            let ready = ready.get_mut(number);
            is_damaged |= table.find(&wanted, &mut found, ready, &mut room).is_err();
        }
        room.keep(module.number(), ready);
        let symbol = |address| found.get(wanted.binary_search(address).ok()?)?.clone();
        Found {
            symbols: addresses.iter().map(symbol).collect(),
            is_damaged,
        }
    }

    /// Lets go of what has not been asked about for a while.
    pub(crate) fn forget_unasked(&mut self) {
        self.0.forget_unasked();
    }
}

/// A table of symbols, and the file that it is in.
struct Table<'a> {
    file: &'a Module,
    table: &'a SymbolTable,
    /// What is added to an address of the module to find it here.
    bias: u64,
}

/// The tables to look in: the one for debuggers, wherever it is, before the one for dynamic linking, which has less.
fn tables(module: &Module) -> Vec<Table<'_>> {
    let debug = module.debug_file().ok().flatten();
    let files = [
        Some((module, 0)),
        debug.map(|debug| (&debug.module, debug.bias)),
    ];
    let mut tables: Vec<Table<'_>> = files
        .into_iter()
        .flatten()
        .flat_map(|(file, bias)| {
            let tables = file.symbols().iter();
            tables.map(move |table| Table { file, table, bias })
        })
        .collect();
    tables.sort_by_key(|table| table.table.is_dynamic);
    tables
}

impl Table<'_> {
    fn ready(&self, room: &mut Room<'_, Ready>) -> ReadyTable {
        ReadyTable {
            index: self.index(room),
            known: KnownSymbols::default(),
        }
    }

    /// Its index, unless there is no room for it or it cannot be read.
    fn index(&self, room: &mut Room<'_, Ready>) -> Option<SymbolIndex> {
        let base = self.file.segments().map(|segment| segment.start).min()?;
        let (file, table) = (self.file.file(), self.table.symbols);
        let counts = Counts::of(file, table).ok()?;
        room.take(counts.bytes()).ok()?;
        SymbolIndex::read(file, table, counts, base).ok()
    }

    /// Fills in what is not found yet of the addresses, which are in order. An error if something could not be read.
    fn find(
        &self,
        wanted: &[u64],
        found: &mut [Option<Rc<Symbol>>],
        mut ready: Option<&mut ReadyTable>,
        room: &mut Room<'_, Ready>,
    ) -> io::Result<()> {
        // Where some are missing, a symbol without a size would take the place of the next.
        if self.table.is_cut {
            return Err(io::Error::other("the table of symbols is cut"));
        }
        let here: Vec<u64> = wanted.iter().map(|at| at.wrapping_add(self.bias)).collect();
        let index = ready.as_ref().and_then(|ready| ready.index.as_ref());
        let candidates = self.candidates(&here, index)?;
        let mut unread = Vec::new();
        for ((found, candidate), address) in found.iter_mut().zip(candidates).zip(here) {
            let Some(candidate) = candidate.filter(|_| found.is_none()) else {
                continue;
            };
            if candidate.size == 0 && !self.file.are_in_one_section(candidate.start, address) {
                continue;
            }
            let known = ready.as_ref().and_then(|ready| ready.known.get(&candidate));
            *found = known.cloned();
            if found.is_none() {
                unread.push((candidate, found));
            }
        }
        // In the order in which they lie in the file, so that many are read at a time.
        unread.sort_unstable_by_key(|(candidate, _)| candidate.name);
        let places: Vec<u64> = unread
            .iter()
            .map(|(candidate, _)| candidate.name.into())
            .collect();
        let mut names = Names::of(self);
        let mut whole = Ok(());
        for (index, (candidate, found)) in unread.into_iter().enumerate() {
            names
                .texts
                .look_ahead(places.get(index..).unwrap_or_default());
            match names.symbol(candidate) {
                Ok(symbol) => {
                    if let Some(ready) = &mut ready {
                        ready.known.keep(&candidate, &symbol, room);
                    }
                    *found = Some(symbol);
                }
                Err(error) => whole = Err(error),
            }
        }
        whole
    }

    /// What may be at each of some addresses, which are in order.
    fn candidates(
        &self,
        addresses: &[u64],
        index: Option<&SymbolIndex>,
    ) -> io::Result<Vec<Option<Candidate>>> {
        let is_dynamic = self.table.is_dynamic;
        if let Some(index) = index {
            return Ok(index.candidates(addresses, is_dynamic).collect());
        }
        let mut nearest = Nearest::new(addresses);
        let take = |symbol| nearest.take(symbol);
        read_symbols(self.file.file(), self.table.symbols, take)?;
        Ok(nearest.candidates(is_dynamic).collect())
    }
}

/// Reads names.
struct Names<'a> {
    texts: Window<'a>,
    /// What is taken from an address here to have it in the module.
    bias: u64,
    /// The one read last: what follows is often in the same function.
    last: Option<(Candidate, Rc<Symbol>)>,
}

impl<'a> Names<'a> {
    fn of(table: &Table<'a>) -> Self {
        Self {
            texts: Window::new(table.file.file(), table.table.names),
            bias: table.bias,
            last: None,
        }
    }

    fn symbol(&mut self, candidate: Candidate) -> io::Result<Rc<Symbol>> {
        if let Some((last, symbol)) = &self.last
            && *last == candidate
        {
            return Ok(Rc::clone(symbol));
        }
        let name = self.texts.text(candidate.name.into())?;
        if name.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let symbol = Rc::new(Symbol {
            address: candidate.start.wrapping_sub(self.bias),
            name,
        });
        self.last = Some((candidate, Rc::clone(&symbol)));
        Ok(symbol)
    }
}
