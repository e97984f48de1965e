//! What becomes of every profile that is to be pushed, in numbers.

use super::spool::Losses;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Counters of the export to one server. Every profile handed over is counted as stored (`thermograph_push_total{code="200"}`), dropped or
/// unknown, once; what outlives the agent on disk, by the agent that ends its way.
#[derive(Clone, Debug)]
pub(crate) struct ExportMetrics {
    destination: String,
    pushes: Family<Code, Counter>,
    dropped: Family<Reason, Counter>,
    unknown: Family<Destination, Counter>,
    repeated_unknown: Family<Destination, Counter>,
    retries: Family<Destination, Counter>,
    bytes: Family<Destination, Counter>,
    duration: Family<Destination, Histogram, fn() -> Histogram>,
    spooled: Family<Destination, Counter>,
    spool_sent: Family<Destination, Counter>,
    spool_failures: Family<Destination, Counter>,
    spool_bytes: Family<Destination, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Destination {
    destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    destination: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    destination: String,
    reason: &'static str,
}

/// 5 ms to 41 s: an answer takes up to half a second, a timeout 30.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl ExportMetrics {
    /// Creates the counters of all servers and registers them.
    pub(crate) fn new(registry: &mut Registry) -> ExportMetrics {
        let metrics = ExportMetrics {
            destination: String::new(),
            pushes: Family::default(),
            dropped: Family::default(),
            unknown: Family::default(),
            repeated_unknown: Family::default(),
            retries: Family::default(),
            bytes: Family::default(),
            duration: Family::new_with_constructor(durations),
            spooled: Family::default(),
            spool_sent: Family::default(),
            spool_failures: Family::default(),
            spool_bytes: Family::default(),
        };
        metrics.register_pushes(registry);
        metrics.register_spool(registry);
        metrics
    }

    fn register_pushes(&self, registry: &mut Registry) {
        registry.register(
            "thermograph_push",
            "Pushes by HTTP status or, where no answer came, by why: connect, timeout, reset",
            self.pushes.clone(),
        );
        registry.register(
            "thermograph_push_dropped",
            "Profiles that were given up, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "thermograph_push_unknown",
            "Profiles given up without an answer, which the server may have stored",
            self.unknown.clone(),
        );
        registry.register(
            "thermograph_push_repeated_unknown",
            "Profiles sent once more that the server may have stored: those that it has count twice there",
            self.repeated_unknown.clone(),
        );
        registry.register(
            "thermograph_push_retries",
            "Pushes that were repeats",
            self.retries.clone(),
        );
        registry.register_with_unit(
            "thermograph_push",
            "Request bodies sent, repeats included",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register_with_unit(
            "thermograph_push_duration",
            "Time from a push to its answer or end",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    fn register_spool(&self, registry: &mut Registry) {
        registry.register(
            "thermograph_spool_profiles",
            "Profiles put on disk because the server did not take them",
            self.spooled.clone(),
        );
        registry.register(
            "thermograph_spool_sent",
            "Profiles from disk that the server has stored",
            self.spool_sent.clone(),
        );
        registry.register(
            "thermograph_spool_failures",
            "Times that the disk failed: profiles stay in memory then",
            self.spool_failures.clone(),
        );
        registry.register_with_unit(
            "thermograph_spool",
            "Profiles on disk",
            Unit::Bytes,
            self.spool_bytes.clone(),
        );
    }

    /// Those of the server called `destination`.
    pub(super) fn of(&self, destination: &str) -> ExportMetrics {
        let metrics = ExportMetrics {
            destination: destination.to_owned(),
            ..self.clone()
        };
        // What is 0 is better seen than missing.
        for family in [
            &metrics.unknown,
            &metrics.repeated_unknown,
            &metrics.retries,
            &metrics.bytes,
            &metrics.spooled,
            &metrics.spool_sent,
            &metrics.spool_failures,
        ] {
            metrics.add(family, 0);
        }
        metrics.spool_bytes(0);
        metrics
    }

    fn label(&self) -> Destination {
        Destination {
            destination: self.destination.clone(),
        }
    }

    fn add(&self, family: &Family<Destination, Counter>, count: u64) {
        family.get_or_create(&self.label()).inc_by(count);
    }

    fn add_dropped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            let destination = self.destination.clone();
            let reason = Reason {
                destination,
                reason,
            };
            self.dropped.get_or_create(&reason).inc_by(count);
        }
    }

    /// One push of `bytes` ended with `code` after `took`.
    pub(super) fn pushed(&self, code: String, bytes: usize, took: Duration) {
        let destination = self.destination.clone();
        self.pushes.get_or_create(&Code { destination, code }).inc();
        self.add(&self.bytes, bytes as u64);
        self.duration
            .get_or_create(&self.label())
            .observe(took.as_secs_f64());
    }

    /// A push is about to be repeated.
    pub(super) fn retried(&self) {
        self.add(&self.retries, 1);
    }

    /// A profile that may be stored is about to be sent once more.
    pub(super) fn repeated_unknown(&self) {
        self.add(&self.repeated_unknown, 1);
    }

    /// A profile was given up.
    pub(super) fn dropped(&self, reason: &'static str) {
        self.add_dropped(reason, 1);
    }

    /// Profiles were given up that may be stored.
    pub(super) fn unknown(&self, count: u64) {
        self.add(&self.unknown, count);
    }

    /// Profiles were put on disk.
    pub(super) fn spooled(&self, count: u64) {
        self.add(&self.spooled, count);
    }

    /// A profile from disk was stored.
    pub(super) fn spool_sent(&self) {
        self.add(&self.spool_sent, 1);
    }

    /// The disk failed.
    pub(super) fn spool_failed(&self) {
        self.add(&self.spool_failures, 1);
    }

    /// So much is on disk.
    pub(super) fn spool_bytes(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.spool_bytes.get_or_create(&self.label()).set(bytes);
    }

    /// Profiles on disk are gone.
    pub(super) fn spool_lost(&self, losses: Losses) {
        self.add_dropped("spool_full", losses.spool_full);
        self.add_dropped("too_old", losses.too_old);
        self.add_dropped("spool_corrupt", losses.corrupt);
        self.unknown(losses.unknown);
    }
}
