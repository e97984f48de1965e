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
use std::io;

use crate::debug_info::{Found, Function};
use crate::elf_header::Extent;
use crate::go_module::{GoModule, Version};
use crate::positioned::{Window, read_extent};

/// Largest list of functions: two million, where kubelet has a hundred thousand.
const LARGEST_LIST: u64 = 16 << 20;
/// Bytes of one pc table that are read to find one value.
const LONGEST_PC_TABLE: u64 = 1 << 20;
/// Two numbers of variable length.
const LONGEST_PAIR: usize = 10;
/// The compiler gives up inlining long before.
const DEEPEST: usize = 64;
/// Numbers of the pc table and of the data that inlining is in (`internal/abi/symtab.go`).
const INLINE_INDEX: u64 = 2;
const INLINE_TREE: u64 = 3;

/// A batch of questions about one program.
pub(crate) struct GoFunctions<'a> {
    module: &'a GoModule,
    /// Pairs of the list, flat.
    list: Vec<u32>,
    functions: Window<'a>,
    names: Window<'a>,
    units: Window<'a>,
    files: Window<'a>,
    pc_tables: Window<'a>,
    inline_trees: Window<'a>,
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
        let part = |part| Window::new(file, part);
        Ok(Self {
            module,
            functions: part(module.functions),
            names: part(module.names),
            units: part(module.units),
            files: part(module.files),
            pc_tables: part(module.pc_tables),
            inline_trees: part(module.inline_trees),
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

    fn read_function(&mut self, entry: u32, end: u32, place: u32) -> io::Result<GoFunction> {
        let words = match self.module.version {
            Version::Go118 => 9,
            Version::Go120 => 10,
        };
        let head: u64 = 4 * (words + 1);
        let place = u64::from(place);
        let mut word = |number: u64| self.functions.number(place + 4 * number);
        if word(0)? != entry {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (tables, data) = (u64::from(word(7)?), u64::from(word(words)? >> 24));
        let mut of = |number: u64, count: u64, before: u64| {
            let at = place.saturating_add(head + 4 * (before + number));
            (number < count)
                .then(|| self.functions.number(at))
                .transpose()
        };
        Ok(GoFunction {
            entry,
            end,
            inline_table: of(INLINE_INDEX, tables, 0)?.filter(|place| *place != 0),
            inline_tree: of(INLINE_TREE, data, tables)?.filter(|place| *place != u32::MAX),
            name: self.functions.number(place + 4)?,
            file_table: self.functions.number(place + 20)?,
            line_table: self.functions.number(place + 24)?,
            unit: self.functions.number(place + 32)?,
        })
    }

    /// The functions at an instruction, the innermost inlined one first.
    fn functions(&mut self, function: &GoFunction, distance: u32) -> io::Result<Found<'static>> {
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

    fn place(
        &mut self,
        name: u32,
        function: &GoFunction,
        at: u32,
    ) -> io::Result<Function<'static>> {
        let line = self.value(function, function.line_table, at)?;
        Ok(Function {
            name: self.names.text(name.into())?.into(),
            file: self.file_name(function, at)?.map(Into::into),
            line: line.and_then(|line| line.try_into().ok()).unwrap_or(0),
        })
    }

    fn file_name(&mut self, function: &GoFunction, at: u32) -> io::Result<Option<String>> {
        let number = self.value(function, function.file_table, at)?;
        let Some(number) = number.and_then(|number| u64::try_from(number).ok()) else {
            return Ok(None);
        };
        let place = 4 * (u64::from(function.unit) + number);
        match self.units.number(place)? {
            u32::MAX => Ok(None),
            name => self.files.text(name.into()).map(Some),
        }
    }

    /// The inlined function that an instruction is of.
    fn inline_node(&mut self, function: &GoFunction, at: u32) -> io::Result<Option<Node>> {
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
        let mut number = |place| self.inline_trees.number(node + place);
        Ok(Some(Node {
            name: number(name)?,
            parent: number(parent)?,
        }))
    }

    /// The value that a pc table has at an instruction.
    fn value(&mut self, function: &GoFunction, table: u32, at: u32) -> io::Result<Option<i32>> {
        let mut place = u64::from(table);
        let longest = place + LONGEST_PC_TABLE;
        let (mut value, mut end) = (-1i32, u64::from(function.entry));
        let mut is_first = true;
        while place < longest {
            let mut bytes = self.pc_tables.from(place, LONGEST_PAIR)?;
            let before = bytes.len();
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
            place += (before - bytes.len()) as u64;
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// What was inlined.
struct Node {
    name: u32,
    /// Distance from the function's entry.
    parent: u32,
}

/// Seven bits a byte, the lowest first, and a mark on all but the last.
fn variable_length(bytes: &mut &[u8]) -> io::Result<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
