//! What is known of one distinct content of files, and what a budget makes of many.

use super::builder::Contents;
use bpf::sideband::monotonic_nanos;
use bpf::{FileId, NoTable};
use std::collections::HashSet;

/// Windows after its last sample, or its loading, in which a table is not given up.
const KEPT_WINDOWS: u64 = 3;

/// One content: it has a slot in the kernel, whether or not its table is there.
pub(super) struct Content {
    /// Nothing until it is known what the file holds.
    pub(super) contents: Option<Contents>,
    pub(super) state: State,
    /// Its table is being built, or read from the cache.
    pub(super) loading: bool,
    /// Those that hold it.
    pub(super) files: HashSet<FileId>,
    /// Size of its table; 0 while it is unknown.
    pub(super) bytes: u64,
    /// Window of its last sample, or in which its table was loaded.
    pub(super) used: u64,
    /// When its table was first wanted, CLOCK_MONOTONIC nanoseconds; nothing once it was there.
    pub(super) since: Option<u64>,
    /// Times in a row that its table found no room although there should have been.
    pub(super) refusals: u32,
}

/// Whether its table is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is being read, or put into the kernel.
    Pending,
    Ready,
    Missing(NoTable),
}

impl Content {
    pub(super) fn of(file: FileId, window: u64) -> Self {
        Self {
            contents: None,
            state: State::Pending,
            loading: false,
            files: HashSet::from([file]),
            bytes: 0,
            used: window,
            since: Some(monotonic_nanos()),
            refusals: 0,
        }
    }

    /// A file that holds it was mapped then, CLOCK_MONOTONIC nanoseconds.
    pub(super) fn want_since(&mut self, time: u64) {
        self.since = self.since.map(|since| since.min(time));
    }

    /// Whether it was sampled in this window and has no table for want of room.
    pub(super) fn is_wanted(&self, window: u64) -> bool {
        let is_over_budget = self.state == State::Missing(NoTable::OverBudget);
        self.used == window && is_over_budget && !self.loading
    }

    /// Whether a table, or word that there is none, is of use. A file that was given up may be read after all, and one that was
    /// read in time may be given up in the same moment.
    pub(super) fn awaits(&self, has_table: bool) -> bool {
        let was_given_up = self.state == State::Missing(NoTable::Unreadable);
        self.loading || has_table && was_given_up
    }
}

/// What to do so that tables fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<K> {
    /// These go.
    pub(super) evict: Vec<K>,
    /// For these there is room.
    pub(super) load: Vec<K>,
}

/// Memory of tables, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) budget: u64,
    /// Taken by tables, those included that are to go but may still be in use.
    pub(super) used: u64,
}

impl Room {
    /// Bytes left.
    pub(super) fn free(self) -> u64 {
        self.budget.saturating_sub(self.used)
    }
}

/// An eighth is kept free, for what is mapped next. What goes is what has not been sampled for longest, and never what was
/// sampled lately.
pub(super) fn plan<'a, K: Copy + Ord>(
    contents: impl Iterator<Item = (K, &'a Content)> + Clone,
    window: u64,
    room: Room,
) -> Plan<K> {
    let mut plan = Plan {
        evict: Vec::new(),
        load: Vec::new(),
    };
    let mut free = room.free();
    let mut missing = room.budget / 8;
    let mut wanted: Vec<_> = contents
        .clone()
        .filter(|(_, content)| content.is_wanted(window) && content.bytes <= room.budget)
        .collect();
    // Small ones first: of these the most fit.
    wanted.sort_by_key(|(slot, content)| (content.bytes, *slot));
    for (slot, content) in wanted {
        // Free memory may be in places that are too small.
        let needed = (content.bytes << content.refusals.min(8)).min(room.budget);
        if needed <= free {
            free -= needed;
            plan.load.push(slot);
        } else {
            missing = missing.saturating_add(needed);
        }
    }
    let mut unused: Vec<_> = contents
        .filter(|(_, content)| {
            content.state == State::Ready && content.used + KEPT_WINDOWS < window
        })
        .collect();
    unused.sort_by_key(|(slot, content)| (content.used, *slot));
    for (slot, content) in unused {
        if free >= missing {
            break;
        }
        free += content.bytes;
        plan.evict.push(slot);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER_BUDGET: State = State::Missing(NoTable::OverBudget);

    fn content(state: State, bytes: u64, used: u64) -> Content {
        Content {
            state,
            bytes,
            ..Content::of(FileId::new(1).unwrap(), used)
        }
    }

    fn planned(contents: &[Content], used: u64) -> Plan<usize> {
        let room = Room { budget: 800, used };
        plan(contents.iter().enumerate(), 10, room)
    }

    /// While there is room nothing goes, however long it has not been used.
    #[test]
    fn with_room_all_stays() {
        let plan = planned(&[content(State::Ready, 700, 0)], 700);
        assert_eq!((plan.evict, plan.load), (vec![], vec![]));
    }

    /// Beyond seven eighths the oldest go, as many as it takes, and never one of the last windows.
    #[test]
    fn the_oldest_go() {
        let contents = [
            content(State::Ready, 300, 10),
            content(State::Ready, 40, 5),
            content(State::Ready, 300, 7),
            content(State::Ready, 50, 3),
            content(State::Ready, 90, 6),
            content(OVER_BUDGET, 500, 2),
        ];
        assert_eq!(planned(&contents, 780).evict, [3, 1]);
        assert!(planned(&contents[..1], 800).evict.is_empty());
    }

    /// What is sampled and has no table is loaded if it fits, else room is made for it; what is not sampled waits.
    #[test]
    fn what_is_sampled_comes_back() {
        let mut contents = [
            content(OVER_BUDGET, 60, 10),
            content(OVER_BUDGET, 60, 9),
            content(OVER_BUDGET, 90, 10),
            content(State::Ready, 300, 2),
            content(State::Ready, 300, 1),
        ];
        let plan = planned(&contents, 700);
        assert_eq!((plan.load, plan.evict), (vec![0], vec![4]));
        // Refused although it should have fit: more is made free before the next try.
        contents[0].refusals = 3;
        let plan = planned(&contents, 700);
        assert_eq!((plan.load, plan.evict), (vec![2], vec![4, 3]));
    }

    /// What is being loaded is not loaded a second time.
    #[test]
    fn each_is_loaded_once() {
        let mut content = content(OVER_BUDGET, 60, 10);
        content.loading = true;
        assert!(planned(&[content], 0).load.is_empty());
    }

    /// A late table is taken where there is none, and nothing that comes late takes a table away.
    #[test]
    fn the_better_news_wins() {
        let mut content = content(State::Pending, 60, 10);
        assert!(!content.awaits(false));
        content.loading = true;
        assert!(content.awaits(false));
        content.loading = false;
        content.state = State::Missing(NoTable::Unreadable);
        assert!(content.awaits(true) && !content.awaits(false));
        content.state = State::Ready;
        assert!(!content.awaits(true) && !content.awaits(false));
    }

    /// For what never fits nothing else goes.
    #[test]
    fn giants_are_left_out() {
        let contents = [content(OVER_BUDGET, 900, 10), content(State::Ready, 100, 1)];
        let plan = planned(&contents, 100);
        assert_eq!((plan.evict, plan.load), (vec![], vec![]));
    }
}
