//! What the walk in the kernel has been told of one program's mappings, and when it may be told more.

use super::PublishDelays;
use bpf::List;
use std::rc::Rc;

/// Least and most time between two tries to publish while a program is beginning, nanoseconds.
const RETRY: (u64, u64) = (100_000, 100_000_000);
/// Least time between two times that walks are told the same: memory may be made executable again and again.
const CONFIRM: u64 = 4_000_000;
/// Longest time between two tries of a program for whose list there is no memory, nanoseconds.
const REFUSED: u64 = 10_000_000_000;
/// Kernel memory of a list that was replaced is free only some milliseconds later, so a process that changes its mappings
/// without end may take this much at once, and so many bytes a second.
const BURST_BYTES: u64 = 256 << 10;
const BYTES_PER_SECOND: u64 = 128 << 10;

/// What the walk has been told, and when it may be told more.
#[derive(Default)]
pub(super) struct Publication {
    /// The mappings as they are now, in kernel memory; nothing until they have been written there.
    list: Option<Rc<List>>,
    /// CLOCK_MONOTONIC nanoseconds at which walks began to use that list; nothing while they do not.
    since: Option<u64>,
    /// When the first change was recorded that walks do not go by yet, CLOCK_MONOTONIC nanoseconds.
    waiting_since: Option<u64>,
    /// Some list of this program was published before.
    ever: bool,
    not_before: u64,
    pause: u64,
    /// It could not be published at once, which has been counted.
    refused: bool,
    /// When the bytes written so far would have been written at the allowed pace.
    paced_until: u64,
}

impl Publication {
    /// The mappings have changed: what was told is not true any more. One that was refused waits for its turn all the same.
    pub(super) fn outdate(&mut self) {
        self.list = None;
        self.since = None;
        if !self.refused {
            self.pause = 0;
            self.not_before = 0;
        }
    }

    /// The mappings are the same, but some of them are new: walks may not go by those until they are told again.
    pub(super) fn unconfirm(&mut self) {
        if let Some(since) = self.since.take() {
            self.not_before = self.not_before.max(since.saturating_add(CONFIRM));
        }
    }

    /// The list to be published; nothing if there is none of the mappings as they are now.
    pub(super) fn list(&self) -> Option<&Rc<List>> {
        self.list.as_ref()
    }

    /// There is a list.
    pub(super) fn has(&mut self, list: &Rc<List>) {
        self.list.get_or_insert_with(|| Rc::clone(list));
    }

    /// Walks use the list now.
    pub(super) fn done(&mut self, now: u64) {
        self.since = Some(now);
        self.refused = false;
        self.pause = 0;
        self.not_before = 0;
    }

    /// Whether walks use the list.
    pub(super) fn is_done(&self) -> bool {
        self.since.is_some()
    }

    /// The first or another change was recorded at `time`.
    pub(super) fn is_waiting(&mut self, time: u64) {
        self.waiting_since.get_or_insert(time);
    }

    /// Notes how long walks had to wait, if they go by the list now.
    pub(super) fn measure(&mut self, delays: &PublishDelays) {
        let Some(published) = self.since else {
            return;
        };
        let Some(recorded) = self.waiting_since.take() else {
            return;
        };
        let delay = published.saturating_sub(recorded) as f64 / 1e9;
        if std::mem::replace(&mut self.ever, true) {
            delays.mapping.observe(delay);
        } else {
            delays.program.observe(delay);
        }
    }

    /// What a fork made at `time` has: the kernel programs hand on what was published.
    pub(super) fn inherited(&self, time: u64) -> Self {
        Self {
            list: self.list.clone(),
            ever: true,
            since: self.since.filter(|since| *since < time),
            ..Self::default()
        }
    }

    /// When it may be published, CLOCK_MONOTONIC nanoseconds.
    pub(super) fn due(&self) -> u64 {
        self.not_before.max(self.pace())
    }

    /// When its process has paused for long enough.
    fn pace(&self) -> u64 {
        if self.list.is_some() {
            0
        } else {
            self.paced_until.saturating_sub(nanos_of(BURST_BYTES))
        }
    }

    /// Whether its process must wait for having written too much. True once, until it has been published.
    pub(super) fn is_paced(&mut self, now: u64) -> bool {
        self.pace() > now && self.is_refused()
    }

    /// Notes that it cannot be published at once. True the first time, until it has been published.
    pub(super) fn is_refused(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }

    /// Notes that a list of this size was written.
    pub(super) fn wrote(&mut self, bytes: u64, now: u64) {
        self.paced_until = self.paced_until.max(now).saturating_add(nanos_of(bytes));
    }

    /// Notes that it could not be published yet.
    pub(super) fn try_again(&mut self, now: u64) {
        self.pause = (self.pause * 2).clamp(RETRY.0, RETRY.1);
        self.not_before = now.saturating_add(self.pause);
    }

    /// Notes that it could not be published for want of memory.
    pub(super) fn try_later(&mut self, now: u64) {
        self.pause = (self.pause * 2).clamp(RETRY.1, REFUSED);
        self.not_before = now.saturating_add(self.pause);
    }
}

/// Time that writing so many bytes may take at least.
fn nanos_of(bytes: u64) -> u64 {
    bytes.saturating_mul(1_000_000_000) / BYTES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Of a process that changes its mappings all the time so many bytes are written, and no more.
    #[test]
    fn hostile_processes_are_paced() {
        let mut publication = Publication::default();
        let list = 32 << 10;
        let mut bytes = 0;
        let (mut written, mut refused) = (0, 0);
        for now in (SECOND..SECOND * 11).step_by(1_000_000) {
            publication.outdate();
            if publication.due() <= now {
                publication.wrote(list, now);
                publication.done(now);
                bytes += list;
                written += 1;
            }
            refused += u64::from(publication.is_paced(now));
        }
        // After the first burst each had to wait, and is counted once.
        assert!(
            (written / 2..=written).contains(&refused),
            "{refused} of {written}"
        );
        let most = BURST_BYTES + 10 * BYTES_PER_SECOND + 2 * list;
        assert!((most / 2..=most).contains(&bytes), "{bytes}");
    }

    /// A program that loads one library after the other is never held up.
    #[test]
    fn usual_programs_are_not_paced() {
        let mut publication = Publication::default();
        for (mappings, now) in (1..100).zip((SECOND..).step_by(1_000_000)) {
            publication.outdate();
            assert!(publication.due() <= now, "{mappings}");
            publication.wrote(32 * mappings, now);
        }
    }

    /// While a program is beginning it is tried again soon, and one that never does is not asked after without end.
    #[test]
    fn tries_become_rare() {
        let mut publication = Publication::default();
        let mut tries = 0;
        let mut now = SECOND;
        while now < 11 * SECOND {
            publication.try_again(now);
            now = publication.due();
            tries += 1;
        }
        assert!((100..120).contains(&tries), "{tries}");
    }

    /// A fork has what its parent had published before it, and nothing that was published later.
    #[test]
    fn forks_inherit() {
        let publication = Publication {
            since: Some(SECOND),
            ..Publication::default()
        };
        assert!(publication.inherited(2 * SECOND).is_done());
        assert!(!publication.inherited(SECOND).is_done());
    }
}
