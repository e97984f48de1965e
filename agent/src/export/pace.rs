//! How fast profiles leave this host, and when in the interval it begins.

use leaky_bucket::{AcquireOwned, RateLimiter};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

/// Tokens come back this often. A finer step costs timer wake-ups and smooths nothing the server would notice.
const REFILL_EVERY: Duration = Duration::from_millis(100);

/// Lets through what the server's own token bucket would, a little less of it.
///
/// A default server takes 4 MiB/s of uncompressed profiles and labels with a bucket of 2 MiB, and answers 429 to the rest.
pub(super) struct Pace {
    bucket: Arc<RateLimiter>,
}

impl Pace {
    /// A bucket of `burst` bytes, full, that fills at `rate` bytes a second.
    pub(super) fn new(rate: usize, burst: usize) -> Pace {
        let refill = rate / (1000 / REFILL_EVERY.as_millis() as usize);
        let bucket = RateLimiter::builder()
            .max(burst.max(1))
            .initial(burst.max(1))
            .refill(refill.max(1))
            .interval(REFILL_EVERY)
            .build();
        Pace {
            bucket: Arc::new(bucket),
        }
    }

    /// Waits until `size` bytes may be sent. More than the burst waits for the bucket to be full and leaves it empty.
    pub(super) fn admit(&self, size: usize) -> AcquireOwned {
        let size = size.min(self.bucket.max());
        Arc::clone(&self.bucket).acquire_owned(size)
    }
}

/// How long after a batch is handed over this host begins to send it, so that the hosts of a fleet, whose intervals end
/// at the same moment, do not all send at once.
///
/// It is the same at every interval, and in the first half: the second is for the sending itself.
pub(super) fn jitter(node: &str, interval: Duration) -> Duration {
    // DefaultHasher has no random seed: a restarted agent keeps its place.
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(node);
    let share = (hash >> 32) as u32;
    interval.mul_f64(f64::from(share) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const INTERVAL: Duration = Duration::from_secs(15);

    /// The same host always begins at the same moment, always in the first half.
    #[test]
    fn jitter_is_stable_and_leaves_half_of_the_interval() {
        for host in 0..1000 {
            let node = format!("node-{host}.example");
            let first = jitter(&node, INTERVAL);
            assert_eq!(first, jitter(&node, INTERVAL));
            assert!(first <= INTERVAL / 2);
        }
    }

    /// A fleet of 1000 fills every half second of the first half about evenly: 67 on average.
    #[test]
    fn jitter_spreads_a_fleet() {
        let mut per_half_second = [0; 16];
        for host in 0..1000 {
            per_half_second
                [(jitter(&format!("node-{host}"), INTERVAL).as_millis() / 500) as usize] += 1;
        }
        assert!(
            per_half_second[..15]
                .iter()
                .all(|&hosts| (30..120).contains(&hosts)),
            "{per_half_second:?}"
        );
    }

    /// 32 profiles of 347 kB, of which a server rejects 25 when they come at once, never exceed a model of its bucket
    /// (2 MiB, 4 MiB/s), and take no longer than that bucket would need.
    #[tokio::test(start_paused = true)]
    async fn what_passes_fits_the_servers_bucket() {
        let pace = Pace::new(7 << 19, 3 << 19);
        let (begin, mut level, mut last) = (Instant::now(), f64::from(2 << 20), Instant::now());
        for _ in 0..32 {
            pace.admit(347_000).await;
            let now = Instant::now();
            level = (level + (now - last).as_secs_f64() * f64::from(4 << 20))
                .min(f64::from(2 << 20))
                - 347_000.0;
            last = now;
            assert!(
                level >= 0.0,
                "the server would answer 429 after {:?}",
                begin.elapsed()
            );
        }
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
    }

    /// What is larger than the burst goes through too, after it has waited.
    #[tokio::test(start_paused = true)]
    async fn larger_than_the_burst_still_passes() {
        let pace = Pace::new(1000, 100);
        pace.admit(5000).await;
        pace.admit(100).await;
    }
}
