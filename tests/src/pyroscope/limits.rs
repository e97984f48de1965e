//! What a default server takes, and the bucket it measures by.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Limits and demands of the server; the default is that of a real one, except that it answers at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Uncompressed profiles and labels, bytes a second.
    pub rate: f64,
    /// The same at once, bytes.
    pub burst: f64,
    /// One uncompressed profile, bytes.
    pub profile: usize,
    /// Samples of a profile.
    pub samples: usize,
    /// Labels of a sample.
    pub sample_labels: usize,
    /// Locations of a stack; more are cut off in silence, on the leaf's side.
    pub depth: usize,
    /// One string of a profile, bytes; a longer one is cut in silence.
    pub symbol: usize,
    /// Labels of a series.
    pub labels: usize,
    /// Name of a label, bytes.
    pub label_name: usize,
    /// Value of a label, bytes.
    pub label_value: usize,
    /// Oldest profile that is taken.
    pub older_than: Duration,
    /// How far ahead of the clock a profile may begin.
    pub newer_than: Duration,
    /// A request's body, bytes.
    pub body: usize,
    /// How long a push takes; the real server needs up to half a second.
    pub acknowledge_after: Duration,
    /// `Authorization` that a proxy before the server demands; else 401.
    pub authorization: Option<String>,
    /// Demand a valid `X-Scope-OrgID`; else 401.
    pub multitenancy: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rate: f64::from(4 << 20),
            burst: f64::from(2 << 20),
            profile: 4 << 20,
            samples: 16_000,
            sample_labels: 100,
            depth: 1000,
            symbol: 65_535,
            labels: 30,
            label_name: 1024,
            label_value: 2048,
            older_than: Duration::from_secs(3600),
            newer_than: Duration::from_secs(600),
            body: 256 << 20,
            acknowledge_after: Duration::ZERO,
            authorization: None,
            multitenancy: false,
        }
    }
}

/// Token bucket over uncompressed bytes.
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(limits: &Limits) -> Bucket {
        Bucket {
            rate: limits.rate,
            burst: limits.burst,
            level: Mutex::new((limits.burst, Instant::now())),
        }
    }

    /// Takes `size` bytes if they are there.
    pub(super) fn take(&self, size: usize) -> bool {
        let mut level = self.level.lock().unwrap();
        let now = Instant::now();
        let filled = (level.0 + (now - level.1).as_secs_f64() * self.rate).min(self.burst);
        let fits = size as f64 <= filled;
        *level = (if fits { filled - size as f64 } else { filled }, now);
        fits
    }
}
