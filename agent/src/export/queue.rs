//! Profiles that wait to be sent, in bounded memory: who puts them in never waits.

use crate::profile::OwnerProfile;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

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

    /// Appends `batch`, to be sent `delay` from now, and returns what was dropped for it: the oldest first.
    pub(super) fn push(
        &self,
        batch: Vec<Arc<OwnerProfile>>,
        delay: Duration,
    ) -> Vec<Arc<OwnerProfile>> {
        let due = Instant::now() + delay;
        let mut state = self.state();
        state.bytes += batch.iter().map(|profile| cost(profile)).sum::<usize>();
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

    /// The oldest profile once it is due, or `None` when the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Arc<OwnerProfile>> {
        loop {
            let due = {
                let mut state = self.state();
                match state.waiting.front() {
                    Some(&(due, _)) if state.closed || due <= Instant::now() => return state.pop(),
                    Some(&(due, _)) => Some(due),
                    None if state.closed => return None,
                    None => None,
                }
            };
            match due {
                None => self.changed.notified().await,
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Takes no more, and makes what waits due at once.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Takes out all that waits.
    pub(super) fn clear(&self) -> Vec<Arc<OwnerProfile>> {
        let mut state = self.state();
        state.bytes = 0;
        state
            .waiting
            .drain(..)
            .map(|(_, profile)| profile)
            .collect()
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
            .flat_map(|batch| queue.push(batch, Duration::ZERO))
            .map(|profile| profile.start_unix_nanos)
            .collect();
        assert_eq!(dropped, [0, 0, 0, 1, 1, 1, 2, 2]);
        let mut held = Vec::new();
        queue.close();
        while let Some(profile) = queue.next().await {
            held.push(profile.start_unix_nanos);
        }
        assert_eq!(held, [2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
    }

    /// A batch larger than the whole queue leaves its newest part, not the whole of it.
    #[tokio::test]
    async fn one_batch_cannot_exceed_the_bound() {
        let queue = Queue::new(2 * (1000 + ENTRY_BYTES));
        let dropped = queue.push(
            (0..100).map(|at| profile_of_size(at, 1000)).collect(),
            Duration::ZERO,
        );
        assert_eq!(dropped.len(), 98);
        assert_eq!(queue.clear().len(), 2);
    }

    /// What is not due waits; closing makes it due, and ends the queue behind it.
    #[tokio::test(start_paused = true)]
    async fn profiles_wait_until_they_are_due() {
        let queue = Queue::new(1 << 20);
        let begin = Instant::now();
        queue.push(vec![profile_of_size(1, 10)], Duration::from_secs(5));
        queue.push(vec![profile_of_size(2, 10)], Duration::from_secs(500));
        assert_eq!(
            queue.next().await.map(|profile| profile.start_unix_nanos),
            Some(1)
        );
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
        queue.close();
        assert_eq!(
            queue.next().await.map(|profile| profile.start_unix_nanos),
            Some(2)
        );
        assert!(queue.next().await.is_none());
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
    }
}
