//! The last hour of profiles, in bounded memory, for the page and its downloads.

use crate::owner::Owner;
use crate::profile::{OwnerProfile, Profiles};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes the profiles may take where nothing else is said.
pub(crate) const DEFAULT_BUDGET: usize = 6 << 20;

/// How long a profile is kept if memory allows.
const KEPT: Duration = Duration::from_secs(3600);

/// Profiles of the last hour. Shared by the sampling side, which adds, and the page, which asks.
#[derive(Debug)]
pub(crate) struct Store {
    budget: usize,
    kept: Mutex<Kept>,
}

/// What was profiled over one window, or over the interval that windows were merged into.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// Begin, nanoseconds since the Unix epoch.
    pub(crate) start_unix_nanos: i64,
    /// Time sampled.
    pub(crate) duration: Duration,
    /// Ticks that were lost.
    pub(crate) lost: u64,
    /// The profiles: none where nothing ran.
    pub(crate) profiles: Profiles,
}

#[derive(Debug, Default)]
struct Kept {
    /// In the order they came in, which is the order of time while nobody sets the clock.
    stretches: VecDeque<Stretch>,
}

impl Store {
    /// One that keeps at most `budget` bytes of profiles.
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget,
            kept: Mutex::default(),
        }
    }

    /// Adds what one window counted.
    pub(crate) fn add_window(&self, mut window: Stretch) {
        // It is encoded before others have to wait for it.
        window.shrink_to(self.budget);
        self.kept().push(window, self.budget);
    }

    /// Replaces the windows that began within `interval` (nanoseconds since the Unix epoch) by their merged `profiles`.
    pub(crate) fn close_interval(&self, interval: Range<i64>, profiles: Vec<Arc<OwnerProfile>>) {
        let mut kept = self.kept();
        let mut merged = Stretch {
            start_unix_nanos: interval.start,
            duration: Duration::ZERO,
            lost: 0,
            profiles: Profiles::Encoded(profiles),
        };
        kept.stretches.retain(|window| {
            let replaced = interval.contains(&window.start_unix_nanos);
            if replaced {
                merged.duration = merged.duration.saturating_add(window.duration);
                merged.lost = merged.lost.saturating_add(window.lost);
            }
            !replaced
        });
        if merged.duration.is_zero() {
            // Its windows had to go before it was closed.
            let longest = merged.profiles.iter().map(|profile| profile.duration).max();
            merged.duration = longest.unwrap_or_default();
        }
        kept.push(merged, self.budget);
    }

    /// Puts `profiles` in the place of `provisional` ones in the interval that began at `start` (nanoseconds since the Unix epoch).
    pub(crate) fn amend_interval(
        &self,
        start: i64,
        provisional: &[Arc<OwnerProfile>],
        profiles: Vec<Arc<OwnerProfile>>,
    ) {
        let mut kept = self.kept();
        let Some(at) = kept
            .stretches
            .iter()
            .position(|stretch| stretch.start_unix_nanos == start)
        else {
            // It had to go meanwhile.
            return;
        };
        if let Some(mut stretch) = kept.stretches.remove(at) {
            // Not by their owners: rules may give a container the labels of another.
            let is_provisional = |profile: &Arc<OwnerProfile>| {
                let mut all = provisional.iter();
                all.any(|known| Arc::ptr_eq(known, profile))
            };
            let others = stretch.profiles.iter();
            let others = others.filter(|profile| !is_provisional(profile));
            stretch.profiles = Profiles::Encoded(others.cloned().chain(profiles).collect());
            kept.insert(at, stretch, self.budget);
        }
    }

    /// What began within `range` (nanoseconds since the Unix epoch), oldest first.
    pub(crate) fn stretches(&self, range: Range<i64>) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = self
            .kept()
            .stretches
            .iter()
            .filter(|stretch| range.contains(&stretch.start_unix_nanos))
            .cloned()
            .collect();
        found.sort_by_key(|stretch| stretch.start_unix_nanos);
        found
    }

    /// The profiles that began within `range` (milliseconds since the Unix epoch), oldest first: those of `owner`, or all.
    pub(crate) fn profiles(
        &self,
        owner: Option<&Owner>,
        range: Range<i64>,
    ) -> Vec<Arc<OwnerProfile>> {
        let nanos = range.start.saturating_mul(1_000_000)..range.end.saturating_mul(1_000_000);
        let stretches = self.stretches(nanos);
        stretches
            .iter()
            .flat_map(|stretch| stretch.profiles.iter())
            .filter(|profile| owner.is_none_or(|owner| *profile.owner == *owner))
            .cloned()
            .collect()
    }

    /// Begin of the oldest thing kept, nanoseconds since the Unix epoch.
    pub(crate) fn reaches_back_to(&self) -> Option<i64> {
        let kept = self.kept();
        let starts = kept
            .stretches
            .iter()
            .map(|stretch| stretch.start_unix_nanos);
        starts.min()
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.kept().bytes()
    }

    /// A reader that panicked has changed nothing.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stretch {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.profiles.bytes()
    }

    /// Lets go of the profiles with the least CPU time, until the rest fits. Encodes them, if they do not fit before.
    fn shrink_to(&mut self, budget: usize) {
        if self.bytes() <= budget {
            return;
        }
        let mut profiles = self.profiles.to_vec();
        profiles.sort_by_key(|profile| std::cmp::Reverse(profile.cpu_nanos));
        let mut bytes = size_of::<Self>();
        profiles.retain(|profile| {
            let with_it = bytes + profile.bytes();
            let fits = with_it <= budget;
            if fits {
                bytes = with_it;
            }
            fits
        });
        self.profiles = Profiles::Encoded(profiles);
    }
}

impl Kept {
    /// Adds `stretch` and lets go of the oldest until all fits.
    fn push(&mut self, stretch: Stretch, budget: usize) {
        self.insert(self.stretches.len(), stretch, budget);
    }

    fn insert(&mut self, at: usize, mut stretch: Stretch, budget: usize) {
        stretch.shrink_to(budget);
        let kept = i64::try_from(KEPT.as_nanos()).unwrap_or(i64::MAX);
        let oldest = stretch.start_unix_nanos.saturating_sub(kept);
        self.stretches.insert(at, stretch);
        let mut bytes = self.bytes();
        while let Some(front) = self.stretches.front()
            && (bytes > budget || front.start_unix_nanos < oldest)
            && self.stretches.len() > 1
        {
            // Somebody may look at it this moment, and it takes more.
            bytes = bytes.saturating_sub(front.bytes());
            self.stretches.pop_front();
        }
    }

    /// Added up each time: what somebody has looked at may take more than before.
    fn bytes(&self) -> usize {
        self.stretches.iter().map(Stretch::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SECOND: i64 = 1_000_000_000;

    fn owner(name: &str) -> Arc<Owner> {
        Arc::new(Owner::new(name.to_owned(), vec![]))
    }

    fn profile(name: &str, start: i64, cpu_nanos: u64, bytes: usize) -> Arc<OwnerProfile> {
        Arc::new(OwnerProfile {
            owner: owner(name),
            start_unix_nanos: start * SECOND,
            duration: Duration::from_secs(5),
            samples: 1,
            cpu_nanos,
            pprof: Bytes::from(vec![0; bytes]),
            raw_bytes: bytes,
        })
    }

    fn window(start: i64, profiles: Vec<Arc<OwnerProfile>>) -> Stretch {
        Stretch {
            start_unix_nanos: start * SECOND,
            duration: Duration::from_secs(5),
            lost: 2,
            profiles: Profiles::Encoded(profiles),
        }
    }

    fn names(profiles: &[Arc<OwnerProfile>]) -> Vec<&str> {
        profiles
            .iter()
            .map(|profile| profile.owner.service_name.as_str())
            .collect()
    }

    /// Begin included, end excluded, by owner: two ranges side by side show everything once.
    #[test]
    fn asked_by_time_and_owner() {
        let store = Store::new(DEFAULT_BUDGET);
        store.add_window(window(
            100,
            vec![profile("a", 100, 1, 0), profile("b", 100, 1, 0)],
        ));
        store.add_window(window(105, vec![profile("a", 105, 1, 0)]));
        let b = owner("b");
        assert_eq!(names(&store.profiles(None, 100_000..105_000)), ["a", "b"]);
        assert_eq!(names(&store.profiles(None, 105_000..110_000)), ["a"]);
        assert_eq!(names(&store.profiles(Some(&b), 0..i64::MAX)), ["b"]);
        assert!(store.profiles(None, 0..100_000).is_empty());
        assert!(store.profiles(None, i64::MIN..i64::MIN).is_empty());
        assert_eq!(store.reaches_back_to(), Some(100 * SECOND));
    }

    /// Windows make room for the interval they were merged into, whose time and losses are theirs; a window of the next
    /// interval that came in first stays.
    #[test]
    fn an_interval_replaces_its_windows() {
        let store = Store::new(DEFAULT_BUDGET);
        for start in [85, 90, 95, 100, 105] {
            store.add_window(window(start, vec![profile("w", start, 1, 10)]));
        }
        store.close_interval(
            90 * SECOND..105 * SECOND,
            vec![profile("merged", 90, 3, 10)],
        );
        assert_eq!(
            names(&store.profiles(None, 0..i64::MAX)),
            ["w", "merged", "w"]
        );
        let merged = &store.stretches(90 * SECOND..105 * SECOND)[0];
        assert_eq!(merged.duration, Duration::from_secs(15));
        assert_eq!(merged.lost, 6);
        assert_eq!(
            store.bytes(),
            3 * window(0, vec![profile("", 0, 1, 10)]).bytes()
        );
    }

    /// Profiles whose owners have become known take the place of those that were shown meanwhile, where and when these were, and not that of
    /// others, though they have the same owner.
    #[test]
    fn an_interval_is_amended() {
        let store = Store::new(DEFAULT_BUDGET);
        let provisional = profile("shop", 90, 1, 10);
        for start in [90, 105] {
            let seeming = match start {
                90 => Arc::clone(&provisional),
                _ => profile("docker-1", start, 1, 10),
            };
            let all = vec![
                profile("web", start, 1, 10),
                profile("shop", start, 1, 10),
                seeming,
            ];
            store.add_window(window(start, all));
        }
        let late = vec![profile("cart", 90, 1, 10)];
        store.amend_interval(90 * SECOND, &[Arc::clone(&provisional)], late.clone());
        let amended = ["web", "shop", "cart", "web", "shop", "docker-1"];
        assert_eq!(names(&store.profiles(None, 0..i64::MAX)), amended);
        let bytes = store.bytes();
        store.amend_interval(75 * SECOND, &[provisional], late);
        assert_eq!(names(&store.profiles(None, 0..i64::MAX)), amended);
        assert_eq!(store.bytes(), bytes);
        let three = || (0..3).map(|_| profile("", 0, 1, 10)).collect();
        assert_eq!(bytes, 2 * window(0, three()).bytes());
    }

    /// Memory stays within the budget, whatever comes; the oldest goes first and the store says how far it reaches.
    #[test]
    fn bounded_by_memory() {
        let store = Store::new(10_000);
        for start in 0..100 {
            store.add_window(window(start, vec![profile("a", start, 1, 1000)]));
            assert!(store.bytes() <= 10_000);
        }
        let reach = store.reaches_back_to().unwrap() / SECOND;
        assert!((85..99).contains(&reach), "{reach}");
        assert_eq!(store.profiles(None, 0..i64::MAX).len() as i64, 100 - reach);
    }

    /// Of one window that is larger than everything allowed, the owners with the most CPU time stay.
    #[test]
    fn a_window_larger_than_the_budget() {
        let store = Store::new(5_000);
        let profiles = (0..100).map(|cpu| profile(&cpu.to_string(), 7, cpu, 1000));
        store.add_window(window(7, profiles.collect()));
        assert!(store.bytes() <= 5_000);
        assert_eq!(
            names(&store.profiles(None, 0..i64::MAX)),
            ["99", "98", "97", "96"]
        );
    }

    /// A window that nobody looks at is never encoded, one that somebody does once; and one that takes more than everything allowed is
    /// encoded, of which as much stays as fits.
    #[test]
    fn windows_are_encoded_when_somebody_looks() {
        let encoded = Arc::new(AtomicUsize::new(0));
        let counted = |start, bytes| {
            let encoded = Arc::clone(&encoded);
            let profiles = Profiles::counted(bytes, move || {
                encoded.fetch_add(1, Ordering::Relaxed);
                vec![profile("a", start, 1, 1000)]
            });
            Stretch {
                profiles,
                ..window(start, vec![])
            }
        };
        let store = Store::new(10_000);
        store.add_window(counted(5, 4000));
        assert!((4000..5000).contains(&store.bytes()));
        store.close_interval(0..15 * SECOND, vec![]);
        store.add_window(counted(20, 4000));
        assert_eq!(encoded.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            assert_eq!(names(&store.profiles(None, 0..i64::MAX)), ["a"]);
        }
        assert_eq!(encoded.load(Ordering::Relaxed), 1);
        // What takes more than before it was encoded counts as it is.
        let small = Store::new(10_000);
        small.add_window(counted(5, 10));
        assert!(small.bytes() < 1000);
        small.profiles(None, 0..i64::MAX);
        assert!(small.bytes() > 1000);
        assert_eq!(encoded.swap(1, Ordering::Relaxed), 2);
        store.add_window(counted(25, 40_000));
        assert_eq!(encoded.load(Ordering::Relaxed), 2);
        assert!((1000..10_000).contains(&store.bytes()));
    }

    /// An hour back and no further; a clock that jumps a day ahead or to the ends of time breaks nothing.
    #[test]
    fn bounded_by_time() {
        let store = Store::new(DEFAULT_BUDGET);
        for start in (0..7200).step_by(15) {
            store.add_window(window(start, vec![]));
        }
        assert_eq!(store.reaches_back_to(), Some((7185 - 3600) * SECOND));
        store.add_window(window(100_000, vec![]));
        assert_eq!(store.reaches_back_to(), Some(100_000 * SECOND));
        for start_unix_nanos in [i64::MIN, i64::MAX] {
            store.add_window(Stretch {
                start_unix_nanos,
                ..window(0, vec![])
            });
        }
        assert_eq!(store.reaches_back_to(), Some(i64::MAX));
    }
}
