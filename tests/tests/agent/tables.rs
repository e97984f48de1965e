//! Unwind tables are told apart by what they are made of.

use fixtures::unwind::Case;
use std::fs;
use std::path::Path;
use tests::machine::{Machine, skipped};
use tests::stacks::{Stack, Stacks};
use tests::thermograph::Run;

/// A C library with the build id and the size of the real one, but without its rules, changes nothing for the programs that use
/// the real one, whichever is mapped first; for its own program its stacks end in it.
#[test]
fn a_forged_library_changes_nothing_for_others() {
    if skipped("a_forged_library_changes_nothing_for_others") {
        return;
    }
    let _machine = Machine::alone();
    let program = Case::named("kernel_side").unwrap().path();
    for order in [["forged", "honest"], ["honest", "forged"]] {
        let [first, second] = order;
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("forged");
        fs::create_dir(&library).unwrap();
        forge_library(&library.join("libc.so.6"));
        let cache = directory.path().join("tables");
        let script = format!(
            "run() {{ ln -s '{}' $1; LD_LIBRARY_PATH='{}'/$1 ./$1 2; rm $1; }}; run {first}; run {second}",
            program.display(),
            directory.path().display()
        );
        let cache = format!("--cache-dir={}", cache.display());
        let run = Run::new(["record", "-F", "997", &cache, "--", "sh", "-c", &script]);
        let stacks = run.finish().succeeded().stacks();
        let through = |name: &str| through_the_library(&stacks, name);
        let (honest, forged) = (through("honest"), through("forged"));
        let whole = |stack: &Stack| stack.frames[0].name == "_start";
        assert!(honest.samples() > 50 && forged.samples() > 50);
        // Until its table is built, the library has none.
        assert!(honest.share(whole) > 0.9, "{order:?}: {}", honest.listing());
        assert!(forged.share(whole) < 0.1, "{order:?}: {}", forged.listing());
    }
}

/// Stacks of a function that the C library has called.
fn through_the_library(stacks: &Stacks, comm: &str) -> Stacks {
    stacks.only(|stack| stack.comm() == comm && stack.leaf() == "compare")
}

/// Copies the C library that this program uses, with zeros for .eh_frame.
fn forge_library(to: &Path) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.lines().find_map(|line| {
        line.split_ascii_whitespace()
            .nth(5)
            .filter(|path| path.ends_with("/libc.so.6"))
    });
    let mut bytes = fs::read(library.unwrap()).unwrap();
    let number = |bytes: &[u8], at: usize, size: usize| {
        let mut number = [0; 8];
        number[..size].copy_from_slice(&bytes[at..at + size]);
        u64::from_le_bytes(number) as usize
    };
    // e_shoff, e_shentsize, e_shnum and e_shstrndx of the file's header.
    let (headers, size) = (number(&bytes, 40, 8), number(&bytes, 58, 2));
    let (count, names) = (number(&bytes, 60, 2), number(&bytes, 62, 2));
    let header = |index: usize| headers + index * size;
    let names = number(&bytes, header(names) + 24, 8);
    let frames = (0..count).map(header).find(|header| {
        let name = names + number(&bytes, *header, 4);
        bytes[name..].starts_with(b".eh_frame\0")
    });
    let frames = frames.unwrap();
    let (offset, length) = (
        number(&bytes, frames + 24, 8),
        number(&bytes, frames + 32, 8),
    );
    bytes[offset..offset + length].fill(0);
    fs::write(to, bytes).unwrap();
}
