//! Tables on disk.

use crate::metered::Metered;
use crate::recipe::Recipe;
use crate::{LIMITS, allowed, heap};
use bpf::unwind::{CacheError, Geometry, Identity, Table, build};
use std::sync::LazyLock;

/// Magic, version, piece, digest of the file: what every input begins with, so that what comes behind is read.
const BEGIN: usize = 8 + 4 + 4 + 32;
/// As any table of this version has it.
static TRUE_BEGIN: LazyLock<[u8; BEGIN]> = LazyLock::new(|| {
    let table = build(&Recipe::default().file(), 0, &LIMITS).unwrap();
    let mut bytes = Vec::new();
    table.write_to(&mut bytes, &identity(), 0).unwrap();
    *bytes.first_chunk().unwrap()
});
/// Behind it: five numbers of the geometry, size of the image.
const HEADER: usize = BEGIN + 6 * 4;

/// An input is a table as it is on disk. Its beginning is made true; if its first byte says so, also its size and checksum.
pub(crate) fn check(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    read(&bytes);
    if bytes.len() < HEADER {
        return;
    }
    bytes[..BEGIN].copy_from_slice(&*TRUE_BEGIN);
    read(&bytes);
    if first & 1 == 0 {
        let size = (bytes.len() - HEADER) as u32;
        bytes[HEADER - 4..HEADER].copy_from_slice(&size.to_le_bytes());
        let checksum = blake3::hash(&bytes);
        bytes.extend(checksum.as_bytes());
        read(&bytes);
    }
}

/// What a table is written as, as an input.
pub(crate) fn input(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0];
    table.write_to(&mut bytes, &identity(), 0).unwrap();
    bytes.truncate(bytes.len() - blake3::OUT_LEN);
    bytes
}

/// A table is written and read back the same, and is nobody else's.
pub(crate) fn round(table: &Table, identity: &Identity, piece: u32) {
    let mut bytes = Vec::new();
    table.write_to(&mut bytes, identity, piece).unwrap();
    let read = |piece| Table::read_from(&bytes[..], identity, piece, &LIMITS);
    assert_eq!(&read(piece).unwrap(), table);
    assert!(matches!(read(piece + 1), Err(CacheError::OtherFile)));
}

/// Whatever is read may be asked anything, and lies within itself: a checksum is no proof of who wrote it.
fn read(bytes: &[u8]) {
    let source = Metered::new(bytes);
    let identity = identity();
    let (table, peak) = heap::peak_of(|| Table::read_from(&source, &identity, 0, &LIMITS));
    let table = table.ok();
    let size = table.as_ref().map_or(0, |table| table.image().len());
    assert!(peak <= allowed(size.max(bytes.len())), "{peak} bytes");
    assert!(source.bytes() <= 2 * bytes.len() as u64);
    let Some(table) = table else {
        return;
    };
    assert!(table.image().len() <= LIMITS.image_bytes);
    let Geometry {
        first_page,
        pages,
        index,
        rules,
        rule_count,
    } = table.geometry();
    let len = table.image().len() as u64;
    assert!(u64::from(index) + (u64::from(pages) + 1) * 4 <= len);
    assert!(u64::from(rules) + u64::from(rule_count) * 8 <= len);
    let image = table.image().pieces().collect::<Vec<_>>().concat();
    let entries = image[index as usize..].chunks_exact(4);
    let entries: Vec<_> = entries
        .take(pages as usize + 1)
        .map(|entry| u32::from_le_bytes(entry.try_into().unwrap()))
        .collect();
    assert!(entries.is_sorted(), "blocks that overlap");
    assert!(entries.iter().all(|entry| u64::from(*entry) <= len));
    assert!(u64::from(first_page) + u64::from(pages) <= 1 << 19);
    assert!(table.rows().count() as u64 <= len + 2 * u64::from(pages) + 1);
    for offset in [0, u32::MAX, first_page << 13, (first_page << 13) + 100] {
        table.lookup(offset);
    }
    round(&table, &identity, 0);
}

fn identity() -> Identity {
    Identity {
        build_id: None,
        size: 0,
        digest: [7; 32],
    }
}
