//! A file that some process mapped executable: its number in words, and, once it has been opened, what it holds.

use bpf::{FileId, Word};
use rustix::fs::{AtFlags, Stat, StatxFlags, statx};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use symbolizer::Module;

/// A file, or 4 GiB of it.
pub(crate) struct MappedFile {
    id: FileId,
    /// File offset of the word's offset 0.
    base: u64,
    /// Path in the view of the process that mapped it first, for people.
    path: Vec<u8>,
    opened: Mutex<Opened>,
    changed: Condvar,
}

/// How far the opening of a file has come.
pub(crate) enum Opened {
    /// Not tried yet.
    Pending,
    /// It can be read, even when it is deleted or its process is gone.
    Ready(Arc<Module>, Identity),
    /// It cannot, and why.
    Failed(Unopened),
}

/// Why a file cannot be read as a program.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unopened {
    /// It can be read, but is no ELF file of this kind of machine.
    #[error("{0}")]
    NotElf(String),
    /// It cannot be read, or not yet.
    #[error("{0}")]
    Failed(String),
}

/// What makes two open files the same one, with the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

impl Identity {
    /// By what fstat says of an open file.
    pub(super) fn of(stat: &Stat) -> Self {
        let modified = (stat.st_mtime, stat.st_mtime_nsec);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified,
        }
    }

    /// Whether an open file was written to since. Its server is not asked: one that does not answer would hold up who asks here.
    fn is_outdated(self, file: &File) -> bool {
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", how, StatxFlags::SIZE | StatxFlags::MTIME);
        stat.is_ok_and(|stat| {
            let modified = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into());
            (i64::try_from(stat.stx_size), modified) != (Ok(self.size), self.modified)
        })
    }
}

impl MappedFile {
    pub(super) fn new(id: FileId, base: u64, path: &[u8], opened: Opened) -> Arc<Self> {
        Arc::new(Self {
            id,
            base,
            path: path.to_vec(),
            opened: Mutex::new(opened),
            changed: Condvar::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn for_test(id: u32, path: &[u8]) -> Arc<Self> {
        Self::new(FileId::new(id).unwrap(), 0, path, Opened::Pending)
    }

    /// Its number in words.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// The word for an offset in it; nothing if that lies outside the 4 GiB it stands for.
    pub(crate) fn word(&self, offset: u64) -> Option<Word> {
        Some(Word::file(self.id, self.word_offset(offset)?))
    }

    /// The offset in a word for an offset in it; nothing if that lies outside the 4 GiB it stands for.
    pub(super) fn word_offset(&self, offset: u64) -> Option<u32> {
        u32::try_from(offset.checked_sub(self.base)?).ok()
    }

    /// The offset in the file that a word's offset stands for.
    pub(crate) fn offset(&self, word_offset: u32) -> u64 {
        self.base + u64::from(word_offset)
    }

    /// Its name without directories, for people.
    pub(crate) fn name(&self) -> String {
        let path = Path::new(std::ffi::OsStr::from_bytes(&self.path));
        path.file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned()
    }

    /// Which piece of 4 GiB of the file it is.
    pub(crate) fn piece(&self) -> u32 {
        (self.base >> 32) as u32
    }

    /// Its path, as bytes.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// What is open stays so: a thread that opens it in time may still be given up in the same moment.
    pub(super) fn set(&self, opened: Opened) {
        let mut there = self.lock();
        if !matches!(*there, Opened::Ready(..)) {
            *there = opened;
        }
        drop(there);
        self.changed.notify_all();
    }

    /// Whether it failed to open; it is pending again then, for its next mapping is worth another try.
    pub(super) fn forget_failure(&self) -> bool {
        let mut opened = self.lock();
        let failed = matches!(*opened, Opened::Failed(_));
        if failed {
            *opened = Opened::Pending;
        }
        failed
    }

    /// Whether it was written to since it was opened: it is another file now.
    pub(super) fn is_outdated(&self) -> bool {
        match &*self.lock() {
            Opened::Pending | Opened::Failed(_) => false,
            Opened::Ready(module, identity) => identity.is_outdated(module.file()),
        }
    }

    /// What it holds, waiting for its opening for at most `patience`. The reason, if it cannot be read.
    pub(crate) fn module(&self, patience: Duration) -> Result<Arc<Module>, Unopened> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, |opened| {
                matches!(opened, Opened::Pending)
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &*waited.0 {
            Opened::Pending => Err(Unopened::Failed("not opened in time".to_owned())),
            Opened::Ready(module, _) => Ok(Arc::clone(module)),
            Opened::Failed(reason) => Err(reason.clone()),
        }
    }

    /// A thread that panicked while it held the lock had not begun to change what it guards.
    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.id, String::from_utf8_lossy(&self.path))
    }
}
