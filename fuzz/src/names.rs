//! The symbols and the debug information of ELF files, as they are read for names.

use crate::heap;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::panic;
use std::sync::{Arc, Once};
use symbolizer::{Module, Options, Symbolized, Symbolizer};

/// Names and file names that may be shown, in bytes.
const LONGEST: usize = (16 << 10) + 3;
/// Files larger than this cannot be told from memory that is taken in vain.
const LARGEST: usize = 64 << 10;
/// Memory that naming the places of such a file may take: what its symbols and names take, and what blazesym makes of its DWARF.
const MEMORY: usize = 64 << 20;
const OPTIONS: Options = Options {
    cache_bytes: 1 << 20,
    debug_bytes: 1 << 20,
};

/// Every place has a name, the same each time, and neither name nor memory is beyond measure.
pub(crate) fn check(input: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(let_libraries_panic);
    if input.len() > LARGEST {
        return;
    }
    let named = || {
        let mut file = File::from(memfd_create("hostile", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(input).unwrap();
        let module = Module::open(file, "hostile").ok()?;
        Some(name(&module))
    };
    let (first, peak) = heap::peak_of(named);
    assert!(peak <= MEMORY, "{peak} bytes of memory");
    let contents = |answers: Option<Vec<Arc<Symbolized>>>| {
        let answers = answers.unwrap_or_default().into_iter();
        answers
            .map(|answer| (answer.address, answer.frames.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(contents(first), contents(named()), "named twice");
}

fn name(module: &Module) -> Vec<Arc<Symbolized>> {
    let offsets = offsets(module);
    let mut symbolizer = Symbolizer::new(OPTIONS);
    let answers = symbolizer.user(module, &offsets);
    assert_eq!(answers.len(), offsets.len());
    for answer in &answers {
        assert!(!answer.frames.is_empty());
        for frame in &answer.frames {
            assert!((1..=LONGEST).contains(&frame.name.len()));
            assert!((1..=LONGEST).contains(&frame.system_name.len()));
            assert!(frame.file.as_ref().is_none_or(|file| file.len() <= LONGEST));
        }
    }
    // One file, one report.
    assert!(symbolizer.take_failures().len() <= 1);
    answers
}

/// The begin and the end of each executable segment and places between, and some outside of them.
fn offsets(module: &Module) -> Vec<u64> {
    let segments = module.segments().take(4);
    let within = segments.flat_map(|segment| {
        let (begin, size) = (segment.file_offset, segment.limit - segment.start);
        let steps = (0..64).map(move |step| begin.saturating_add(step * 4));
        steps.chain([
            begin.saturating_add(size / 2),
            begin.saturating_add(size.saturating_sub(1)),
        ])
    });
    within.chain([0, 1, u64::MAX / 2, u64::MAX]).collect()
}

/// libFuzzer ends the program where anything panics. blazesym does, on sums and lengths that it trusts a file with, and is caught; so only
/// what is not caught counts, and of the others nothing is said.
fn let_libraries_panic() {
    panic::set_hook(Box::new(|panic| {
        // The crates of this workspace are compiled by relative paths.
        if panic
            .location()
            .is_some_and(|location| !location.file().starts_with('/'))
        {
            eprintln!("{panic}");
        }
    }));
}
