//! Profiles that wait to be sent, in bounded memory: who puts them in never waits.

use crate::profile::OwnerProfile;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a waiting profile takes beside its pprof: the entry, the profile's fields, its owner's names.
const ENTRY_BYTES: usize = 512;

/// A queue of profiles bounded in bytes, for one reader.
pub(super) struct Queue {
    most_bytes: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, Arc<OwnerProfile>)>,
    bytes: usize,
    /// What is provisional now, if nobody has learned of it yet.
    provisional: Option<Vec<Arc<OwnerProfile>>>,
    closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<Arc<OwnerProfile>> {
        let (_, profile) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&profile));
        Some(profile)
    }
}

fn cost(profile: &OwnerProfile) -> usize {
    profile.pprof.len() + ENTRY_BYTES
}

impl Queue {
    /// An empty queue that holds no more than `most_bytes`.
    pub(super) fn new(most_bytes: usize) -> Queue {
        Queue {
            most_bytes,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Appends `batch`, to be sent `delay` from now, and returns what was dropped for it: the oldest first. `provisional` takes the place of
    /// what was provisional before.
    pub(super) fn push(
        &self,
        batch: Vec<Arc<OwnerProfile>>,
        provisional: Vec<Arc<OwnerProfile>>,
        delay: Duration,
    ) -> Vec<Arc<OwnerProfile>> {
        let due = Instant::now() + delay;
        let mut state = self.state();
        state.bytes += batch.iter().map(|profile| cost(profile)).sum::<usize>();
        state.provisional = Some(provisional);
        state
            .waiting
            .extend(batch.into_iter().map(|profile| (due, profile)));
        let mut dropped = Vec::new();
        while state.bytes > self.most_bytes {
            let Some(oldest) = state.pop() else { break };
            dropped.push(oldest);
        }
        drop(state);
        self.changed.notify_one();
        dropped
    }

    /// What is provisional now, if that has changed.
    pub(super) fn provisional(&self) -> Option<Vec<Arc<OwnerProfile>>> {
        self.state().provisional.take()
    }

    /// The oldest profile, if it is due or need not be. Nothing while it is not known what is provisional: it may have come in its place.
    pub(super) fn pop(&self, if_due: bool) -> Option<Arc<OwnerProfile>> {
        let mut state = self.state();
        if state.provisional.is_some() {
            return None;
        }
        let (due, _) = state.waiting.front()?;
        if if_due && !state.closed && *due > Instant::now() {
            return None;
        }
        state.pop()
    }

    /// When the oldest profile is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state();
        let (due, _) = state.waiting.front()?;
        Some(if state.closed { Instant::now() } else { *due })
    }

    /// Waits until something was put in, or the queue was closed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Takes no more, and makes what waits due at once.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::profile_of_size;

    /// However much is put in, what is held stays below the bound, and it is the newest.
    #[tokio::test]
    async fn the_oldest_go_first() {
        let queue = Queue::new(10 * (1000 + ENTRY_BYTES));
        let batches: Vec<Vec<_>> = (0..6)
            .map(|batch| (0..3).map(|_| profile_of_size(batch, 1000)).collect())
            .collect();
        let dropped: Vec<i64> = batches
            .into_iter()
            .flat_map(|batch| queue.push(batch, vec![], Duration::ZERO))
            .map(|profile| profile.start_unix_nanos)
            .collect();
        assert_eq!(dropped, [0, 0, 0, 1, 1, 1, 2, 2]);
        assert!(queue.pop(true).is_none() && queue.provisional().is_some());
        let held: Vec<i64> = std::iter::from_fn(|| queue.pop(true))
            .map(|profile| profile.start_unix_nanos)
            .collect();
        assert_eq!(held, [2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
    }

    /// A batch larger than the whole queue leaves its newest part, not the whole of it.
    #[tokio::test]
    async fn one_batch_cannot_exceed_the_bound() {
        let queue = Queue::new(2 * (1000 + ENTRY_BYTES));
        let dropped = queue.push(
            (0..100).map(|at| profile_of_size(at, 1000)).collect(),
            vec![],
            Duration::ZERO,
        );
        assert_eq!(dropped.len(), 98);
        queue.provisional();
        assert_eq!(std::iter::from_fn(|| queue.pop(true)).count(), 2);
        assert_eq!(queue.bytes(), 0);
    }

    /// What is not due waits; closing makes it due, and ends the queue behind it.
    #[tokio::test(start_paused = true)]
    async fn profiles_wait_until_they_are_due() {
        let queue = Queue::new(1 << 20);
        let begin = Instant::now();
        let start = |profile: Arc<OwnerProfile>| profile.start_unix_nanos;
        queue.push(vec![profile_of_size(1, 10)], vec![], Duration::from_secs(5));
        queue.push(
            vec![profile_of_size(2, 10)],
            vec![],
            Duration::from_secs(500),
        );
        queue.provisional();
        assert_eq!(queue.due(), Some(begin + Duration::from_secs(5)));
        assert!(queue.pop(true).is_none());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(queue.pop(true).map(start), Some(1));
        assert!(queue.pop(true).is_none());
        queue.close();
        assert_eq!(queue.pop(true).map(start), Some(2));
        assert!(queue.is_empty() && queue.due().is_none());
    }
}
