//! Opens mapped files while their process lives, on a thread of its own: a file on a dead server may not answer.
//!
//! What is opened is someone else's: a device must not be woken by it, a pipe must not block it, and a path must not
//! lead out of its process's root.

use super::MappedFile;
use super::file::{Identity, Opened};
use super::files::Hint;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use symbolizer::Module;

/// Requests that may wait: a host that starts more programs than this at once gets offsets for names.
const QUEUE: usize = 8192;

/// A file to be opened through the process that has it mapped.
pub(super) struct Request {
    pub(super) file: Arc<MappedFile>,
    pub(super) tgid: u32,
    pub(super) range: (u64, u64),
    pub(super) hint: Hint,
}

/// The thread's mailbox.
pub(super) struct Opener {
    requests: SyncSender<Request>,
}

impl Opener {
    /// Starts the thread, which keeps at most `limit` files open.
    pub(super) fn start(limit: usize) -> io::Result<Self> {
        let (requests, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("opener".to_owned())
            .spawn(move || run(&queue, limit))?;
        Ok(Self { requests })
    }

    /// Has a file opened soon.
    pub(super) fn open(&self, request: Request) {
        let file = Arc::clone(&request.file);
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                file.set(Opened::Failed("too many new files at once".to_owned()))
            }
            Err(TrySendError::Disconnected(_)) => {
                file.set(Opened::Failed("the opener has ended".to_owned()))
            }
        }
    }
}

fn run(queue: &Receiver<Request>, limit: usize) {
    let mut modules: HashMap<Identity, Weak<Module>> = HashMap::new();
    while let Ok(request) = queue.recv() {
        let opened = match open_module(&request, &mut modules, limit) {
            Ok((module, identity)) => Opened::Ready(module, identity),
            Err(reason) => Opened::Failed(reason),
        };
        request.file.set(opened);
        modules.retain(|_, module| module.strong_count() > 0);
    }
}

/// Two mappings of one file share what was read of it.
fn open_module(
    request: &Request,
    modules: &mut HashMap<Identity, Weak<Module>>,
    limit: usize,
) -> Result<(Arc<Module>, Identity), String> {
    let (file, stat) = open_file(request)?;
    let identity = Identity::of(&stat);
    if let Some(module) = modules.get(&identity).and_then(Weak::upgrade) {
        return Ok((module, identity));
    }
    if modules.len() >= limit {
        return Err(format!(
            "{limit} mapped files are open already: raise the limit of open files"
        ));
    }
    let module = Module::open(file, request.file.name()).map_err(|error| error.to_string())?;
    let module = Arc::new(module);
    modules.insert(identity, Arc::downgrade(&module));
    Ok((module, identity))
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
    let in_process = open_in_root(&format!("/proc/{}/root", request.tgid), request.file.path())
        .and_then(|found| reopen(&found, |stat| stat.st_ino == request.hint.inode));
    if let Ok(file) = in_process {
        return Ok(file);
    }
    let device = rustix::fs::makedev(request.hint.device.0, request.hint.device.1);
    open_in_root("/", request.file.path())
        .and_then(|found| {
            reopen(&found, |stat| {
                stat.st_ino == request.hint.inode && stat.st_dev == device
            })
        })
        .map_err(|error| error.to_string())
}

/// Whether a link of map_files leads to this path: another program of the same process may have that range by now.
fn links_to(link: &str, path: &[u8]) -> bool {
    rustix::fs::readlink(link, Vec::new()).is_ok_and(|target| target.as_bytes() == path)
}

/// Looks a path up as the process would, without leaving its root and without following links of /proc.
fn open_in_root(root: &str, path: &[u8]) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        flags,
    )?)
}

/// Opens for reading what has been found, if it is a regular file and the one wanted. Only now: to open a device
/// can already do something.
fn reopen(found: impl AsFd, wanted: impl Fn(&Stat) -> bool) -> io::Result<(File, Stat)> {
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
