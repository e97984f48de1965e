//! The symbols and the debug information of ELF files, as they are read for names.

use crate::heap;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::panic;
use std::path::Path;
use std::sync::{Arc, Once};
use symbolizer::{Module, Options, Symbolized, Symbolizer};
use tempfile::TempDir;

/// Names and file names that may be shown, in bytes.
const LONGEST: usize = (4 << 10) + 3;
/// Files larger than this cannot be told from memory that is taken in vain.
const LARGEST: usize = 64 << 10;
/// Memory that naming the places of such a file may take: what its symbols and names take, and what blazesym makes of its DWARF.
const MEMORY: usize = 64 << 20;
/// Without a cache: what is asked about again is looked up again, by what was kept of the file.
const OPTIONS: Options = Options {
    cache_bytes: 0,
    debug_bytes: 1 << 20,
};

/// Where a program lies, and all that it may lead to: a package, what two compilers have split off, a file of build id or of that name.
const PROGRAM: &str = "/program";
const OTHER: &str = "other";
const LINKS: [&str; 4] = [
    "program.dwp",
    "program-source.dwo",
    "source.dwo",
    "usr/lib/debug/.build-id/01/234567.debug",
];

/// The first two bytes say how many at the end are another file, if any, which is wherever the first leads.
pub(crate) struct Input<'a> {
    pub(crate) program: &'a [u8],
    pub(crate) other: &'a [u8],
}

impl<'a> Input<'a> {
    fn parse(input: &'a [u8]) -> Option<Self> {
        let (length, files) = input.split_first_chunk()?;
        let other = usize::from(u16::from_le_bytes(*length)).min(files.len());
        let (program, other) = files.split_at(files.len() - other);
        Some(Self { program, other })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.other.len()).unwrap().to_le_bytes();
        [&length, self.program, self.other].concat()
    }

    /// What is said of its places; nothing if it is no program.
    pub(crate) fn named(&self) -> Option<Vec<Arc<Symbolized>>> {
        let root = (!self.other.is_empty()).then(|| root(self.other));
        let mut file = File::from(memfd_create("hostile", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(self.program).unwrap();
        let module = Module::open(file, "hostile").ok()?;
        let directory = root
            .as_ref()
            .map(|root| Arc::new(File::open(root.path()).unwrap().into()));
        let module = module.with_roots(PROGRAM, directory);
        Some(name(&module))
    }
}

/// A directory in which everything is this file: in memory, because there is one for each input.
fn root(other: &[u8]) -> TempDir {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(root.path().join(OTHER), other).unwrap();
    for link in LINKS.map(|link| root.path().join(link)) {
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(Path::new("/").join(OTHER), link).unwrap();
    }
    root
}

/// Every place has a name, the same each time, and neither name nor memory is beyond measure.
pub(crate) fn check(input: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(let_libraries_panic);
    if input.len() > LARGEST {
        return;
    }
    let Some(input) = Input::parse(input) else {
        return;
    };
    let (_, peak) = heap::peak_of(|| input.named());
    assert!(peak <= MEMORY, "{peak} bytes of memory");
}

/// Asks twice: at the second time indexes of symbols are made, and debug information is there.
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
    assert_eq!(answers, symbolizer.user(module, &offsets), "named twice");
    // One file, one report.
    assert!(symbolizer.take_failures().len() <= 1);
    answers
}

/// The begin and the end of each executable segment and places between, and some outside of them.
fn offsets(module: &Module) -> Vec<u64> {
    let segments = module.segments().take(4);
    let within = segments.flat_map(|segment| {
        let (begin, size) = (segment.file_offset, segment.limit - segment.start);
        let near = (0..64).map(|step| step * 4);
        let far = (0..64).map(move |step| size / 64 * step);
        let places = near.chain(far).chain([size.saturating_sub(1)]);
        places.map(move |place| begin.saturating_add(place))
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
