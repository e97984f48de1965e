//! The functions of a Go program by its runtime's own table: names, files, lines, and what was inlined.
//!
//! The table of functions is a list of pairs of 32-bit numbers, by rising address: distance from the start of the code, and place of what follows, behind that list.
//!
//! ```text
//! function     entry name args deferreturn pcsp pcfile pcln npcdata unit [start line, since 1.20]   4 bytes each
//!              id:u8 flags:u8 0 nfuncdata:u8, then npcdata places of pc tables and nfuncdata places of other data
//! pc table     pairs of variable-length numbers: change of the value, which is -1 before, and number of instructions that have it
//! unit         places of its files' names, 4 bytes each, by the number that the pc table has
//! inline tree  1.20: id:u8 0 0 0 name parent start line        16 bytes
//!              1.18: parent:u16 id:u8 0 file line name parent   20 bytes
//! ```
//!
//! A pc table of each function says which node of the inline tree an instruction is of, and the `parent` there is an instruction that is where the call was.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use crate::debug_info::{Found, Function};
use crate::demangle::LONGEST;
use crate::elf_header::Extent;
use crate::go_module::{GoModule, Version};
use crate::positioned::{Piece, read_extent};

/// Largest list of functions: two million, where kubelet has a hundred thousand.
const LARGEST_LIST: u64 = 16 << 20;
/// Bytes of one pc table that are read to find one value.
const LONGEST_PC_TABLE: u64 = 1 << 20;
/// The compiler gives up inlining long before.
const DEEPEST: usize = 64;
/// Numbers of the pc table and of the data that inlining is in (`internal/abi/symtab.go`).
const INLINE_INDEX: u64 = 2;
const INLINE_TREE: u64 = 3;

/// A batch of questions about one program.
pub(crate) struct GoFunctions<'a> {
    file: &'a File,
    module: &'a GoModule,
    /// Pairs of the list, flat.
    list: Vec<u32>,
    /// The function read last: what follows is often in the same.
    last: Option<GoFunction>,
}

/// What is said of a function.
#[derive(Clone, Copy)]
struct GoFunction {
    entry: u32,
    end: u32,
    name: u32,
    file_table: u32,
    line_table: u32,
    unit: u32,
    /// Nothing is inlined if either is missing.
    inline_table: Option<u32>,
    inline_tree: Option<u32>,
}

impl<'a> GoFunctions<'a> {
    pub(crate) fn new(file: &'a File, module: &'a GoModule) -> io::Result<Self> {
        let pairs = module.function_count.checked_mul(8);
        let size = pairs.and_then(|pairs| pairs.checked_add(4));
        let size = size.filter(|size| *size <= module.functions.size);
        let list = Extent {
            size: size.ok_or(io::ErrorKind::InvalidData)?,
            ..module.functions
        };
        let bytes = read_extent(file, list, LARGEST_LIST)?;
        let (words, _) = bytes.as_chunks();
        Ok(Self {
            file,
            module,
            list: words.iter().copied().map(u32::from_le_bytes).collect(),
            last: None,
        })
    }

    /// What is at an ELF address, which is nothing outside of Go's own code.
    pub(crate) fn find(&mut self, address: u64) -> io::Result<Option<Found<'static>>> {
        if !self.module.text.contains(&address) {
            return Ok(None);
        }
        let distance = u32::try_from(address - self.module.text.start);
        let Ok(distance) = distance else {
            return Ok(None);
        };
        match self.function(distance)? {
            Some(function) => self.functions(&function, distance).map(Some),
            None => Ok(None),
        }
    }

    /// The function that an instruction is in.
    fn function(&mut self, distance: u32) -> io::Result<Option<GoFunction>> {
        if let Some(last) = self.last
            && (last.entry..last.end).contains(&distance)
        {
            return Ok(Some(last));
        }
        let (pairs, end) = self.list.as_chunks::<2>();
        let after = pairs.partition_point(|[entry, _]| *entry <= distance);
        let Some([entry, place]) = after.checked_sub(1).and_then(|index| pairs.get(index)) else {
            return Ok(None);
        };
        let end = pairs.get(after).map(|[entry, _]| entry).or(end.first());
        let end = end.copied().filter(|end| distance < *end);
        let Some(end) = end else {
            return Ok(None);
        };
        self.last = Some(self.read_function(*entry, end, *place)?);
        Ok(self.last)
    }

    fn read_function(&self, entry: u32, end: u32, place: u32) -> io::Result<GoFunction> {
        let words = match self.module.version {
            Version::Go118 => 9,
            Version::Go120 => 10,
        };
        let part = |at: u64, size: u64| -> io::Result<Vec<u8>> {
            let rest = self
                .module
                .functions
                .from(self.module.functions.offset + at);
            let rest = rest.filter(|rest| rest.size >= size);
            let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
            read_extent(self.file, Extent { size, ..rest }, size)
        };
        let place = u64::from(place);
        let head = part(place, 4 * words + 4)?;
        let (head_words, _) = head.as_chunks::<4>();
        let word = |number: usize| {
            head_words
                .get(number)
                .map_or(0, |word| u32::from_le_bytes(*word))
        };
        if word(0) != entry {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let tables = u64::from(word(7));
        let data = u64::from(head.last().copied().unwrap_or_default());
        let number = |number: u64, count: u64, before: u64| -> io::Result<Option<u32>> {
            if number >= count {
                return Ok(None);
            }
            let at = place + 4 * (words + 1 + before + number);
            let bytes = part(at, 4)?;
            Ok(bytes.first_chunk().copied().map(u32::from_le_bytes))
        };
        let inline_table = number(INLINE_INDEX, tables, 0)?;
        let inline_tree = number(INLINE_TREE, data, tables)?;
        Ok(GoFunction {
            entry,
            end,
            name: word(1),
            file_table: word(5),
            line_table: word(6),
            unit: word(8),
            inline_table: inline_table.filter(|place| *place != 0),
            inline_tree: inline_tree.filter(|place| *place != u32::MAX),
        })
    }

    /// The functions at an instruction, the innermost inlined one first.
    fn functions(&self, function: &GoFunction, distance: u32) -> io::Result<Found<'static>> {
        let mut found = Vec::with_capacity(1);
        let mut at = distance;
        while let Some(node) = self.inline_node(function, at)? {
            if found.len() == DEEPEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            found.push(self.place(node.name, function, at)?);
            at = function.entry.wrapping_add(node.parent);
        }
        found.push(self.place(function.name, function, at)?);
        Ok(Found(found))
    }

    fn place(&self, name: u32, function: &GoFunction, at: u32) -> io::Result<Function<'static>> {
        let line = self.value(function, function.line_table, at)?;
        Ok(Function {
            name: self.text(self.module.names, name.into())?.into(),
            file: self.file_name(function, at)?.map(Into::into),
            line: line.and_then(|line| line.try_into().ok()).unwrap_or(0),
        })
    }

    fn file_name(&self, function: &GoFunction, at: u32) -> io::Result<Option<String>> {
        let number = self.value(function, function.file_table, at)?;
        let Some(number) = number.and_then(|number| u64::try_from(number).ok()) else {
            return Ok(None);
        };
        let place = 4 * (u64::from(function.unit) + number);
        match self.number(self.module.units, place)? {
            u32::MAX => Ok(None),
            name => self.text(self.module.files, name.into()).map(Some),
        }
    }

    /// The inlined function that an instruction is of.
    fn inline_node(&self, function: &GoFunction, at: u32) -> io::Result<Option<Node>> {
        let (Some(table), Some(tree)) = (function.inline_table, function.inline_tree) else {
            return Ok(None);
        };
        let number = self.value(function, table, at)?;
        let Some(number) = number.and_then(|number| u64::try_from(number).ok()) else {
            return Ok(None);
        };
        let (size, name, parent) = match self.module.version {
            Version::Go118 => (20, 12, 16),
            Version::Go120 => (16, 4, 8),
        };
        let node = u64::from(tree) + number * size;
        let number = |place| self.number(self.module.inline_trees, node + place);
        Ok(Some(Node {
            name: number(name)?,
            parent: number(parent)?,
        }))
    }

    /// The value that a pc table has at an instruction.
    fn value(&self, function: &GoFunction, table: u32, at: u32) -> io::Result<Option<i32>> {
        let tables = self.module.pc_tables;
        let Some(rest) = tables.from(tables.offset + u64::from(table)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let bytes = Piece::new(self.file, rest);
        let mut bytes = BufReader::with_capacity(256, bytes.take(LONGEST_PC_TABLE));
        let (mut value, mut end) = (-1i32, u64::from(function.entry));
        let mut is_first = true;
        loop {
            let change = variable_length(&mut bytes)?;
            if change == 0 && !is_first {
                return Ok(None);
            }
            is_first = false;
            let half = (change >> 1) as i32;
            value = value.wrapping_add(if change & 1 == 0 { half } else { !half });
            end += u64::from(variable_length(&mut bytes)?) * self.module.quantum;
            if u64::from(at) < end {
                return Ok(Some(value));
            }
        }
    }

    fn number(&self, part: Extent, place: u64) -> io::Result<u32> {
        let rest = part.from(part.offset.saturating_add(place));
        let rest = rest.filter(|rest| rest.size >= 4);
        let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
        let bytes = read_extent(self.file, Extent { size: 4, ..rest }, 4)?;
        let bytes = bytes.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// A text that ends with 0, cut where it is beyond measure.
    fn text(&self, part: Extent, place: u64) -> io::Result<String> {
        let rest = part.from(part.offset.saturating_add(place));
        let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
        let bytes = Piece::new(self.file, rest).take(LONGEST as u64 + 1);
        let mut text = Vec::new();
        BufReader::with_capacity(256, bytes).read_until(0, &mut text)?;
        text.pop_if(|last| *last == 0);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// What was inlined.
struct Node {
    name: u32,
    /// Distance from the function's entry.
    parent: u32,
}

/// Seven bits a byte, the lowest first, and a mark on all but the last.
fn variable_length(bytes: &mut impl Read) -> io::Result<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let mut byte = [0];
        bytes.read_exact(&mut byte)?;
        let [byte] = byte;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
