//! A table of symbols as it lies in the file, read once from begin to end.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;

use object::LittleEndian;
use object::elf::{self, Sym64};
use object::pod::slice_from_bytes;
use object::read::elf::Sym;

use crate::elf_header::Extent;
use crate::positioned::read_exact_at;

type RawSymbol = Sym64<LittleEndian>;

/// Symbols that are read at a time: 48 KiB.
const CHUNK: usize = 2048;
/// Of a table, no more bytes are read than this: five million symbols, where the largest programs have one.
const LARGEST_TABLE: u64 = 128 << 20;

/// Hands on all symbols of a table that may be code.
pub(crate) fn read_symbols(
    file: &File,
    table: Extent,
    mut take: impl FnMut(Candidate),
) -> io::Result<()> {
    if table.size > LARGEST_TABLE {
        return Err(io::Error::other("the table of symbols is too large"));
    }
    let mut left = table.size - table.size % size_of::<RawSymbol>() as u64;
    let mut at = table.offset;
    let mut buffer = vec![0; CHUNK * size_of::<RawSymbol>()];
    while left > 0 {
        let size = left.min(buffer.len() as u64);
        let bytes = buffer.get_mut(..size as usize).unwrap_or_default();
        read_exact_at(file, bytes, at)?;
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
pub(crate) struct Candidate {
    pub(crate) start: u64,
    /// 0 if it has none.
    pub(crate) size: u64,
    pub(crate) is_global: bool,
    /// Position of its name. 0 is none.
    pub(crate) name: u32,
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

    /// What is at an address, of the last symbols that begin not behind it: the one with a size and the one without, each of which may be none.
    pub(crate) fn of_two(
        sized: Self,
        sizeless: Self,
        address: u64,
        is_dynamic: bool,
    ) -> Option<Self> {
        let reaches = match is_dynamic {
            true => sizeless.start == address,
            false => sizeless.start >= sized.end(),
        };
        if sized.end() > address {
            Some(sized)
        } else {
            (sizeless.name != 0 && reaches).then_some(sizeless)
        }
    }
}

/// The symbols nearest before each of some addresses, while a table is read once in whatever order it has.
pub(crate) struct Nearest<'a> {
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
    pub(crate) fn new(addresses: &'a [u64]) -> Self {
        Self {
            addresses,
            index: 0,
            starts: 0..=addresses.first().copied().unwrap_or(u64::MAX),
            sized: vec![Candidate::default(); addresses.len()],
            sizeless: vec![Candidate::default(); addresses.len()],
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, symbol: Candidate) {
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
    pub(crate) fn candidates(&self, is_dynamic: bool) -> impl Iterator<Item = Option<Candidate>> {
        let (mut sized, mut sizeless) = (Candidate::default(), Candidate::default());
        let here = self.addresses.iter().zip(&self.sized).zip(&self.sizeless);
        here.map(move |((&address, new_sized), new_sizeless)| {
            sized = sized.max(*new_sized);
            sizeless = sizeless.max(*new_sizeless);
            Candidate::of_two(sized, sizeless, address, is_dynamic)
        })
    }
}
