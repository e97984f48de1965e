//! Profiles on their way to Pyroscope.
//!
//! ```text
//!            ┌─► courier of a server: queue, pace, client, retry, spool ─► one fate: stored, dropped for a reason, unknown
//! hand over ─┤                                                             (all three counted)
//!            └─► courier of another, which knows nothing of the first
//! ```
//!
//! The sampling side hands over and never waits. Pyroscope answers 200 to much that it does not keep, keeps what it did not answer, and does
//! not deduplicate; `request` and `retry` hold what follows from that, `courier` and `spool` what an outage does not lose.

mod authorization;
mod client;
mod complaints;
mod config;
mod courier;
mod disk;
mod health;
mod labels;
mod metrics;
mod pace;
mod parcel;
mod probe;
mod queue;
mod request;
mod retry;
mod sender;
mod spool;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use config::{Credentials, PushLimits, PyroscopeConfig, TlsFiles};
pub(crate) use disk::SpoolConfig;
pub(crate) use metrics::ExportMetrics;
pub(crate) use probe::probe;

use crate::profile::OwnerProfile;
use anyhow::Result;
use courier::Courier;
use disk::Disk;
use queue::Queue;
use sender::{Sender, Server};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long what is left may take to be put on disk at the end.
const LAST_WRITES: Duration = Duration::from_secs(20);

/// Pushes batches of profiles to one Pyroscope server.
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    sender: Arc<Sender>,
    jitter: Duration,
    halt: Arc<Notify>,
    /// None once it has been waited for.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Starts pushing from the host `node`, on the tokio runtime this is called in.
    ///
    /// # Errors
    ///
    /// One sentence on what is wrong with `config`. A server that cannot be reached is no error: profiles wait for it. Nor is a disk.
    pub(crate) fn start(
        config: &PyroscopeConfig,
        node: &str,
        metrics: ExportMetrics,
    ) -> Result<Exporter> {
        let client = Arc::new(client::PushClient::new(config)?);
        let reached = Arc::clone(&client);
        let server = Server {
            push: Box::new(move |body| {
                let client = Arc::clone(&client);
                Box::pin(async move { client.push(body).await })
            }),
            reach: Box::new(move || {
                let client = Arc::clone(&reached);
                Box::pin(async move { client.reach().await })
            }),
            clock: Box::new(now_nanos),
        };
        Ok(Exporter::with(config, node, metrics, server))
    }

    fn with(
        config: &PyroscopeConfig,
        node: &str,
        metrics: ExportMetrics,
        server: Server,
    ) -> Exporter {
        let limits = config.limits.clone();
        let metrics = metrics.of(&config.name);
        let complaints = Arc::new(complaints::Complaints::of(&config.name));
        let disk = Disk::new(
            config.spool.clone(),
            metrics.clone(),
            Arc::clone(&complaints),
        );
        let sender = Arc::new(Sender {
            node: node.to_owned(),
            server,
            pace: pace::Pace::new(limits.rate, limits.burst),
            metrics,
            complaints,
            abandoned: AtomicU64::new(0),
            keeps_provisional: AtomicBool::new(false),
            limits,
        });
        let queue = Arc::new(Queue::new(sender.limits.queue_bytes));
        let halt = Arc::new(Notify::new());
        let courier = Courier::new(Arc::clone(&sender), Arc::clone(&queue), disk);
        let task = tokio::spawn(courier.run(Arc::clone(&halt)));
        Exporter {
            queue,
            sender,
            jitter: pace::jitter(node, config.interval),
            halt,
            task: Mutex::new(Some(task)),
        }
    }

    /// Hands over the profiles of an interval, and all that is provisional now: in whose place others will be handed over. Never waits, and
    /// may be called from any thread.
    pub(crate) fn hand_over(
        &self,
        batch: Vec<Arc<OwnerProfile>>,
        provisional: Vec<Arc<OwnerProfile>>,
    ) {
        for profile in self.queue.push(batch, provisional, self.jitter) {
            self.sender.queue_full(&profile.owner.service_name);
        }
    }

    /// Whether what is provisional is put on disk now, because the server is in trouble.
    pub(crate) fn keeps_provisional(&self) -> bool {
        self.sender.keeps_provisional.load(Ordering::Relaxed)
    }

    /// Sends what is queued, for no longer than `limit`, and puts the rest on disk. Returns how many profiles that cut short: never sent, or
    /// sent and not acknowledged, and not on disk either.
    pub(crate) fn flush(&self, limit: Duration) -> impl Future<Output = u64> + Send + use<> {
        self.queue.close();
        let task = self.task.lock();
        let task = task.unwrap_or_else(PoisonError::into_inner).take();
        let (sender, halt) = (Arc::clone(&self.sender), Arc::clone(&self.halt));
        async move {
            if let Some(mut task) = task
                && timeout(limit, &mut task).await.is_err()
            {
                halt.notify_one();
                // An error would be a panic of the task, or a disk that hangs: nobody can count those profiles any more.
                let _ = timeout(LAST_WRITES, task).await;
            }
            sender.abandoned.load(Ordering::Relaxed)
        }
    }
}

/// Nanoseconds since the Unix epoch; 0 before it, and for ever after the year 2262.
fn now_nanos() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or_default()
}
