//! The ELF files of a host.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MACHINE: [u8; 2] = if cfg!(target_arch = "aarch64") {
    [183, 0]
} else {
    [62, 0]
};

/// Debug information by itself: it is never mapped, and readelf cannot read its frames.
const DEBUG: &str = "/usr/lib/debug";

/// Every 64-bit program and library for this machine in `roots`, each once whatever its names; a root may be a file.
pub(crate) fn find(roots: &[PathBuf]) -> Vec<PathBuf> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut left = roots.to_vec();
    while let Some(path) = left.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() && path != Path::new(DEBUG) {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        } else if metadata.is_file()
            && is_program(&path)
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_program(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    // Little-endian 64-bit, and of its types EXEC or DYN.
    read.is_ok()
        && header.starts_with(b"\x7fELF\x02\x01")
        && matches!(header.get(16..18), Some([2 | 3, 0]))
        && header.ends_with(&MACHINE)
}
