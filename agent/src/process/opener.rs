//! Opens mapped files while their process lives, on threads of their own: a file on a dead server may not answer.
//!
//! What is opened is someone else's: a device must not be woken by it, a pipe must not block it, and a path must not
//! lead out of its process's root.

use super::MappedFile;
use super::file::{Identity, Opened, Unopened};
use super::files::{Hint, without_mark};
use super::roots::Roots;
use crate::pool::{self, Pool};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use symbolizer::{Module, ModuleError};

const OPTIONS: pool::Options = pool::Options {
    name: "opener",
    threads: 2,
    // A host that starts more programs than this at once gets offsets for names.
    queue: 8192,
    patience: Duration::from_secs(2),
};

/// A file to be opened through the process that has it mapped.
pub(super) struct Request {
    pub(super) file: Arc<MappedFile>,
    pub(super) tgid: u32,
    pub(super) range: (u64, u64),
    pub(super) hint: Hint,
}

/// Told of each file that has been opened, or could not be.
pub(crate) type Settled = dyn Fn(&Arc<MappedFile>) + Send + Sync;

/// The threads that open files.
pub(super) struct Opener {
    pool: Pool<Request>,
}

impl Opener {
    /// Starts the threads, which keep at most `limit` files open.
    pub(super) fn start(limit: usize, settled: Arc<Settled>) -> io::Result<Self> {
        let modules = Modules {
            open: Mutex::default(),
            roots: Roots::default(),
            limit,
        };
        let settle = move |request: &Request, opened| {
            request.file.set(opened);
            settled(&request.file);
        };
        let open = {
            let settle = settle.clone();
            move |request: &Request| {
                let opened = match modules.open(request) {
                    Ok((module, identity)) => Opened::Ready(module, identity),
                    Err(why) => Opened::Failed(why),
                };
                settle(request, opened);
            }
        };
        let give_up = move |request: &Request, why: pool::GivenUp| {
            settle(request, Opened::Failed(Unopened::Failed(why.to_string())));
        };
        Ok(Self {
            pool: Pool::start(OPTIONS, open, give_up)?,
        })
    }

    /// Has a file opened soon.
    pub(super) fn open(&self, request: Request) {
        self.pool.submit(request);
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

/// What is open, so that two mappings of one file share it.
struct Modules {
    open: Mutex<HashMap<Identity, Weak<Module>>>,
    roots: Roots,
    limit: usize,
}

impl Modules {
    fn open(&self, request: &Request) -> Result<(Arc<Module>, Identity), Unopened> {
        let (file, stat) = open_file(request).map_err(Unopened::Failed)?;
        let identity = Identity::of(&stat);
        if let Some(module) = self.known(identity) {
            return Ok((module, identity));
        }
        // Without the lock: reading may hang.
        let module = Module::open(file, request.file.name()).map_err(unopened)?;
        let path = Path::new(OsStr::from_bytes(request.file.path()));
        let module = Arc::new(module.with_roots(path, self.roots.of(request.tgid)));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = open.get(&identity).and_then(Weak::upgrade) {
            return Ok((same, identity));
        }
        open.retain(|_, module| module.strong_count() > 0);
        if open.len() >= self.limit {
            return Err(Unopened::Failed(format!(
                "{} mapped files are open already: raise the limit of open files",
                self.limit
            )));
        }
        open.insert(identity, Arc::downgrade(&module));
        Ok((module, identity))
    }

    fn known(&self, identity: Identity) -> Option<Arc<Module>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&identity).and_then(Weak::upgrade)
    }
}

fn unopened(error: ModuleError) -> Unopened {
    match error {
        ModuleError::NotElf { .. } | ModuleError::Bits32 { .. } | ModuleError::BigEndian { .. } => {
            Unopened::NotElf(error.to_string())
        }
        _ => Unopened::Failed(error.to_string()),
    }
}

/// By the mapping itself, which also reaches a deleted file; else by its path in the process's root; else, when the
/// process is gone, by its path in this one's root. What a path leads to must be what was mapped.
fn open_file(request: &Request) -> Result<(File, Stat), String> {
    let (start, end) = request.range;
    let mapped = format!("/proc/{}/map_files/{start:x}-{end:x}", request.tgid);
    let by_mapping = rustix::fs::open(&mapped, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    if let Ok(found) = by_mapping
        && let Ok(file) = reopen(&found, |stat| {
            stat.st_ino == request.hint.inode || links_to(&mapped, &request.hint.path)
        })
    {
        return Ok(file);
    }
    let (root, path) = (format!("/proc/{}/root", request.tgid), request.file.path());
    let in_process = open_in_root(Path::new(&root), path, OFlags::empty())
        .and_then(|found| reopen(&found, |stat| stat.st_ino == request.hint.inode));
    if let Ok(file) = in_process {
        return Ok(file);
    }
    let device = rustix::fs::makedev(request.hint.device.0, request.hint.device.1);
    open_in_root(Path::new("/"), path, OFlags::empty())
        .and_then(|found| {
            reopen(&found, |stat| {
                stat.st_ino == request.hint.inode && stat.st_dev == device
            })
        })
        .map_err(|error| error.to_string())
}

/// Whether a link of map_files leads to this path: another program of the same process may have that range by now.
fn links_to(link: &str, path: &[u8]) -> bool {
    rustix::fs::readlink(link, Vec::new())
        .is_ok_and(|target| without_mark(target.as_bytes()) == path)
}

/// Looks a path up as the process would, without leaving its root and without following links of /proc.
pub(super) fn open_in_root(root: &Path, path: &[u8], how: OFlags) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC | how,
        Mode::empty(),
        flags,
    )?)
}

/// Opens for reading what has been found, if it is a regular file and the one wanted. Only now: to open a device
/// can already do something.
pub(super) fn reopen(found: impl AsFd, wanted: impl Fn(&Stat) -> bool) -> io::Result<(File, Stat)> {
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    if !wanted(&stat) {
        return Err(io::Error::other("the file at its path is another one"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let by_number = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    Ok((
        File::from(rustix::fs::open(by_number, flags, Mode::empty())?),
        stat,
    ))
}
