//! ELF files.

use crate::metered::Metered;
use crate::recipe::{File, Recipe};
use crate::{LIMITS, allowed, cache, heap, image};
use bpf::unwind::{Code, Identity, Source, Table, build, identify};
use rustix::fs::{MemfdFlags, memfd_create};
use std::os::unix::fs::FileExt;
use symbolizer::Module;

/// The input is the file.
pub(crate) fn bytes(input: &[u8]) {
    check(&File::whole(input));
}

/// The input is a [`Recipe`] for one.
pub(crate) fn recipe(input: &[u8]) {
    check(&Recipe::parse(input).file());
}

fn check(file: &File) {
    let on_disk = written(file);
    let identity = measured(file, |source| identify(source, &LIMITS), |_| 0);
    if let Some(identity) = &identity {
        assert_eq!(identity, &identify(&on_disk, &LIMITS).unwrap());
    }
    for piece in [0, 1] {
        let table = measured(
            file,
            |source| build(source, piece, &LIMITS),
            |table| table.image().len(),
        );
        let again = build(&on_disk, piece, &LIMITS).ok();
        assert_eq!(table, again, "built twice");
        if let Some(table) = table {
            check_table(&table, identity.as_ref(), piece);
        }
    }
    let _ = Code::read(file);
    check_module(on_disk);
}

/// What `work` makes of a file, if anything, without reading or taking more than it may.
fn measured<T, E>(
    file: &File,
    work: impl FnOnce(&Metered<'_, File>) -> Result<T, E>,
    size: impl FnOnce(&T) -> usize,
) -> Option<T> {
    let source = Metered::new(file);
    let (done, peak) = heap::peak_of(|| work(&source).ok());
    let size = done.as_ref().map_or(LIMITS.image_bytes, size);
    assert!(peak <= allowed(size), "{peak} bytes for a table of {size}");
    assert!(source.bytes() <= LIMITS.work);
    done
}

fn check_table(table: &Table, identity: Option<&Identity>, piece: u32) {
    assert!(table.image().len() <= LIMITS.image_bytes);
    image::check(table);
    if let Some(identity) = identity {
        cache::round(table, identity, piece);
    }
}

/// What the symbolizer reads of the headers does not contradict itself.
fn check_module(file: std::fs::File) {
    let (module, peak) = heap::peak_of(|| Module::open(file, "hostile").ok());
    assert!(peak <= 4 << 20, "{peak} bytes of headers");
    let Some(module) = module else {
        return;
    };
    for segment in module.segments() {
        assert!(segment.start <= segment.limit);
        if let Some(found) = module.segment_of(segment.file_offset) {
            assert!(found.file_offset <= segment.file_offset);
            assert!(module.elf_address(segment.file_offset).is_some());
        }
    }
    module.segment_of(u64::MAX);
}

/// The same as a file of the system.
fn written(file: &File) -> std::fs::File {
    let on_disk = std::fs::File::from(memfd_create("hostile", MemfdFlags::CLOEXEC).unwrap());
    for (offset, bytes) in file.parts() {
        on_disk.write_all_at(bytes, *offset).unwrap();
    }
    on_disk.set_len(file.size().unwrap()).unwrap();
    on_disk
}
