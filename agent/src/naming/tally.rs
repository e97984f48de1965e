//! Samples added up until they are due: of each identity or owner during an interval, of each thread during a capture.

use super::names::Names;
use crate::owner::{Identity, Owner};
use crate::sampling::{Sample, Window};
use bpf::{Thread, ThreadNames, Word};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Distinct stacks that are kept of one capture. Beyond, samples are counted, but not kept.
const CAPTURE_STACKS: usize = 2_000_000;

/// What an entry of a table of stacks or names takes beside the stack or name, about: itself in a table half full, and the counts of
/// an `Arc`.
const ENTRY_BYTES: usize = 2 * size_of::<(Arc<[Word]>, Sums)>() + 16;

/// What was added up for one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) amount: u64,
}

impl Sums {
    fn add(&mut self, amount: u64) {
        self.amount = self.amount.saturating_add(amount);
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Begin, nanoseconds since the Unix epoch.
    pub(crate) start_unix_nanos: i64,
    /// Length.
    pub(crate) duration: Duration,
}

impl Span {
    fn extend(span: &mut Option<Self>, start_unix_nanos: i64, duration: Duration) {
        let span = span.get_or_insert(Self {
            start_unix_nanos,
            duration: Duration::ZERO,
        });
        span.duration = span.duration.saturating_add(duration);
    }
}

/// Sums by stack.
pub(super) type Stacks = HashMap<Arc<[Word]>, Sums>;

/// Samples by whose they are.
#[derive(Clone)]
pub(super) struct Tally<K> {
    pub(super) span: Option<Span>,
    pub(super) stacks: HashMap<Arc<K>, Stacks>,
    pub(super) names: Names,
}

/// Whose they are is not asked before an interval is over.
pub(super) type IdentityTally = Tally<Identity>;
pub(super) type OwnerTally = Tally<Owner>;

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            span: None,
            stacks: HashMap::new(),
            names: Names::new(),
        }
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Adds sums that belong to `key`.
    pub(super) fn add_all(&mut self, key: Arc<K>, stacks: Stacks) {
        match self.stacks.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(stacks);
            }
            Entry::Occupied(mut entry) => {
                for (stack, sums) in stacks {
                    entry.get_mut().entry(stack).or_default().add(sums.amount);
                }
            }
        }
    }
}

impl OwnerTally {
    /// Memory that it takes, about; names are the namer's.
    pub(super) fn bytes(&self) -> usize {
        let stacks = self.stacks.values().flat_map(HashMap::keys);
        let stacks = stacks.map(|stack| size_of_val::<[Word]>(stack) + ENTRY_BYTES);
        let labels = self.stacks.keys().flat_map(|owner| owner.labels());
        let labels = labels.map(|(name, value)| name.len() + value.len() + ENTRY_BYTES);
        stacks.sum::<usize>() + labels.sum::<usize>() + self.names.len() * ENTRY_BYTES
    }
}

impl IdentityTally {
    /// Adds the samples of a window, but not their names.
    pub(super) fn add_window(&mut self, window: &Window) {
        self.extend(window.start_unix_nanos, window.duration);
        for sample in &window.samples {
            self.add(sample);
        }
    }

    pub(super) fn extend(&mut self, start_unix_nanos: i64, duration: Duration) {
        Span::extend(&mut self.span, start_unix_nanos, duration);
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let stacks = self.stacks.entry(Arc::clone(&sample.identity)).or_default();
        stacks
            .entry(Arc::clone(&sample.stack))
            .or_default()
            .add(sample.amount);
    }
}

/// What one thread did.
#[derive(Default)]
pub(super) struct OfThread {
    pub(super) names: Arc<ThreadNames>,
    pub(super) stacks: Stacks,
}

/// Samples by thread.
#[derive(Default)]
pub(super) struct ThreadTally {
    pub(super) span: Option<Span>,
    pub(super) threads: HashMap<Thread, OfThread>,
    /// Distinct stacks, summed over threads.
    stacks: usize,
    pub(super) names: Names,
    /// Samples beyond what is kept.
    pub(super) left_out: u64,
}

impl ThreadTally {
    pub(super) fn extend(&mut self, start_unix_nanos: i64, duration: Duration) {
        Span::extend(&mut self.span, start_unix_nanos, duration);
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let thread = self.threads.entry(sample.thread).or_default();
        // The last name counts: threads are often sampled before they have one of their own.
        thread.names = Arc::clone(&sample.names);
        if let Some(sums) = thread.stacks.get_mut(&sample.stack) {
            sums.add(sample.amount);
        } else if self.stacks < CAPTURE_STACKS {
            self.stacks += 1;
            thread
                .stacks
                .entry(Arc::clone(&sample.stack))
                .or_default()
                .add(sample.amount);
        } else {
            self.left_out = self.left_out.saturating_add(sample.events);
        }
    }
}
