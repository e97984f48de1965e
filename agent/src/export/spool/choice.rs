//! Which profiles are taken first, and how many.

use super::Spool;
use super::format::Sent;
use tokio::time::Instant;

/// How much to take.
#[derive(Clone, Copy, Debug)]
pub(in crate::export) struct Wanted {
    pub(in crate::export) now: Instant,
    /// Profiles that began before this are too old, nanoseconds since the Unix epoch.
    pub(in crate::export) oldest: i64,
    /// Profiles that began at this time or later are live.
    pub(in crate::export) live: i64,
    pub(in crate::export) profiles: usize,
    /// Of payload; one profile may be more.
    pub(in crate::export) bytes: usize,
    pub(in crate::export) order: Order,
}

/// Which profiles are taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::export) enum Order {
    /// The oldest of those that are live, and no other.
    Live,
    /// Those that are live, then the oldest.
    LiveFirst,
    /// The oldest, but none that was tried.
    Untried,
    /// Those that were tried least.
    LeastTried,
}

impl Spool {
    /// The places of segments, and of slots in them.
    pub(super) fn choose(&mut self, wanted: Wanted) -> Vec<(usize, Vec<usize>)> {
        let mut candidates = Vec::new();
        for (at, segment) in self.segments.iter_mut().enumerate() {
            for (place, slot) in segment.slots.iter_mut().enumerate() {
                if !slot.waits() {
                    continue;
                }
                if slot.entry.start < wanted.oldest {
                    self.losses.aged(slot.entry.sent);
                    // Its file goes when all of it is done, and is as old as this one.
                    slot.entry.sent = Sent::Done;
                    continue;
                }
                if slot.not_before.is_some_and(|at| at > wanted.now) {
                    continue;
                }
                let is_live = slot.entry.start >= wanted.live;
                candidates.push((at, place, slot.tries(), is_live, slot.entry.length()));
            }
        }
        match wanted.order {
            Order::Live => candidates.retain(|(_, _, _, is_live, _)| *is_live),
            Order::LiveFirst => candidates.sort_by_key(|(_, _, _, is_live, _)| !is_live),
            Order::Untried => candidates.retain(|(_, _, tries, _, _)| *tries == 0),
            Order::LeastTried => candidates.sort_by_key(|(_, _, tries, _, _)| *tries),
        }
        let mut chosen: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut bytes = 0;
        for (at, place, _, _, length) in candidates.into_iter().take(wanted.profiles) {
            bytes += length;
            if bytes > wanted.bytes && !chosen.is_empty() {
                break;
            }
            match chosen.last_mut() {
                Some((last, places)) if *last == at => places.push(place),
                _ => chosen.push((at, vec![place])),
            }
        }
        chosen
    }
}
