//! When windows end: at multiples of their length on the wall clock, so that Grafana's steps hold whole ones.

use std::time::Duration;

/// Length of a window.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);

/// The wall clock may drift this far against the steady one during a window (slewing moves it by 2.5 ms in five
/// seconds); beyond, it was set.
const STEP: u64 = 100_000_000;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// CLOCK_REALTIME, nanoseconds since the Unix epoch.
    pub(crate) wall: i64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub(crate) steady: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self {
            wall: wall
                .tv_sec
                .saturating_mul(1_000_000_000)
                .saturating_add(wall.tv_nsec),
            steady: bpf::sideband::monotonic_nanos(),
        }
    }

    /// Steady time since an earlier moment.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.steady.saturating_sub(earlier.steady))
    }

    /// Whether the wall clock was set between an earlier moment and this one.
    pub(crate) fn clock_was_set_since(self, earlier: Self) -> bool {
        let wall = self.wall.saturating_sub(earlier.wall);
        let steady = i64::try_from(self.since(earlier).as_nanos()).unwrap_or(i64::MAX);
        wall.abs_diff(steady) > STEP
    }

    /// Whether a multiple of `length` on the wall clock lies between an earlier moment and this one.
    pub(crate) fn is_in_another(self, length: Duration, earlier: Self) -> bool {
        let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1);
        self.wall.div_euclid(length) != earlier.wall.div_euclid(length)
    }

    /// Time until the next multiple of `length` on the wall clock: more than nothing, at most `length`.
    pub(crate) fn until_multiple_of(self, length: Duration) -> Duration {
        let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1);
        Duration::from_nanos((length - self.wall.rem_euclid(length)).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(wall: i64, steady: i64) -> Moment {
        Moment {
            wall: wall * SECOND,
            steady: (steady * SECOND).unsigned_abs(),
        }
    }

    #[test]
    fn windows_end_at_multiples_of_their_length() {
        assert_eq!(
            at(1_000_001, 0).until_multiple_of(WINDOW),
            Duration::from_secs(4)
        );
        assert_eq!(
            at(1_000_000, 0).until_multiple_of(WINDOW),
            Duration::from_secs(5)
        );
        assert_eq!(at(-1, 0).until_multiple_of(WINDOW), Duration::from_secs(1));
    }

    #[test]
    fn an_interval_is_over_where_its_multiple_lies() {
        let interval = Duration::from_secs(15);
        assert!(at(30, 0).is_in_another(interval, at(25, 0)));
        assert!(!at(44, 0).is_in_another(interval, at(30, 0)));
        assert!(at(75, 0).is_in_another(interval, at(31, 0)));
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_either_way() {
        assert!(!at(105, 5).clock_was_set_since(at(100, 0)));
        assert!(at(205, 5).clock_was_set_since(at(100, 0)));
        assert!(at(50, 5).clock_was_set_since(at(100, 0)));
        // Suspended: the wall clock went on, the steady one did not.
        assert!(at(4000, 1).clock_was_set_since(at(100, 0)));
    }
}
