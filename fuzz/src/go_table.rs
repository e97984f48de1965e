//! A Go program that was stripped of everything: what its runtime knows of functions, as Go lays it out since 1.20. The fields are those
//! that the symbolizer's modules `go_module` and `go_functions` show.

use crate::compiled::said;
use crate::named::{ADDRESS, sectionless};
use crate::names::Input;

/// Code of two functions, the first of which has another inlined into its second half.
const CODE_SIZE: u32 = 0x80;
const SECOND: u32 = 0x40;
const LINES: &str = "main.inlined:11 main.main:9";

const NAMES: &[u8] = b"\0main.main\0main.inlined\0main.other\0";
const MAIN: u32 = 1;
const INLINED: u32 = 11;
const OTHER: u32 = 24;
const FILES: &[u8] = b"\0/src/main.go\0";
/// Changes of a value, twice and with the sign in the last bit, and instructions; each table ends with a 0. The value is -1 before.
const PC_TABLES: &[u8] = b"\0\x02\x40\0\x14\x20\x04\x20\0\0\x20\x02\x20\0";
/// Where the tables of file numbers, lines and inlined functions begin.
const FILE_TABLE: u32 = 1;
const LINE_TABLE: u32 = 4;
const INLINE_TABLE: u32 = 9;
const NONE: u32 = u32::MAX;

pub(crate) fn file() -> Vec<u8> {
    let functions = functions();
    let inline_tree = words(&[0, INLINED, 0, 5]);
    let unit = words(&[1]);
    let parts = [NAMES, &unit, FILES, PC_TABLES, &functions];
    let mut places = vec![9 * 8];
    for part in parts {
        places.push(places.last().unwrap() + part.len() as u64);
    }
    let tree = places.pop().unwrap();

    let mut loaded = vec![0x90; CODE_SIZE as usize];
    let header = ADDRESS + loaded.len() as u64;
    loaded.extend(b"\xf1\xff\xff\xff\0\0\x01\x08");
    let counts = [2, 1, ADDRESS];
    let fields = counts.iter().chain(&places);
    loaded.extend(fields.flat_map(|field| field.to_le_bytes()));
    loaded.extend(parts.concat());
    loaded.extend(inline_tree);
    // `moduledata` is looked for where words are.
    loaded.resize(loaded.len().next_multiple_of(8), 0);
    let mut module = [0; 41];
    module[..2].copy_from_slice(&[header, header + places[0]]);
    module[22..24].copy_from_slice(&[ADDRESS, header]);
    module[40] = header + tree;
    loaded.extend(module.iter().flat_map(|word| word.to_le_bytes()));

    let program = sectionless(&loaded);
    let input = Input {
        program: &program,
        other: &[],
    };
    assert!(said(&input).iter().any(|said| said == LINES));
    program
}

/// The list of functions, and what it leads to.
fn functions() -> Vec<u8> {
    let first = function(0, MAIN, INLINE_TABLE, 0);
    let second = function(SECOND, OTHER, 0, NONE);
    let place = 5 * 4;
    let list = [0, place, SECOND, place + first.len() as u32, CODE_SIZE];
    [words(&list), first, second].concat()
}

fn function(entry: u32, name: u32, inline_table: u32, inline_tree: u32) -> Vec<u8> {
    // Three pc tables and four places of data.
    let head = [
        entry,
        name,
        0,
        0,
        0,
        FILE_TABLE,
        LINE_TABLE,
        3,
        0,
        1,
        4 << 24,
    ];
    let rest = [0, 0, inline_table, NONE, NONE, NONE, inline_tree];
    words(&[&head[..], &rest].concat())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
