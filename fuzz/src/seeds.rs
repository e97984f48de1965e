//! Inputs to begin with: of everything that is read, something.

use crate::made::{Cfi, Made, X86_64_BEGIN};
use crate::recipe::{Edit, Recipe, option};
use crate::{LIMITS, cache};
use bpf::unwind::build;

const CODE: u64 = 0x40_0000;
/// Frames as compilers write them: what a push, a frame pointer, an alloca, a return in the middle leave; also what the
/// procedure linkage table, realigned stacks and a thread's first function have.
const PROGRAMS: [&[u8]; 6] = [
    &[
        0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x4a, 0x0a, 0x0c, 7, 8, 0x41, 0x0b,
    ],
    &[0x02, 70, 0x0e, 48, 0x03, 1, 2, 0x0e, 8, 0xc6],
    &[
        0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22,
    ],
    &[0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0],
    &[0x07, 16],
    &[
        0x04, 1, 0, 0, 0, 0x12, 7, 0x7e, 0x13, 0x7d, 0x2f, 6, 3, 0x11, 6, 0x7e,
    ],
];

fn filled(mut cfi: Cfi, from: u64) -> Vec<u8> {
    let cie = cfi.cie(X86_64_BEGIN);
    for (number, program) in (0..).zip(PROGRAMS) {
        cfi.fde(cie, CODE + from + number * 0x500, 0x4f8, program);
    }
    // DW_CFA_set_loc with an address as .debug_frame has it.
    let address = CODE + from + 0x2000;
    let location = (address + 8).to_le_bytes();
    let program = [
        &[0x42, 0x0e, 24, 0x42, 0x0e, 32, 0x01],
        &location[..],
        &[0x0e, 16],
    ]
    .concat();
    cfi.fde(cie, address, 64, &program);
    cfi.terminator();
    cfi.bytes
}

fn recipes() -> Vec<Recipe> {
    let base = |options| Recipe {
        options,
        eh_frame: filled(Cfi::eh_frame(), 0),
        debug_frame: filled(Cfi::debug_frame(), 0x2000),
        ..Recipe::default()
    };
    let mut recipes: Vec<_> = [
        0,
        option::COMPRESSED,
        option::WITHOUT_SECTIONS,
        option::POSITION_INDEPENDENT | option::ENTRY,
        option::ENTRY | option::SYMBOLS,
        option::GO | option::SYMBOLS | option::ENTRY,
        option::INTERPRETER | option::SYMBOLS | option::WITHOUT_SECTIONS,
        option::AARCH64,
        option::ACROSS_PIECES,
        option::SECOND_PIECE,
    ]
    .map(base)
    .into();
    recipes.push(huge());
    recipes
}

/// One function of more pages than an image has pieces, in code that is said to be as large.
fn huge() -> Recipe {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    cfi.fde(cie, CODE, 0x1800_0000, &[0x41, 0x0e, 16]);
    let size = |field: u16| Edit {
        place: 64 + 56 + field,
        width: 8,
        value: 0x7000_0000,
    };
    Recipe {
        edits: vec![size(0x20), size(0x28)],
        eh_frame: cfi.bytes,
        ..Recipe::default()
    }
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    recipes().iter().map(Recipe::input).collect()
}

/// Without most of the code, which nobody reads.
pub(crate) fn elf() -> Vec<Vec<u8>> {
    recipes()
        .iter()
        .map(Recipe::made)
        .filter(|made| made.code_offset < 1 << 32)
        .map(|made| {
            let code_offset = 0x2000;
            Made {
                code_offset,
                ..made
            }
            .bytes()
        })
        .map(|mut bytes| {
            bytes.truncate(0x2200);
            bytes
        })
        .collect()
}

pub(crate) fn cache() -> Vec<Vec<u8>> {
    recipes()
        .iter()
        .filter_map(|recipe| build(&recipe.file(), 0, &LIMITS).ok())
        .filter(|table| table.image().len() < 4096)
        .map(|table| cache::input(&table))
        .collect()
}
