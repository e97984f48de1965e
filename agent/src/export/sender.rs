//! What is done with every profile on its way to one server: it is sent by its client, and its fate is counted and said.

use super::complaints::Complaints;
use super::config::PushLimits;
use super::metrics::ExportMetrics;
use super::pace::Pace;
use super::parcel::Fate;
use super::request::Refusal;
use super::retry::Outcome;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tokio::time::Instant;

/// Sends the body of a push once.
pub(super) type Push =
    Box<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// Looks whether anybody answers there; if not, says how that ended.
pub(super) type Reach =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Outcome>> + Send>> + Send + Sync>;

/// Nanoseconds since the Unix epoch.
pub(super) type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// A server and the time there, or what plays them.
pub(super) struct Server {
    pub(super) push: Push,
    pub(super) reach: Reach,
    pub(super) clock: Clock,
}

/// Why a profile had to make room in memory.
pub(super) const QUEUE_FULL: &str = "it takes profiles slower than they come, or not at all";

pub(super) struct Sender {
    /// Name of this host.
    pub(super) node: String,
    pub(super) limits: PushLimits,
    pub(super) server: Server,
    pub(super) pace: Pace,
    pub(super) metrics: ExportMetrics,
    pub(super) complaints: Arc<Complaints>,
    /// Profiles that a shutdown cut short.
    pub(super) abandoned: AtomicU64,
    /// What is provisional is put on disk now.
    pub(super) keeps_provisional: AtomicBool,
}

impl Sender {
    pub(super) fn now_nanos(&self) -> i64 {
        (self.server.clock)()
    }

    pub(super) async fn push(&self, body: Bytes) -> Outcome {
        let (begin, size) = (Instant::now(), body.len());
        let outcome = (self.server.push)(body).await;
        self.metrics.pushed(outcome.code(), size, begin.elapsed());
        outcome
    }

    /// Counts what became of a profile of `service`.
    pub(super) fn count(&self, fate: Fate, service: &str) {
        match fate {
            Fate::Stored => self.complaints.stored(),
            Fate::Dropped(Refusal { reason, message }) => {
                self.metrics.dropped(reason);
                self.complaints.given_up(reason, service, &message);
            }
            Fate::Unknown(message) => {
                self.metrics.unknown(1);
                self.complaints.given_up("unknown", service, &message);
            }
        }
    }

    /// Counts a profile that had to make room in memory.
    pub(super) fn queue_full(&self, service: &str) {
        self.count(
            Fate::Dropped(Refusal {
                reason: "queue_full",
                message: QUEUE_FULL.to_owned(),
            }),
            service,
        );
    }
}
