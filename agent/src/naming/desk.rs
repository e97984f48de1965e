//! Captures that are under way: what each wants, and who waits for it.

use crate::sampling::CaptureId;
use bpf::Counters;
use pprof_proto::pprof::Profile;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What a capture has caught.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Samples carry the labels `pid`, `comm`, `tid` and `thread`. Nothing if the capture never began.
    pub(crate) profile: Option<Profile>,
    /// Samples in it.
    pub(crate) samples: u64,
    /// Of them, those whose stack has more frames than fit: their roots are missing.
    pub(crate) too_deep: u64,
    /// Samples beyond what is kept of one capture.
    pub(crate) left_out: u64,
    /// What was counted and lost on the whole host meanwhile.
    pub(crate) counters: Counters,
}

/// A capture that is waited for.
pub(super) struct Waiting {
    /// One process, or all.
    pub(super) pid: Option<u32>,
    reply: oneshot::Sender<Captured>,
}

impl Waiting {
    pub(super) fn answer(self, captured: Captured) {
        // Whoever asked may have gone.
        let _ = self.reply.send(captured);
    }
}

/// All captures that are under way.
#[derive(Default)]
pub(crate) struct CaptureDesk {
    next: AtomicU64,
    waiting: Mutex<HashMap<CaptureId, Waiting>>,
}

impl CaptureDesk {
    /// Notes down a capture that is about to begin.
    pub(crate) fn open(&self, pid: Option<u32>) -> (CaptureId, oneshot::Receiver<Captured>) {
        let id = CaptureId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.lock().insert(id, Waiting { pid, reply });
        (id, answer)
    }

    /// Strikes out a capture that nobody waits for any more.
    pub(crate) fn cancel(&self, id: CaptureId) {
        self.lock().remove(&id);
    }

    /// Which process a capture is of; nothing if it is not waited for.
    pub(super) fn wanted(&self, id: CaptureId) -> Option<Option<u32>> {
        self.lock().get(&id).map(|waiting| waiting.pid)
    }

    pub(super) fn close(&self, id: CaptureId) -> Option<Waiting> {
        self.lock().remove(&id)
    }

    /// Nothing that holds the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, HashMap<CaptureId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
