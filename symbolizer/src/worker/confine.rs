//! A process that gives away all it may do, before it reads a byte that is not its own.

use std::io;

use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid, geteuid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

/// User and group that own nothing.
const NOBODY: u32 = 65534;
/// Mapped files and all else: a program of gigabytes may have little debug information.
const ADDRESS_SPACE: u64 = 4 << 30;
/// Memory that is no file's.
const DATA: u64 = 128 << 20;
/// Each of the files that are kept ready has a few: its own, those of debug files and of root directories.
const OPEN_FILES: u64 = 1024;

/// Confines this process, which must have one thread. The rest of its life it can use its socket, and open for reading what everyone
/// may read.
///
/// Some of it takes privileges: an agent without them has none to give away either, and one that systemd lets have some may lack
/// CAP_SETUID. So what is refused is left, but for what no kernel refuses.
///
/// `largest_file` bounds the files that it can write: to write beyond ends it. It needs some without a name, in memory.
pub(super) fn confine(largest_file: u64) -> io::Result<()> {
    close_inherited()?;
    ignore_requests_to_end();
    // SAFETY: a network of its own has nothing to do with descriptors.
    let _ = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    for capability in CapabilitySet::all() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let _ = set_thread_groups(&[]);
        let _ = set_thread_res_gid(gid, gid, gid);
        let _ = set_thread_res_uid(uid, uid, uid);
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, largest_file)?;
    limit(Resource::Nofile, OPEN_FILES)?;
    limit(Resource::Data, DATA)?;
    limit(Resource::As, ADDRESS_SPACE)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A change of user takes this back, so it comes last.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Closes all but standard input, output and error: whoever started the agent may have left it descriptors that survive an exec.
fn close_inherited() -> io::Result<()> {
    // SAFETY: nothing here has opened a descriptor yet.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ctrl-C goes to all processes of a terminal, and systemd's SIGTERM to all of a service, while the agent still has something to be named. When that
/// is gone the worker's socket and the death signal end it.
fn ignore_requests_to_end() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: it changes nothing but what the signal does.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Lowers a limit, if it is not lower already.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let limits = Rlimit {
        current: lower(now.current),
        maximum: lower(now.maximum),
    };
    Ok(setrlimit(resource, limits)?)
}
