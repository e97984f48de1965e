//! Other files that belong to a module, opened inside of root directories that the caller chose.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// Where a module lies, and below which directories files that belong to it may be opened.
///
/// The paths of such files come out of the module, so they are hostile: `..` and links, also absolute ones, stay below the root, the links of
/// /proc that lead anywhere are refused, and only regular files are opened, because to open a device can already do something.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    path: PathBuf,
    directories: Vec<Arc<OwnedFd>>,
}

/// One of the directories.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root<'a>(&'a OwnedFd);

impl Roots {
    pub(crate) fn new(path: PathBuf, directories: Vec<Arc<OwnedFd>>) -> Self {
        Self { path, directories }
    }

    /// The path of the module in any of the directories.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directories themselves.
    pub(crate) fn directories(&self) -> &[Arc<OwnedFd>] {
        &self.directories
    }

    /// The directories, in the order in which they are to be looked through.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Root<'_>> {
        self.directories.iter().map(|directory| Root(directory))
    }
}

impl Root<'_> {
    /// Opens a regular file by its path from here.
    pub(crate) fn open(self, path: &Path) -> io::Result<File> {
        let found = self.find(path, OFlags::empty())?;
        let stat = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let by_number = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(File::from(rustix::fs::open(
            by_number,
            flags,
            Mode::empty(),
        )?))
    }

    /// Where a path leads if it is a symbolic link, else itself.
    pub(crate) fn follow(self, path: &Path) -> PathBuf {
        let link = self.find(path, OFlags::NOFOLLOW);
        let target = link.and_then(|link| Ok(rustix::fs::readlinkat(link, c"", Vec::new())?));
        match (target, path.parent()) {
            (Ok(target), Some(parent)) if !target.is_empty() => {
                parent.join(target.to_string_lossy().as_ref())
            }
            _ => path.to_owned(),
        }
    }

    /// Finds what a path leads to, and touches it no further.
    fn find(self, path: &Path, more: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(
            self.0,
            path,
            OFlags::PATH | OFlags::CLOEXEC | more,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }
}
