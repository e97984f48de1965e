//! Whether a server takes profiles now, from how pushes to it end.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::Instant;

/// Pushes in a row that fail as bad payloads do, after which it is rather the server: it has a bad disk, say.
const FAILURES_IN_A_ROW: u32 = 3;

/// What is known of a server.
pub(super) struct Health {
    waits: ExponentialBuilder,
    outage: Option<Outage>,
    failures: u32,
}

struct Outage {
    since: Instant,
    /// When it is to be asked again.
    probe_at: Instant,
    backoff: ExponentialBackoff,
}

impl Health {
    /// Of a server about which nothing bad is known, and which is asked again after a failure at intervals that are `waits`.
    pub(super) fn new(waits: ExponentialBuilder) -> Health {
        Health {
            waits,
            outage: None,
            failures: 0,
        }
    }

    /// It answered for good, be it with a refusal: it is there.
    pub(super) fn answered(&mut self) {
        self.outage = None;
        self.failures = 0;
    }

    /// It failed on a payload that may be at fault.
    pub(super) fn failed_on_one(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= FAILURES_IN_A_ROW {
            self.is_out(now, Duration::ZERO);
        }
    }

    /// It did not take a profile that it may take later, and asks not to be tried again for the time `patience`.
    pub(super) fn is_out(&mut self, now: Instant, patience: Duration) {
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: now,
            probe_at: now,
            backoff: self.waits.build(),
        });
        // Of many pushes that fail together only the first makes the wait longer.
        if outage.probe_at <= now {
            let wait = outage.backoff.next().unwrap_or_default();
            outage.probe_at = now + wait.max(patience);
        }
    }

    /// Since when it takes nothing; none if it does.
    pub(super) fn out_since(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.since)
    }

    /// When it is to be asked again; none while it takes profiles.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.probe_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::config::PushLimits;

    fn health() -> Health {
        let limits = PushLimits {
            first_backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(30),
            ..PushLimits::default()
        };
        Health::new(limits.waits())
    }

    /// Waits double up to their longest; pushes that fail together are one failure; an answer ends it.
    #[tokio::test(start_paused = true)]
    async fn an_outage_is_asked_about_ever_more_seldom() {
        let mut health = health();
        let begin = Instant::now();
        let mut now = begin;
        let mut waits = Vec::new();
        for _ in 0..10 {
            for _ in 0..32 {
                health.is_out(now, Duration::ZERO);
            }
            let next = health.probe_at().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert!(waits[0] <= 2 && waits[1] <= 4, "{waits:?}");
        assert!(
            waits[6..].iter().all(|wait| (30..=60).contains(wait)),
            "{waits:?}"
        );
        assert_eq!(health.out_since(), Some(begin));
        health.answered();
        assert_eq!((health.out_since(), health.probe_at()), (None, None));
        health.is_out(now, Duration::from_secs(100));
        assert_eq!(health.probe_at(), Some(now + Duration::from_secs(100)));
    }

    /// One bad payload is no outage, however often it comes; three failures without a success between them are.
    #[tokio::test(start_paused = true)]
    async fn bad_payloads_are_no_outage() {
        let mut health = health();
        let now = Instant::now();
        for _ in 0..100 {
            health.failed_on_one(now);
            health.failed_on_one(now);
            health.answered();
        }
        assert!(health.out_since().is_none());
        (0..3).for_each(|_| health.failed_on_one(now));
        assert!(health.out_since().is_some());
    }
}
