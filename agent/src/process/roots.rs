//! Root directories of processes, below which files that belong to a mapped one are looked for: its debug file, say.

use crate::host::PROCESSES;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A mount and a directory of it. While one of them is open, no other has these numbers.
type Place = (u64, u64);

/// The roots that are open: one for all processes of a container.
#[derive(Default)]
pub(super) struct Roots(Mutex<HashMap<Place, Weak<OwnedFd>>>);

impl Roots {
    /// The host's root, and that of a process if it still lives and has another: a file that two containers share would be named by
    /// what the first of them has put beside it, so the host is asked first.
    pub(super) fn of(&self, tgid: u32) -> Vec<Arc<OwnedFd>> {
        // An agent in a container has a root of its own, in which there is nothing of the host's. Without privileges that is all it can open.
        let roots = PROCESSES.map(|process| format!("{process}/root"));
        let roots = roots.iter().map(String::as_str).chain(["/"]);
        let host = roots.filter_map(|root| self.open(root).ok()).next();
        let process = self.open(&format!("/proc/{tgid}/root")).ok();
        let is_other =
            |process: &Arc<_>| host.as_ref().is_none_or(|host| !Arc::ptr_eq(process, host));
        let process = process.filter(is_other);
        host.into_iter().chain(process).collect()
    }

    fn open(&self, path: &str) -> io::Result<Arc<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let (what, how) = (StatxFlags::INO | StatxFlags::MNT_ID, AtFlags::EMPTY_PATH);
        let stat = rustix::fs::statx(&root, c"", how, what)?;
        let place = (stat.stx_mnt_id, stat.stx_ino);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = open.get(&place).and_then(Weak::upgrade) {
            return Ok(same);
        }
        open.retain(|_, root| root.strong_count() > 0);
        let root = Arc::new(root);
        open.insert(place, Arc::downgrade(&root));
        Ok(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of processes that share a root it is open once, and one that is gone has the host's.
    #[test]
    fn roots_are_shared() {
        let roots = Roots::default();
        let of_this = roots.of(std::process::id());
        assert_eq!(of_this.len(), 1);
        let of_gone = roots.of(5_000_000);
        assert!(Arc::ptr_eq(&of_this[0], &of_gone[0]));
        drop((of_this, of_gone));
        assert!(
            roots
                .0
                .lock()
                .unwrap()
                .values()
                .all(|root| root.strong_count() == 0)
        );
    }
}
