//! What the naming of a window may take.

use std::time::{Duration, Instant};

/// For frames that are new to the agent. It has three windows' and the cache at a time.
const BYTES: usize = 8 << 20;
/// The time that a file has in a window at least, if it is asked about at all: to blame it for less would be unjust.
const LEAST: Duration = Duration::from_millis(200);

/// What is left of a window for files that are still to be asked about.
pub(super) struct Window {
    end: Instant,
    bytes: usize,
}

/// What one request may take of it: half. So files that hang, however many, leave something to those after them.
pub(super) struct Share {
    pub(super) deadline: Instant,
    pub(super) bytes: usize,
}

impl Window {
    pub(super) fn begin(time: Duration) -> Self {
        Self {
            end: Instant::now() + time,
            bytes: BYTES,
        }
    }

    /// Nothing when the window is as good as over.
    pub(super) fn share(&self) -> Option<Share> {
        let now = Instant::now();
        let time = self.end.saturating_duration_since(now) / 2;
        (time >= LEAST).then(|| Share {
            deadline: now + time,
            bytes: self.bytes / 2,
        })
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
