//! Where the runtime of a Go program keeps what it knows of functions, which stays in the program when it is stripped.
//!
//! The runtime has a table of functions, `.gopclntab`, and a structure that says where everything is, `moduledata`. The former begins with a
//! magic number, the latter with two pointers to the former. In what follows these are the fields (`runtime/symtab.go`):
//!
//! ```text
//! pcHeader    magic:u32 0 0 quantum:u8 size of a pointer:u8, then 8 bytes each:
//!             functions, files, text, and the distances of: names, units, files, pc tables, functions
//! moduledata  pcHeader, names (pointer, length, capacity), units, files, pc tables, functions, index of functions,
//!             findfunctab, minpc, maxpc, text, etext, 2 x 4 (5 since 1.20) limits of data, end, gcdata, gcbss, types, etypes, rodata, gofunc
//! ```

use std::fs::File;

use crate::elf_header::{Extent, GoSections, Load};
use crate::positioned::read_exact_at;

const WORD: usize = 8;
const HEADER: usize = 9 * WORD;
/// As much of `moduledata` as is of interest. What follows are the numbers of words in it.
const MODULE: usize = 41 * WORD;
const TEXT: usize = 22;
const END_OF_TEXT: usize = 23;
/// Where the inline trees are measured from.
const GO_FUNC: usize = 40;
const GO_FUNC_BEFORE_1_20: usize = 38;
/// In all. Without names of sections, whole segments are searched.
const MOST_SEARCHED: u64 = 128 << 20;
const SEARCHED_AT_A_TIME: usize = 64 << 10;

/// The layout of what is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 1.18 and 1.19
    Go118,
    /// 1.20 and later
    Go120,
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct GoModule {
    pub(crate) version: Version,
    /// Bytes of the shortest instruction, which differences of addresses are multiples of.
    pub(crate) quantum: u64,
    pub(crate) function_count: u64,
    /// ELF addresses of the code.
    pub(crate) text: std::ops::Range<u64>,
    pub(crate) names: Extent,
    pub(crate) units: Extent,
    pub(crate) files: Extent,
    pub(crate) pc_tables: Extent,
    pub(crate) functions: Extent,
    /// Which functions were inlined into a function.
    pub(crate) inline_trees: Extent,
}

impl GoModule {
    /// Looks for it. There is none in a program of another language, or of a version whose layout is not known.
    pub(crate) fn find(file: &File, sections: &GoSections, loads: &[Load]) -> Option<Self> {
        let all = || loads.iter().map(|load| load.extent).collect();
        let (tables, modules) = if sections.are_nameless {
            (all(), all())
        } else {
            (sections.tables.clone(), sections.modules.clone())
        };
        let at = search(file, &tables, |bytes| version(bytes).is_some())?;
        let header = read::<HEADER>(file, at)?;
        let version = version(&header)?;
        let field = |number: usize| word(&header, 1 + number);

        let load = loads.iter().find(|load| load.extent.from(at).is_some())?;
        let address = load.address.wrapping_add(at - load.extent.offset);
        let names = address.wrapping_add(field(3)?);
        let module = search(file, &modules, |bytes| {
            word(bytes, 0) == Some(address) && word(bytes, 1) == Some(names)
        })?;
        let module = read::<MODULE>(file, module)?;
        let go_func = word(
            &module,
            match version {
                Version::Go118 => GO_FUNC_BEFORE_1_20,
                Version::Go120 => GO_FUNC,
            },
        );
        let go_func = go_func?;
        let inline_trees = loads.iter().find_map(|load| load.from(go_func));

        let rest = |number| load.extent.from(at.checked_add(field(number)?)?);
        Some(Self {
            version,
            quantum: header.get(6).copied()?.into(),
            function_count: field(0)?,
            text: word(&module, TEXT)?..word(&module, END_OF_TEXT)?,
            names: rest(3)?,
            units: rest(4)?,
            files: rest(5)?,
            pc_tables: rest(6)?,
            functions: rest(7)?,
            inline_trees: inline_trees?,
        })
    }
}

/// The version of a table that begins like this.
fn version(header: &[u8]) -> Option<Version> {
    match header {
        [0xf0, 0xff, 0xff, 0xff, 0, 0, 1 | 2 | 4, 8, ..] => Some(Version::Go118),
        [0xf1, 0xff, 0xff, 0xff, 0, 0, 1 | 2 | 4, 8, ..] => Some(Version::Go120),
        _ => None,
    }
}

/// The position of the first two words that are what is looked for.
fn search(file: &File, extents: &[Extent], is_wanted: impl Fn(&[u8]) -> bool) -> Option<u64> {
    let mut left = MOST_SEARCHED;
    let mut buffer = vec![0; SEARCHED_AT_A_TIME + WORD];
    for extent in extents {
        let end = extent.size.min(left);
        let mut done = 0;
        while done + 2 * WORD as u64 <= end {
            // One word more than is gone on by, so that two are seen together everywhere.
            let size = (end - done).min(buffer.len() as u64) as usize;
            let bytes = buffer.get_mut(..size)?;
            read_exact_at(file, bytes, extent.offset.saturating_add(done)).ok()?;
            let places = (0..bytes.len() - WORD).step_by(WORD);
            let mut found = places.filter(|place| bytes.get(*place..).is_some_and(&is_wanted));
            if let Some(place) = found.next() {
                return Some(extent.offset + done + place as u64);
            }
            done += SEARCHED_AT_A_TIME as u64;
        }
        left -= end;
    }
    None
}

fn read<const SIZE: usize>(file: &File, at: u64) -> Option<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    read_exact_at(file, &mut bytes, at).ok()?;
    Some(bytes)
}

fn word(bytes: &[u8], number: usize) -> Option<u64> {
    let word = bytes.get(number * WORD..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}
