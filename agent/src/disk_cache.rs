//! A directory of files that can be had again, within a budget of bytes: what was used longest ago goes.
//!
//! Whoever can write to it decides what the agent believes, so it must be the agent's own.

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names of files that are still being written begin so. They belong to nobody after this many seconds.
const UNFINISHED: &str = ".new-";
const ABANDONED_SECONDS: i64 = 600;
/// Bytes that even an empty file counts for.
const BLOCK: u64 = 4096;

/// The directory.
pub(crate) struct DiskCache {
    path: PathBuf,
    directory: OwnedFd,
    budget: u64,
    is_ours: fn(&str) -> bool,
    /// Bytes in the directory; nothing until they have been added up.
    bytes: Mutex<Option<u64>>,
}

/// A file that is being written, and is deleted if it is not kept.
pub(crate) struct Unfinished<'a> {
    cache: &'a DiskCache,
    name: String,
    /// To write to. A crash may leave half of it under its final name: nothing is synced.
    pub(crate) file: File,
}

struct Entry {
    name: String,
    bytes: u64,
    /// Seconds since the Unix epoch.
    used: i64,
}

impl DiskCache {
    /// Opens a directory, which is made if need be. Files whose names are not ours belong to someone else.
    pub(crate) fn open(path: &Path, budget: u64, is_ours: fn(&str) -> bool) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            directory: open_directory(path)?,
            budget,
            is_ours,
            bytes: Mutex::default(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        let file = File::from(file);
        file.metadata().ok()?.is_file().then_some(file)
    }

    /// Begins a file.
    pub(crate) fn begin(&self) -> io::Result<Unfinished<'_>> {
        // Agents in two containers may have the same process id.
        let name = format!("{UNFINISHED}{:016x}", rand::random::<u64>());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, &name, flags, mode)?;
        Ok(Unfinished {
            cache: self,
            name,
            file: file.into(),
        })
    }

    /// Deletes what another agent may have deleted already.
    pub(crate) fn delete(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes those whose last use is longest ago, until the budget is kept with an eighth to spare.
    fn make_room(&self, added: u64) -> io::Result<()> {
        let mut known = self.lock();
        if let Some(bytes) = &mut *known {
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
        *known = Some(bytes);
        Ok(())
    }

    /// Our files in the directory. What an agent that crashed has not finished is deleted.
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
            if !(self.is_ours)(name) {
                continue;
            }
            entries.push(Entry {
                name: name.to_owned(),
                bytes: taken(u64::try_from(stat.st_size).unwrap_or(0)),
                used: stat.st_mtime,
            });
        }
        Ok(entries)
    }

    /// Whoever panicked with it has at worst counted wrong, which the next deletion puts right.
    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unfinished<'_> {
    /// Gives it its name, and makes room for it.
    pub(crate) fn keep(self, name: &str) -> io::Result<()> {
        let directory = &self.cache.directory;
        rustix::fs::renameat(directory, &self.name, directory, name)?;
        self.cache.make_room(taken(self.file.metadata()?.len()))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // One that is kept has that name no more.
        let _ = self.cache.delete(&self.name);
    }
}

/// What a file of so many bytes takes on disk, at least: an empty one has an inode and a name.
fn taken(length: u64) -> u64 {
    length.max(BLOCK)
}

/// Notes that a file is in use. Where that fails, it goes no later than others.
pub(crate) fn touch(file: &File) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let _ = rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time(UTIME_OMIT),
            last_modification: time(UTIME_NOW),
        },
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn is_number(name: &str) -> bool {
        name.parse::<u32>().is_ok()
    }

    fn open(path: &Path, budget: u64) -> io::Result<DiskCache> {
        DiskCache::open(path, budget, is_number)
    }

    fn write(cache: &DiskCache, name: u32, bytes: usize) {
        let mut unfinished = cache.begin().unwrap();
        unfinished.file.write_all(&vec![0; bytes]).unwrap();
        unfinished.keep(&name.to_string()).unwrap();
    }

    /// A directory that others may write to is not used, nor one behind a link, which others may turn.
    #[test]
    fn directories_of_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        fs::create_dir(&path).unwrap();
        for mode in [0o777, 0o750, 0o701] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(open(&path, 0).is_err(), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        assert!(open(&path, 0).is_ok());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link, 0).is_err());
        assert!(open(Path::new("/proc/thermograph"), 0).is_err());
    }

    /// It stays within its budget: what was used longest ago goes, and nothing that belongs to others. Empty files count, too.
    #[test]
    fn bounded_in_bytes() {
        for (bytes, taken) in [(5000, 5000), (0, BLOCK)] {
            let directory = tempfile::tempdir().unwrap();
            let cache = open(&directory.path().join("a/b"), 8 * taken).unwrap();
            let path = |name: u32| cache.path.join(name.to_string());
            for number in 0..8 {
                write(&cache, number, bytes);
                let age = SystemTime::now() - Duration::from_secs(1000 - u64::from(number));
                File::open(path(number)).unwrap().set_modified(age).unwrap();
            }
            touch(&cache.get("0").unwrap());
            let foreign = cache.path.join("letters");
            fs::write(&foreign, [0; 2000]).unwrap();
            File::open(&foreign)
                .unwrap()
                .set_modified(UNIX_EPOCH)
                .unwrap();
            // Another agent may be writing it this moment.
            let other = cache.begin().unwrap();
            write(&cache, 8, bytes);
            let left: Vec<u32> = (0..9).filter(|number| path(*number).exists()).collect();
            assert_eq!(left, [0, 3, 4, 5, 6, 7, 8]);
            assert!(foreign.exists() && cache.path.join(&other.name).exists());
        }
    }

    /// What was not finished leaves nothing.
    #[test]
    fn half_a_file_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(&directory.path().join("cache"), 8000).unwrap();
        let mut unfinished = cache.begin().unwrap();
        unfinished.file.write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(&cache.path).unwrap().count(), 1);
        drop(unfinished);
        assert_eq!(fs::read_dir(&cache.path).unwrap().count(), 0);
    }
}
