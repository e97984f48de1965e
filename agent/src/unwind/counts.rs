//! How many tables there are, and what has happened to them.

use super::content::{Content, State};
use bpf::NoTable;
use std::time::Duration;

/// What has happened to tables since the start, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableCounts {
    /// In the kernel now.
    pub(crate) ready: u64,
    /// Of distinct contents that were to have a table, now: those still being read, those that could not be read, and those for
    /// which there is no room.
    pub(crate) pending: u64,
    pub(crate) unreadable: u64,
    pub(crate) over_budget: u64,
    /// Built from files, and how long that took in all.
    pub(crate) built: u64,
    pub(crate) build_time: Duration,
    /// Found in the cache.
    pub(crate) cached: u64,
    /// Found no room when they were ready.
    pub(crate) refused: u64,
    /// Given up for others.
    pub(crate) evicted: u64,
    /// Mapped files that have none for want of a slot, now.
    pub(crate) without_slot: u64,
}

impl TableCounts {
    /// With one more content.
    pub(super) fn with(mut self, content: &Content) -> Self {
        match content.state {
            State::Pending => self.pending += 1,
            State::Ready => self.ready += 1,
            State::Missing(NoTable::NoRules) => {}
            State::Missing(NoTable::Unreadable) => self.unreadable += 1,
            State::Missing(NoTable::OverBudget) => self.over_budget += 1,
        }
        self
    }
}
