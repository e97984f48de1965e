//! Tables on disk, in their final form, so that no start of the agent builds what an earlier one has built.
//!
//! Whoever can write to the directory decides how stacks are walked, so it must be the agent's own. What is in it is
//! checked nevertheless: files are damaged by crashes, and written by other versions.

use super::builder::{Key, LIMITS};
use bpf::unwind::{CacheError, Table};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that the tables on disk may take: those of a whole distribution take 50 MB.
const BUDGET: u64 = 256 << 20;
/// Names of files that are still being written begin so. They belong to nobody after this many seconds.
const UNFINISHED: &str = ".new-";
const ABANDONED_SECONDS: i64 = 600;

/// A directory of tables.
pub(crate) struct Cache {
    path: PathBuf,
    directory: OwnedFd,
    budget: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes in the directory; nothing until they have been added up.
    bytes: Option<u64>,
    /// It has been said that it cannot be written to.
    complained: bool,
}

struct Entry {
    name: String,
    bytes: u64,
    /// Seconds since the Unix epoch.
    used: i64,
}

impl Cache {
    /// Opens a directory, which is made if need be; nothing if it cannot be used, which is said.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        match open_directory(path) {
            Ok(directory) => Some(Self {
                path: path.to_owned(),
                directory,
                budget: BUDGET,
                state: Mutex::default(),
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
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &name, flags, Mode::empty()).ok()?;
        let file = File::from(file);
        match read_table(&file, key) {
            Ok(table) => {
                touch(&file);
                Some(table)
            }
            Err(error) => {
                tracing::debug!("{}/{name} {error}", self.path.display());
                let _ = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
                None
            }
        }
    }

    /// Keeps a table. What goes wrong costs the cache only.
    pub(super) fn write(&self, key: &Key, table: &Table) {
        // Agents in two containers may have the same process id.
        let unfinished = format!("{UNFINISHED}{:016x}", rand::random::<u64>());
        let kept = self.write_file(&unfinished, key, table).and_then(|bytes| {
            let directory = &self.directory;
            rustix::fs::renameat(directory, &unfinished, directory, name_of(key))?;
            self.make_room(bytes)
        });
        if let Err(error) = kept {
            let _ = rustix::fs::unlinkat(&self.directory, &unfinished, AtFlags::empty());
            if !std::mem::replace(&mut self.lock().complained, true) {
                let path = self.path.display();
                tracing::warn!("unwind tables cannot be kept in {path}: {error}");
            }
        }
    }

    /// Not synced: a crash may leave half a file, which its checksum gives away.
    fn write_file(&self, name: &str, key: &Key, table: &Table) -> io::Result<u64> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&self.directory, name, flags, mode)?);
        let mut writer = BufWriter::with_capacity(64 << 10, &file);
        table.write_to(&mut writer, &key.identity, key.piece)?;
        writer.flush()?;
        drop(writer);
        Ok(file.metadata()?.len())
    }

    /// Deletes those whose last use is longest ago, until the budget is kept with an eighth to spare.
    fn make_room(&self, added: u64) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(bytes) = &mut state.bytes {
            *bytes += added;
            if *bytes <= self.budget {
                return Ok(());
            }
        }
        // Another agent may write here, too.
        let mut entries = self.entries()?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let most = match bytes > self.budget {
            true => self.budget / 8 * 7,
            false => self.budget,
        };
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            if bytes <= most {
                break;
            }
            self.delete(&entry.name)?;
            bytes -= entry.bytes;
        }
        state.bytes = Some(bytes);
        Ok(())
    }

    /// The tables in the directory. What an agent that crashed has not finished is deleted.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let stat = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            if name.starts_with(UNFINISHED) {
                if stat.st_mtime < now - ABANDONED_SECONDS {
                    self.delete(name)?;
                }
                continue;
            }
            if !is_of_table(name) {
                continue;
            }
            entries.push(Entry {
                name: name.to_owned(),
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
                used: stat.st_mtime,
            });
        }
        Ok(entries)
    }

    /// Deletes what another agent may have deleted already.
    fn delete(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever panicked with it has at worst counted wrong, which the next deletion puts right.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a directory that only its owner may enter, and opens it if that is who we are.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(io::Error::other(
            "others may write to it or read it, or own it",
        ));
    }
    Ok(directory)
}

fn read_table(file: &File, key: &Key) -> Result<Table, CacheError> {
    if !file.metadata()?.is_file() {
        return Err(CacheError::Foreign);
    }
    Table::read_from(file, &key.identity, key.piece, &LIMITS)
}

/// Notes that a table is in use. Where that fails, it goes no later than others.
fn touch(file: &File) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let _ = rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time(UTIME_OMIT),
            last_modification: time(UTIME_NOW),
        },
    );
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
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
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
        let path = cache.path.join(name_of(&key));
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], b""] {
            fs::write(&path, damaged).unwrap();
            assert!(cache.read(&key).is_none());
            assert!(!path.exists());
        }
        let other = numbered(&key, 1);
        fs::write(cache.path.join(name_of(&other)), &whole).unwrap();
        assert!(cache.read(&other).is_none());
        assert_eq!(fs::read_dir(&cache.path).unwrap().count(), 0);
    }

    /// A directory that others may write to is not used, nor one behind a link, which others may turn.
    #[test]
    fn directories_of_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tables");
        fs::create_dir(&path).unwrap();
        for mode in [0o777, 0o750, 0o701] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(Cache::open(&path).is_none(), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        assert!(Cache::open(&path).is_some());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Cache::open(&link).is_none());
        assert!(Cache::open(Path::new("/proc/thermograph")).is_none());
    }

    /// It stays within its budget: what was used longest ago goes.
    #[test]
    fn bounded_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (key, table) = table();
        let mut cache = cache(&directory);
        cache.write(&key, &table);
        let path = |number| cache.path.join(name_of(&numbered(&key, number)));
        let size = fs::metadata(cache.path.join(name_of(&key))).unwrap().len();
        fs::remove_file(cache.path.join(name_of(&key))).unwrap();
        cache.budget = 8 * size;
        for number in 0..8 {
            cache.write(&numbered(&key, number), &table);
            let age = std::time::SystemTime::now()
                - std::time::Duration::from_secs(1000 - u64::from(number));
            File::open(path(number)).unwrap().set_modified(age).unwrap();
        }
        assert!(cache.read(&numbered(&key, 0)).is_some());
        fs::write(cache.path.join(format!("{UNFINISHED}1-1")), b"half").unwrap();
        let foreign = cache.path.join("letters");
        fs::write(&foreign, vec![0; 2 * size as usize]).unwrap();
        File::open(&foreign)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        cache.write(&numbered(&key, 8), &table);
        assert!(foreign.exists());
        let left: Vec<u8> = (0..9).filter(|number| path(*number).exists()).collect();
        assert_eq!(left, [0, 3, 4, 5, 6, 7, 8]);
        // Another agent may be writing it this moment.
        assert!(cache.path.join(format!("{UNFINISHED}1-1")).exists());
    }
}
