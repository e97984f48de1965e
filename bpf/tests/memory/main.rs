//! What memory a table takes while it is made. Alone in its program: it counts every allocation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use bpf::unwind::{Limits, build, identify};
use gimli::UnwindSection;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tests::elf_files::library;
use tests::machine::say;

/// Counts bytes in use and the most there were. Growing in place counts as that, as the system's allocator does it.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    MOST.fetch_max(IN_USE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size.checked_sub(layout.size()) {
            Some(grown) => more(grown),
            None => {
                IN_USE.fetch_sub(layout.size() - size, Relaxed);
            }
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes in use at most while `run` runs, beyond those before.
fn most_during<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = run();
    (result, MOST.load(Relaxed) - before)
}

fn functions(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    let elf = ElfFile64::<LittleEndian>::parse(&bytes[..]).unwrap();
    let section = elf.section_by_name(".eh_frame").unwrap();
    let frames = gimli::EhFrame::new(section.data().unwrap(), gimli::LittleEndian);
    let bases = gimli::BaseAddresses::default().set_eh_frame(section.address());
    let mut entries = frames.entries(&bases);
    let mut functions = 0;
    while let Ok(Some(entry)) = entries.next() {
        functions += usize::from(matches!(entry, gimli::CieOrFde::Fde(_)));
    }
    functions
}

/// A table takes its own size, 16 bytes a function and a megabyte; an identity a quarter of that megabyte, and as much a function.
#[test]
fn bounded() {
    let compiler = Path::new(env!("CARGO")).parent().unwrap().join("../lib");
    let driver = fs::read_dir(compiler)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let driver = driver.filter(|path| path.to_string_lossy().contains("librustc_driver"));
    let files = [
        library("libc.so.6"),
        library("libstdc++.so.6"),
        Some(PathBuf::from("/usr/bin/node")),
    ];
    for path in files
        .into_iter()
        .flatten()
        .chain(driver)
        .filter(|path| path.exists())
    {
        let file = File::open(&path).unwrap();
        let (table, most) = most_during(|| build(&file, 0, &Limits::default()).unwrap());
        let of_functions = 16 * functions(&path);
        let allowed = table.image().len() + of_functions + (1 << 20);
        say(&format!(
            "{}: {most} bytes, allowed {allowed}, table {}",
            path.display(),
            table.image().len()
        ));
        assert!(
            most <= allowed,
            "{}: {most} bytes, allowed {allowed}",
            path.display()
        );

        let (_, most) = most_during(|| identify(&file, &Limits::default()).unwrap());
        assert!(
            most <= of_functions + (256 << 10),
            "{}: {most} bytes to identify it",
            path.display()
        );
    }
}
