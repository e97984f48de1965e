//! What must hold of everything that reads a file of someone else's, whatever is in the file. libFuzzer searches for bytes
//! of which it does not hold (`make fuzz`); those found before are in `regressions/`.

#![allow(
    clippy::unwrap_used,
    reason = "an input of which something does not hold is to end the program"
)]

mod cache;
mod elf;
mod image;
mod metered;
mod recipe;
mod seeds;

// One way to make files and one to count memory, whoever asks.
#[path = "../../bench/src/tables/heap.rs"]
#[allow(unreachable_pub)]
mod heap;
#[path = "../../bpf/tests/unwind/made.rs"]
#[allow(dead_code, reason = "the tests make more of it")]
mod made;

use bpf::unwind::Limits;

/// A reader with what must hold of it.
pub struct Target {
    /// Also that of its program and of its directories.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Takes the bytes of an ELF file as they are.
pub const ELF: Target = Target {
    name: "elf",
    check: elf::bytes,
    seeds: seeds::elf,
};

/// Takes call frame information, and what to change in the file that is made around it: see [`recipe::Recipe`].
pub const FRAMES: Target = Target {
    name: "frames",
    check: elf::recipe,
    seeds: seeds::frames,
};

/// Takes a table as the cache has it: see [`cache::check`].
pub const CACHE: Target = Target {
    name: "cache",
    check: cache::check,
    seeds: seeds::cache,
};

/// All of them.
pub const TARGETS: [Target; 3] = [ELF, FRAMES, CACHE];

/// What a file may cost here: little, so that little is enough to exceed it.
const LIMITS: Limits = Limits {
    image_bytes: 1 << 20,
    functions: 1000,
    read_bytes: 1 << 20,
};

/// The memory that `work` may take beside a table of `table` bytes.
fn allowed(table: usize) -> usize {
    table + 16 * LIMITS.functions + (1 << 20)
}
