//! What becomes of every profile that is to be pushed, in numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Counters of the export. Every profile handed over is counted as stored (`thermograph_push_total{code="200"}`),
/// dropped or unknown, once.
#[derive(Clone, Debug)]
pub(crate) struct ExportMetrics {
    pushes: Family<Code, Counter>,
    dropped: Family<Reason, Counter>,
    unknown: Counter,
    retries: Counter,
    bytes: Counter,
    duration: Histogram,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl ExportMetrics {
    /// Creates the counters and registers them.
    pub(crate) fn new(registry: &mut Registry) -> ExportMetrics {
        let metrics = ExportMetrics {
            pushes: Family::default(),
            dropped: Family::default(),
            unknown: Counter::default(),
            retries: Counter::default(),
            bytes: Counter::default(),
            // 5 ms to 41 s: an answer takes up to half a second, a timeout 30.
            duration: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
        };
        registry.register(
            "thermograph_push",
            "Pushes by HTTP status or, where no answer came, by why: connect, timeout, reset",
            metrics.pushes.clone(),
        );
        registry.register(
            "thermograph_push_dropped",
            "Profiles that were given up, by reason",
            metrics.dropped.clone(),
        );
        registry.register(
            "thermograph_push_unknown",
            "Profiles given up without an answer, which the server may have stored",
            metrics.unknown.clone(),
        );
        registry.register(
            "thermograph_push_retries",
            "Pushes that were repeats",
            metrics.retries.clone(),
        );
        registry.register_with_unit(
            "thermograph_push",
            "Request bodies sent, repeats included",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register_with_unit(
            "thermograph_push_duration",
            "Time from a push to its answer or end",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    /// One push of `bytes` ended with `code` after `took`.
    pub(super) fn pushed(&self, code: String, bytes: usize, took: Duration) {
        self.pushes.get_or_create(&Code { code }).inc();
        self.bytes.inc_by(bytes as u64);
        self.duration.observe(took.as_secs_f64());
    }

    /// A push is about to be repeated.
    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    /// A profile was given up.
    pub(super) fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }

    /// A profile was given up that may be stored.
    pub(super) fn unknown(&self) {
        self.unknown.inc();
    }
}
