//! Files that are left alone for a while, because the worker hung in them or died of them.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// Files remembered. One that is forgotten costs another worker.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long a file is left alone the first time, and each time after it four times as long as before, but at most so long.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// What of a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    /// Its symbols could be read.
    Lines,
    All,
}

struct Refusal {
    what: Refused,
    until: Instant,
    pause: Duration,
}

/// By the number of the module.
pub(super) struct Refusals(LruCache<u64, Refusal>);

impl Refusals {
    pub(super) fn new() -> Self {
        Self(LruCache::new(REMEMBERED))
    }

    /// What of a module is to be left alone now.
    pub(super) fn of(&self, module: u64, now: Instant) -> Option<Refused> {
        let refusal = self.0.peek(&module)?;
        (now < refusal.until).then_some(refusal.what)
    }

    pub(super) fn refuse(&mut self, module: u64, what: Refused, now: Instant) {
        let before = self.0.get(&module).map(|refusal| refusal.pause);
        let pause = before.map_or(FIRST, |pause| (4 * pause).min(LONGEST));
        let until = now + pause;
        self.0.put(module, Refusal { what, until, pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file is left alone for a minute, then four, and at last for an hour; others are not.
    #[test]
    fn pauses_grow() {
        let mut refusals = Refusals::new();
        let mut now = Instant::now();
        assert_eq!(refusals.of(1, now), None);
        for minutes in [1, 4, 16, 60, 60] {
            refusals.refuse(1, Refused::Lines, now);
            let end = now + Duration::from_secs(60 * minutes);
            assert_eq!(
                refusals.of(1, end - Duration::from_secs(1)),
                Some(Refused::Lines)
            );
            assert_eq!(refusals.of(1, end), None);
            assert_eq!(refusals.of(2, now), None);
            now = end;
        }
    }
}
