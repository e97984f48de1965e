//! Profiles on their way to Pyroscope.
//!
//! ```text
//! submit ─► queue ─► request ─► pace ─► client ─► retry ─► one fate: stored, dropped for a reason, unknown
//!           bounded,  labels,    token   one push   by how     (all three counted)
//!           jitter    checked    bucket             it ended
//! ```
//!
//! The sampling side hands over and never waits: what does not fit is dropped oldest first, and counted. Pyroscope answers
//! 200 to much that it does not keep, keeps what it did not answer, and does not deduplicate; `request` and `retry` hold
//! what follows from that.

mod client;
mod complaints;
mod config;
mod deliver;
mod labels;
mod metrics;
mod pace;
mod queue;
mod request;
mod retry;
#[cfg(test)]
mod tests;

pub(crate) use config::{Credentials, PyroscopeConfig};
pub(crate) use metrics::ExportMetrics;

use crate::profile::OwnerProfile;
use anyhow::Result;
use deliver::Sender;
use queue::Queue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Pushes batches of profiles to one Pyroscope server.
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    sender: Arc<Sender>,
    jitter: Duration,
    halt: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts pushing from the host `node`, on the tokio runtime this is called in.
    ///
    /// # Errors
    ///
    /// One sentence on what is wrong with `config`. A server that cannot be reached is no error: profiles wait for it.
    pub(crate) fn start(
        config: &PyroscopeConfig,
        node: &str,
        metrics: ExportMetrics,
    ) -> Result<Exporter> {
        let limits = config.limits.clone();
        let sender = Arc::new(Sender {
            node: node.to_owned(),
            client: client::PushClient::new(config)?,
            pace: pace::Pace::new(limits.rate, limits.burst),
            metrics,
            complaints: complaints::Complaints::default(),
            abandoned: AtomicU64::new(0),
            limits,
        });
        let queue = Arc::new(Queue::new(sender.limits.queue_bytes));
        let halt = Arc::new(Notify::new());
        let task = tokio::spawn(run(queue.clone(), sender.clone(), halt.clone()));
        Ok(Exporter {
            queue,
            sender,
            jitter: pace::jitter(node, config.interval),
            halt,
            task,
        })
    }

    /// Hands over the profiles of an interval. Never waits, and may be called from any thread.
    pub(crate) fn submit(&self, batch: Vec<Arc<OwnerProfile>>) {
        for profile in self.queue.push(batch, self.jitter) {
            self.sender.metrics.dropped("queue_full");
            self.sender.complaints.given_up(
                "queue_full",
                &profile.owner.service_name,
                "pyroscope takes profiles slower than they come, or not at all",
            );
        }
    }

    /// Sends what is queued, for no longer than `limit`, and returns how many profiles that cut short: never sent, or
    /// sent and not acknowledged.
    pub(crate) async fn flush(mut self, limit: Duration) -> u64 {
        self.queue.close();
        if timeout(limit, &mut self.task).await.is_err() {
            self.halt.notify_one();
            // An error would be a panic of the task, whose profiles are counted as they are dropped.
            let _ = self.task.await;
        }
        self.sender.abandoned.load(Ordering::Relaxed)
    }
}

async fn run(queue: Arc<Queue>, sender: Arc<Sender>, halt: Arc<Notify>) {
    let mut in_flight = JoinSet::new();
    tokio::select! {
        () = send_all(&queue, &sender, &mut in_flight) => {}
        () = halt.notified() => {
            in_flight.shutdown().await;
            for _ in queue.clear() {
                sender.metrics.dropped("shutdown");
                sender.abandoned.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sends what comes through `queue` until it is closed and everything has its fate.
async fn send_all(queue: &Queue, sender: &Arc<Sender>, in_flight: &mut JoinSet<()>) {
    loop {
        while in_flight.len() >= sender.limits.in_flight.max(1) {
            in_flight.join_next().await;
        }
        let Some(profile) = queue.next().await else {
            break;
        };
        in_flight.spawn(sender.clone().deliver(profile));
    }
    while in_flight.join_next().await.is_some() {}
}
