//! The symbols of an ELF file, looked up in its tables as they lie in the file.
//!
//! There is no index: beside those of rustc, LLVM and node all else that the agent holds is small. Reading the 300,000 symbols of an
//! LLVM from begin to end takes less than 2 ms, sorting them for an index 13 ms or more, and a window asks about all its places in a
//! file at once. Nothing is mapped, so a file that shrinks meanwhile costs its own names only.

use std::io;
use std::ops::RangeInclusive;
use std::rc::Rc;

use object::LittleEndian;
use object::elf::{self, Sym64};
use object::pod::slice_from_bytes;
use object::read::elf::Sym;

use crate::demangle::LONGEST;
use crate::elf_header::{Extent, SymbolTable};
use crate::module::Module;
use crate::positioned::read_exact_at;

type RawSymbol = Sym64<LittleEndian>;

/// Symbols that are read at a time: 48 KiB.
const CHUNK: usize = 2048;
/// Of a table, no more bytes are read than this: five million symbols, where the largest programs have one.
const LARGEST_TABLE: u64 = 128 << 20;
/// Most names are shorter, and a longer one is read a second time.
const SHORT_NAME: usize = 256;

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

/// Finds the symbols at ELF addresses: in the first table that has one.
///
/// Of the symbols with a size that one counts which begins last, if it covers the address. Else an assembler's symbol without a size
/// does, which reaches to where the next one begins, or its section ends; but a dynamic table lacks most symbols, so there it is
/// good for its own address only. A table that cannot be read costs the names in it.
pub(crate) fn find(module: &Module, addresses: &[u64]) -> Found {
    let mut wanted = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = vec![None; wanted.len()];
    let mut is_damaged = false;
    for table in tables(module) {
        if found.iter().all(Option::is_some) {
            break;
        }
        is_damaged |= table.find(&wanted, &mut found).is_err();
    }
    let symbol = |address| found.get(wanted.binary_search(address).ok()?)?.clone();
    Found {
        symbols: addresses.iter().map(symbol).collect(),
        is_damaged,
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
    /// Fills in what is not found yet of the addresses, which are in order. An error if something could not be read.
    fn find(&self, wanted: &[u64], found: &mut [Option<Rc<Symbol>>]) -> io::Result<()> {
        // Where some are missing, a symbol without a size would take the place of the next.
        if self.table.is_cut {
            return Err(io::Error::other("the table of symbols is cut"));
        }
        let here: Vec<u64> = wanted.iter().map(|at| at.wrapping_add(self.bias)).collect();
        let mut nearest = Nearest::new(&here);
        read_symbols(self.file, self.table.symbols, |symbol| nearest.take(symbol))?;
        let mut names = Names::of(self);
        let mut whole = Ok(());
        let candidates = here.iter().zip(nearest.candidates(self.table.is_dynamic));
        for (found, (address, candidate)) in found.iter_mut().zip(candidates) {
            let reaches = |candidate: &Candidate| {
                candidate.size > 0 || self.file.are_in_one_section(candidate.start, *address)
            };
            if let (None, Some(candidate)) = (&found, candidate.filter(reaches)) {
                match names.symbol(candidate) {
                    Ok(symbol) => *found = Some(symbol),
                    Err(error) => whole = Err(error),
                }
            }
        }
        whole
    }
}

/// Hands on all symbols of a table that may be code.
fn read_symbols(module: &Module, table: Extent, mut take: impl FnMut(Candidate)) -> io::Result<()> {
    if table.size > LARGEST_TABLE {
        return Err(io::Error::other("the table of symbols is too large"));
    }
    let mut left = table.size;
    let mut at = table.offset;
    let mut buffer = vec![0; CHUNK * size_of::<RawSymbol>()];
    while left > 0 {
        let size = left.min(buffer.len() as u64);
        let bytes = buffer.get_mut(..size as usize).unwrap_or_default();
        read_exact_at(module.file(), bytes, at)?;
        let count = bytes.len() / size_of::<RawSymbol>();
        let symbols = slice_from_bytes::<RawSymbol>(bytes, count);
        let (symbols, _) = symbols.map_err(|()| io::ErrorKind::InvalidData)?;
        symbols.iter().filter_map(Candidate::of).for_each(&mut take);
        left -= size;
        at = at.saturating_add(size);
    }
    Ok(())
}

/// A symbol that may be what is asked about. The greatest counts: the one that begins last, has the largest size, and is known outside of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    start: u64,
    /// 0 if it has none.
    size: u64,
    is_global: bool,
    /// Position of its name. 0 is none.
    name: u32,
}

impl Candidate {
    #[inline]
    fn of(symbol: &RawSymbol) -> Option<Self> {
        let kind = symbol.st_type();
        let section = symbol.st_shndx(LittleEndian);
        let is_code = matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE);
        let is_here = section != elf::SHN_UNDEF && section != elf::SHN_ABS;
        let name = symbol.st_name(LittleEndian);
        (is_code && is_here && name != 0).then(|| Self {
            start: symbol.st_value(LittleEndian),
            size: symbol.st_size(LittleEndian),
            is_global: symbol.st_bind() != elf::STB_LOCAL,
            name,
        })
    }

    fn end(self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// The symbols nearest before each of some addresses, while a table is read once in whatever order it has.
struct Nearest<'a> {
    /// Ascending, no two alike.
    addresses: &'a [u64],
    /// Neighbours in a table are near each other in the file: where the one before belonged, and which starts belong there too.
    index: usize,
    starts: RangeInclusive<u64>,
    /// For each address the last that begins behind the address before and not behind itself: those with a size, and those without.
    sized: Vec<Candidate>,
    sizeless: Vec<Candidate>,
}

impl<'a> Nearest<'a> {
    fn new(addresses: &'a [u64]) -> Self {
        Self {
            addresses,
            index: 0,
            starts: 0..=addresses.first().copied().unwrap_or(u64::MAX),
            sized: vec![Candidate::default(); addresses.len()],
            sizeless: vec![Candidate::default(); addresses.len()],
        }
    }

    #[inline]
    fn take(&mut self, symbol: Candidate) {
        if !self.starts.contains(&symbol.start) {
            self.seek(symbol.start);
        }
        let side = match symbol.size {
            0 => &mut self.sizeless,
            _ => &mut self.sized,
        };
        if let Some(last) = side.get_mut(self.index) {
            *last = symbol.max(*last);
        }
    }

    /// Goes to the first address that is not before `start`.
    fn seek(&mut self, start: u64) {
        self.index = self.addresses.partition_point(|&address| address < start);
        let before = self.index.checked_sub(1);
        let before = before.and_then(|before| self.addresses.get(before));
        let last = self.addresses.get(self.index).copied().unwrap_or(u64::MAX);
        self.starts = before.map_or(0, |before| before.saturating_add(1))..=last;
    }

    /// What is at each address.
    fn candidates(&self, is_dynamic: bool) -> impl Iterator<Item = Option<Candidate>> {
        let (mut sized, mut sizeless) = (Candidate::default(), Candidate::default());
        let here = self.addresses.iter().zip(&self.sized).zip(&self.sizeless);
        here.map(move |((&address, new_sized), new_sizeless)| {
            sized = sized.max(*new_sized);
            sizeless = sizeless.max(*new_sizeless);
            let reaches = if is_dynamic {
                sizeless.start == address
            } else {
                sizeless.start >= sized.end()
            };
            if sized.end() > address {
                Some(sized)
            } else {
                (sizeless.name != 0 && reaches).then_some(sizeless)
            }
        })
    }
}

/// Reads names.
struct Names<'a> {
    table: &'a Table<'a>,
    /// The one read last: what follows is often in the same function.
    last: Option<(Candidate, Rc<Symbol>)>,
}

impl<'a> Names<'a> {
    fn of(table: &'a Table<'a>) -> Self {
        Self { table, last: None }
    }

    fn symbol(&mut self, candidate: Candidate) -> io::Result<Rc<Symbol>> {
        if let Some((last, symbol)) = &self.last
            && *last == candidate
        {
            return Ok(Rc::clone(symbol));
        }
        let symbol = Rc::new(Symbol {
            address: candidate.start.wrapping_sub(self.table.bias),
            name: self.name(candidate.name)?,
        });
        self.last = Some((candidate, Rc::clone(&symbol)));
        Ok(symbol)
    }

    /// The name at a position, cut where it is beyond measure.
    fn name(&self, position: u32) -> io::Result<String> {
        let Extent { offset, size } = self.table.table.names;
        let left = size.saturating_sub(u64::from(position));
        let at = offset.saturating_add(u64::from(position));
        // One byte more than is shown, so that it is seen where a name is cut.
        for most in [SHORT_NAME, LONGEST + 1] {
            let mut bytes = vec![0; left.min(most as u64) as usize];
            read_exact_at(self.table.file.file(), &mut bytes, at)?;
            let end = bytes.iter().position(|&byte| byte == 0);
            // One that the table ends within would be another name.
            if end.is_none() && left <= most as u64 {
                break;
            }
            if end.is_some() || most > LONGEST {
                bytes.truncate(end.unwrap_or(bytes.len()));
                if !bytes.is_empty() {
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}
