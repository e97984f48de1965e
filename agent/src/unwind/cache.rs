//! Tables on disk, in their final form, so that no start of the agent builds what an earlier one has built.
//!
//! What is there is checked, although nobody else may write to it: files are damaged by crashes, and written by other versions.

use super::builder::{Key, LIMITS};
use crate::disk_cache::{DiskCache, touch};
use bpf::unwind::{CacheError, Table};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that the tables on disk may take: those of a whole distribution take 50 MB.
const BUDGET: u64 = 256 << 20;

/// A directory of tables.
pub(crate) struct Cache {
    files: DiskCache,
    /// It has been said that it cannot be written to.
    complained: AtomicBool,
}

impl Cache {
    /// Opens a directory, which is made if need be; nothing if it cannot be used, which is said.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        match DiskCache::open(path, BUDGET, is_of_table) {
            Ok(files) => Some(Self {
                files,
                complained: AtomicBool::new(false),
            }),
            Err(error) => {
                tracing::warn!(
                    "unwind tables are not kept in {}, every start builds them anew: {error}; give another --cache-dir",
                    path.display()
                );
                None
            }
        }
    }

    /// The table of a content. One that is damaged is deleted.
    pub(super) fn read(&self, key: &Key) -> Option<Table> {
        let name = name_of(key);
        let file = self.files.get(&name)?;
        match read_table(&file, key) {
            Ok(table) => {
                touch(&file);
                Some(table)
            }
            Err(error) => {
                tracing::debug!("{}/{name} {error}", self.files.path().display());
                let _ = self.files.delete(&name);
                None
            }
        }
    }

    /// Keeps a table. What goes wrong costs the cache only.
    pub(super) fn write(&self, key: &Key, table: &Table) {
        if let Err(error) = self.write_file(key, table)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            let path = self.files.path().display();
            tracing::warn!("unwind tables cannot be kept in {path}: {error}");
        }
    }

    /// Not synced: a crash may leave half a file, which its checksum gives away.
    fn write_file(&self, key: &Key, table: &Table) -> io::Result<()> {
        let unfinished = self.files.begin()?;
        let mut writer = BufWriter::with_capacity(64 << 10, &unfinished.file);
        table.write_to(&mut writer, &key.identity, key.piece)?;
        writer.flush()?;
        drop(writer);
        unfinished.keep(&name_of(key))
    }
}

fn read_table(file: &File, key: &Key) -> Result<Table, CacheError> {
    Table::read_from(file, &key.identity, key.piece, &LIMITS)
}

fn name_of(key: &Key) -> String {
    match key.piece {
        0 => key.identity.to_string(),
        piece => format!("{}-{piece}", key.identity),
    }
}

/// Whether a file is a table by its name: whatever else is in the directory belongs to someone else.
fn is_of_table(name: &str) -> bool {
    let (identity, piece) = name.split_once('-').unwrap_or((name, "1"));
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    identity.len() == 64 && identity.bytes().all(is_hex) && piece.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf::unwind::{build, identify};
    use std::fs;
    use tempfile::TempDir;

    fn table() -> (Key, Table) {
        let file = File::open("/proc/self/exe").unwrap();
        let identity = identify(&file, &LIMITS).unwrap();
        let key = Key { identity, piece: 0 };
        (key, build(&file, 0, &LIMITS).unwrap())
    }

    fn cache(directory: &TempDir) -> Cache {
        Cache::open(&directory.path().join("a/tables")).unwrap()
    }

    /// Another key for each number.
    fn numbered(key: &Key, number: u8) -> Key {
        let mut key = key.clone();
        key.identity.digest[0] = number;
        key
    }

    /// What one agent has written the next one finds, and neither for another content nor for another piece of the file.
    #[test]
    fn kept_from_start_to_start() {
        let directory = tempfile::tempdir().unwrap();
        let (key, table) = table();
        cache(&directory).write(&key, &table);
        let cache = cache(&directory);
        assert!(cache.read(&key).unwrap() == table);
        assert!(cache.read(&numbered(&key, 1)).is_none());
        let identity = key.identity.clone();
        assert!(cache.read(&Key { identity, piece: 1 }).is_none());
    }

    /// A damaged table, and one under the name of another, is deleted and not used.
    #[test]
    fn damaged_tables_are_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let (key, table) = table();
        let cache = cache(&directory);
        cache.write(&key, &table);
        let path = cache.files.path().join(name_of(&key));
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], b""] {
            fs::write(&path, damaged).unwrap();
            assert!(cache.read(&key).is_none());
            assert!(!path.exists());
        }
        let other = numbered(&key, 1);
        fs::write(cache.files.path().join(name_of(&other)), &whole).unwrap();
        assert!(cache.read(&other).is_none());
        assert_eq!(fs::read_dir(cache.files.path()).unwrap().count(), 0);
    }
}
