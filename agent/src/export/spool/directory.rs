//! The directory of a spool: nobody else's, and held by one agent at a time.

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, RawDir};
use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// An open directory. Its files are called by the number of their place in the order.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// Makes it if it is not there, and locks it for the life of this process.
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = File::from(fs::open(path, flags, Mode::empty())?);
        let metadata = directory.metadata()?;
        if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(
                "others may enter it, or it is not the agent's: `chmod 700` it, or give another --data-dir",
            ));
        }
        match fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Directory(directory.into())),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other(
                "another agent keeps its profiles there: give each a --data-dir of its own",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Numbers of the files, in order. What a crash left half written is removed.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let again = fs::openat(
            &self.0,
            c".",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(again, &mut buffer);
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if is_half_written(name) {
                fs::unlinkat(&self.0, name, AtFlags::empty())?;
            }
            numbers.extend(number_of(name));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes a file so that it is on disk, whole, when this returns, or not at all.
    pub(super) fn write(&self, number: u64, bytes: &[u8]) -> io::Result<File> {
        let new = format!("{number:020}.new");
        let written = self.write_new(&new, bytes).and_then(|file| {
            fs::renameat(&self.0, &new, &self.0, name_of(number))?;
            fs::fsync(&self.0)?;
            Ok(file)
        });
        if written.is_err() {
            // Either of them may be there. If it cannot even be removed, the next start removes the one, and takes over the other.
            let _ = fs::unlinkat(&self.0, &new, AtFlags::empty());
            let _ = self.remove(number);
        }
        written
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    }

    /// Opens a file to read and to mark what is in it.
    pub(super) fn read(&self, number: u64) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.0, name_of(number), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(file)
    }

    /// Removes a file. That it is gone need not be on disk: its last profile was marked before.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name_of(number), AtFlags::empty())?)
    }
}

fn name_of(number: u64) -> String {
    format!("{number:020}.profiles")
}

fn number_of(name: &CStr) -> Option<u64> {
    let digits = name.to_str().ok()?.strip_suffix(".profiles")?;
    let number = digits.parse().ok()?;
    (digits == format!("{number:020}")).then_some(number)
}

fn is_half_written(name: &CStr) -> bool {
    let digits = name
        .to_str()
        .ok()
        .and_then(|name| name.strip_suffix(".new"));
    digits.is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|c| c.is_ascii_digit()))
}

/// What is at fault when a file cannot be read or written, and not the disk or this process: others may fare better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file: it is not what it was, and nothing makes it so by waiting.
    File,
    /// The place on the disk where it lies, perhaps not for ever.
    Place,
}

impl Fault {
    /// The error itself, if it is the disk's or this process's.
    pub(super) fn of(error: io::Error) -> io::Result<Fault> {
        match error.raw_os_error() {
            // No error of the system: what was read makes no sense, or ends too early. Else nothing is there, or no file.
            None | Some(libc::ENOENT | libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV) => {
                Ok(Fault::File)
            }
            Some(
                libc::ENOSPC
                | libc::EDQUOT
                | libc::EROFS
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM,
            ) => Err(error),
            Some(_) => Ok(Fault::Place),
        }
    }
}
