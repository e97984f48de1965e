//! The host's /proc, put where all of the agent looks for it.

use anyhow::{Context, Result};
use std::ffi::CStr;
use std::path::Path;
use std::{fs, io, ptr};

/// Where containers have it whose own /proc is another one, or which have none.
const PLACES: [&CStr; 2] = [c"/host/proc", c"/hostproc"];
const PROC: &CStr = c"/proc";

/// Mounts it at /proc, for this process and what it starts, if there is none or one of a pid namespace that this process is not in. It must
/// have no other threads yet: they would go on without.
pub(crate) fn mount() -> Result<()> {
    if shows_this(PROC) {
        return Ok(());
    }
    let Some(place) = PLACES.into_iter().find(|place| shows_this(place)) else {
        // Whoever needs it says what is missing.
        return Ok(());
    };
    mount_at_proc(place)
        .with_context(|| format!("cannot mount {} at /proc", place.to_string_lossy()))
}

/// Whether this process is in a /proc, which has no `self` for those of other pid namespaces.
fn shows_this(proc: &CStr) -> bool {
    Path::new(&*proc.to_string_lossy()).join("self/ns").exists()
}

fn mount_at_proc(place: &CStr) -> io::Result<()> {
    fs::create_dir_all("/proc")?;
    // SAFETY: it takes a number, and there is one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // What is mounted on the host later shall be seen, and nothing of here there.
    call_mount(c"none", c"/", libc::MS_REC | libc::MS_SLAVE)?;
    call_mount(place, PROC, libc::MS_BIND)
}

fn call_mount(source: &CStr, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let none = ptr::null();
    // SAFETY: the strings outlive the call; without a new file system there is neither type nor data.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, flags, none.cast()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
