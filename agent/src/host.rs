//! The host, as an agent sees it that is in a container and shares the host's process ids.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Result;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// Processes of which the root directory and the namespaces are the host's: the first one and, if that lets nobody look at it, the parent
/// of all kernel threads.
pub(crate) const PROCESSES: [&str; 2] = ["/proc/1", "/proc/2"];

/// The agent's own root directory and, where another one is the host's, that.
pub(crate) fn roots() -> Vec<PathBuf> {
    let place = |path: &Path| {
        let root = fs::metadata(path).ok()?;
        Some((root.dev(), root.ino()))
    };
    let own = PathBuf::from("/");
    let mut hosts = PROCESSES
        .iter()
        .map(|process| Path::new(process).join("root"));
    let hosts = hosts.find(|root| place(root).is_some());
    let is_other = |root: &PathBuf| place(root) != place(&own);
    let hosts = hosts.filter(is_other);
    [own].into_iter().chain(hosts).collect()
}

/// What the host is called; what the agent's container is, where it may not see more.
pub(crate) fn name() -> Vec<u8> {
    let own = || rustix::system::uname().nodename().to_bytes().to_vec();
    // In a thread of its own: no other shall be in that namespace.
    let host = thread::Builder::new().spawn(move || enter_uts_namespace().ok().map(|()| own()));
    let host = host.ok().and_then(|thread| thread.join().ok());
    host.flatten().unwrap_or_else(own)
}

fn enter_uts_namespace() -> Result<()> {
    let of_process = |process| {
        let path = Path::new(process).join("ns/uts");
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let namespace = of_process(PROCESSES[0]).or_else(|_| of_process(PROCESSES[1]))?;
    let kind = LinkNameSpaceType::HostNameAndNISDomainName;
    move_into_link_name_space(namespace.as_fd(), Some(kind))
}
