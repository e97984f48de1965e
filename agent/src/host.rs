//! The host's processes, for an agent in a container that has process ids of its own.
//!
//! Kernel programs tell processes by their ids in the first pid namespace, which are those of the host's /proc. Where a container is
//! given that at another place, the agent makes it its own /proc: then whatever reads there finds the host's processes.

use anyhow::{Context, Result};
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs::{self, read_link};
use std::path::{Path, PathBuf};

const PROC: &str = "/proc";
/// The first pid namespace, on every kernel (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const FIRST: &str = "pid:[4026531836]";

/// Has /proc show the host's processes, if it shows the container's and another mount shows the host's. Otherwise nothing changes.
/// To be called before there are threads: each would keep the mounts that it has.
pub(crate) fn see_processes() -> Result<()> {
    if read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace == Path::new(FIRST)) {
        return Ok(());
    }
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let Some(of_host) = mounts_of_processes(&table).find(|mount| shows_host(mount)) else {
        return Ok(());
    };
    make_own(&of_host).with_context(|| {
        format!(
            "this container has process ids of its own, and {}, which shows the host's processes, cannot become its /proc: give it \
             CAP_SYS_ADMIN, or the host's pid namespace (docker run --pid=host, hostPID: true)",
            of_host.display()
        )
    })
}

/// Id of this process where the kernel and /proc tell processes by theirs.
pub(crate) fn own_id() -> u32 {
    let id = read_link("/proc/self").ok();
    let id = id.and_then(|link| link.to_str()?.parse().ok());
    id.unwrap_or_else(std::process::id)
}

/// Where /proc of some pid namespace is mounted, beside the usual place.
fn mounts_of_processes(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        let is_other = file_system.starts_with("proc ") && root == "/" && path != PROC;
        is_other.then(|| PathBuf::from(path))
    })
}

/// The parent of all kernel threads is the second process of the first namespace, and may be looked at where the first one may not.
fn shows_host(mount: &Path) -> bool {
    read_link(mount.join("2/ns/pid")).is_ok_and(|namespace| namespace == Path::new(FIRST))
}

fn make_own(of_host: &Path) -> rustix::io::Result<()> {
    // SAFETY: there are no other threads, and descriptors are not touched.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What is mounted from here on concerns nobody else.
    let own = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", own)?;
    mount_bind_recursive(of_host, PROC)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container that was given the host's /proc beside its own, and masked parts of its own as engines mount them.
    #[test]
    fn other_mounts_of_processes() {
        let table = b"\
700 650 0:50 / /proc rw,nosuid - proc proc rw
701 700 0:50 /sys /proc/sys ro,nosuid - proc proc rw
702 650 0:22 / /host/proc ro,relatime master:12 - proc proc rw
703 650 0:23 / /host/process rw - tmpfs tmpfs rw
\xff
704 650";
        let mounts: Vec<PathBuf> = mounts_of_processes(table).collect();
        assert_eq!(mounts, [PathBuf::from("/host/proc")]);
    }

    /// Where nothing is missing nothing changes: this process has the id that it knows.
    #[test]
    fn this_process_has_its_id() {
        assert_eq!(own_id(), std::process::id());
    }
}
