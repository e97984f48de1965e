//! What must hold of everything that reads a file of someone else's, whatever is in the file. libFuzzer searches for bytes
//! of which it does not hold (`make fuzz`); those found before are in `regressions/`.

#![allow(
    clippy::unwrap_used,
    reason = "an input of which something does not hold is to end the program"
)]

mod cache;
mod compiled;
mod elf;
mod go_table;
mod image;
mod jit;
mod metered;
mod named;
mod names;
mod recipe;
mod seeds;

// One way to make files and one to count memory, whoever asks.
#[path = "../../fixtures/src/heap.rs"]
#[allow(unreachable_pub)]
mod heap;
#[path = "../../bpf/tests/unwind/made.rs"]
#[allow(dead_code, reason = "the tests make more of it")]
mod made;

use bpf::unwind::Limits;
use std::fs;
use std::path::Path;

#[global_allocator]
static COUNTING: heap::Counting = heap::Counting;

/// A reader with what must hold of it.
pub struct Target {
    /// That of its program and of its directories.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// Inputs to begin with, by name: of everything that is read, something; and what once broke it.
    pub fn known(&self) -> Vec<(String, Vec<u8>)> {
        let seeds = (0..).zip((self.seeds)());
        let seeds = seeds.map(|(number, seed)| (format!("seed-{number}"), seed));
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
        let files = fs::read_dir(directory.join(self.name))
            .into_iter()
            .flatten();
        let regressions = files.map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        });
        seeds.chain(regressions).collect()
    }
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

/// Takes an ELF file, and another that it leads to, for symbols and debug information: see [`names::Input`].
pub const NAMES: Target = Target {
    name: "names",
    check: names::check,
    seeds: named::seeds,
};

/// Takes a perf map or a jitdump: see [`jit::check`].
pub const JIT: Target = Target {
    name: "jit",
    check: jit::check,
    seeds: jit::seeds,
};

/// All of them.
pub const TARGETS: [Target; 5] = [ELF, FRAMES, CACHE, NAMES, JIT];

/// What a file may cost here: little, so that little is enough to exceed it.
const LIMITS: Limits = Limits {
    image_bytes: 1 << 19,
    functions: 1000,
    work: 4 << 20,
};

/// The memory that reading a table of `table` bytes may take.
fn allowed(table: usize) -> usize {
    table + 16 * LIMITS.functions + (1 << 20)
}
