//! What memory a table takes while it is made. Alone in its program: it counts every allocation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use bpf::unwind::{Limits, build, identify};
use gimli::UnwindSection;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tests::elf_files::library;
use tests::heap::{Counting, peak_of};
use tests::machine::say;

#[global_allocator]
static COUNTING: Counting = Counting;

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

/// A table takes its own size, 16 bytes a function and a megabyte; an identity a quarter of that megabyte.
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
        let (table, most) = peak_of(|| build(&file, 0, &Limits::default()).unwrap());
        let allowed = table.image().len() + 16 * functions(&path) + (1 << 20);
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

        let (_, most) = peak_of(|| identify(&file, &Limits::default()).unwrap());
        assert!(
            most <= 256 << 10,
            "{}: {most} bytes to identify it",
            path.display()
        );
    }
}
