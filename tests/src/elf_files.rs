//! ELF files of this machine.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A shared library of the system, unless it has none of that name.
pub fn library(name: &str) -> Option<PathBuf> {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]
        .into_iter()
        .flat_map(|directory| [Path::new(directory).join(&machine), directory.into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Every program and library for x86-64 and aarch64 below a directory, each once whatever its names.
pub fn programs_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                // What others test with is damaged on purpose.
                if !path.ends_with("testdata") {
                    directories.push(path);
                }
            } else if metadata.is_file()
                && is_program(&path)
                && seen.insert((metadata.dev(), metadata.ino()))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_program(path: &Path) -> bool {
    // What was stripped off a program has its headers and nothing of its code.
    if path
        .extension()
        .is_some_and(|extension| extension == "debug")
    {
        return false;
    }
    let mut header = [0; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    const X86_64: u8 = 62;
    const AARCH64: u8 = 183;
    read.is_ok()
        && header.starts_with(b"\x7fELF\x02\x01")
        && matches!(header[16..], [2 | 3, 0, X86_64 | AARCH64, 0])
}
