//! One profile on its way: checked, paced, pushed, tried again, until it has its one fate.

use super::client::PushClient;
use super::complaints::Complaints;
use super::config::PushLimits;
use super::metrics::ExportMetrics;
use super::pace::Pace;
use super::request::{Refusal, Request};
use super::retry::{Decision, Outcome, RATE_LIMITED_RETRIES, decide};
use crate::profile::OwnerProfile;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// The server rejects what began more than an hour ago. A profile that would get there later than this is given up.
const OLDEST: Duration = Duration::from_secs(59 * 60);

/// What all profiles on their way to one server share.
pub(super) struct Sender {
    pub(super) node: String,
    pub(super) limits: PushLimits,
    pub(super) client: PushClient,
    pub(super) pace: Pace,
    pub(super) metrics: ExportMetrics,
    pub(super) complaints: Complaints,
    /// Profiles that a shutdown cut short.
    pub(super) abandoned: AtomicU64,
}

/// What became of a profile.
enum Fate {
    /// The server has it.
    Stored,
    /// It was given up, and the server does not have it.
    Dropped(Refusal),
    /// It was given up, and the server may have it.
    Unknown(String),
}

impl Sender {
    /// Takes `profile` to its fate, and counts that.
    pub(super) async fn deliver(self: Arc<Self>, profile: Arc<OwnerProfile>) {
        let mut trip = Trip {
            sender: &self,
            at_server: false,
            settled: false,
        };
        let fate = match Request::new(&profile, &self.node, now_nanos()) {
            Ok(request) => self.push_until_settled(&profile, &request, &mut trip).await,
            Err(refusal) => Fate::Dropped(refusal),
        };
        trip.settled = true;
        match fate {
            Fate::Stored => self.complaints.stored(),
            Fate::Dropped(Refusal { reason, message }) => {
                self.metrics.dropped(reason);
                self.complaints
                    .given_up(reason, &profile.owner.service_name, &message);
            }
            Fate::Unknown(message) => {
                self.metrics.unknown();
                self.complaints
                    .given_up("unknown", &profile.owner.service_name, &message);
            }
        }
    }

    async fn push_until_settled(
        &self,
        profile: &OwnerProfile,
        request: &Request,
        trip: &mut Trip<'_>,
    ) -> Fate {
        let mut backoff = ExponentialBuilder::default()
            .with_min_delay(self.limits.first_backoff)
            .with_max_delay(self.limits.longest_backoff)
            .with_jitter()
            .without_max_times()
            .build();
        let (mut rate_limited, mut late_retry_left, mut may_be_stored) = (0, true, false);
        loop {
            self.pace.admit(request.size).await;
            trip.at_server = true;
            let outcome = self.push_once(request).await;
            may_be_stored |= outcome.may_be_stored();
            trip.at_server = may_be_stored;
            let mut backoff = || backoff.next().unwrap_or(self.limits.longest_backoff);
            let wait = match decide(&outcome, request.size) {
                Decision::Stored => return Fate::Stored,
                Decision::Retry(after) => after.max(backoff()),
                Decision::RetryRateLimited(after) if rate_limited < RATE_LIMITED_RETRIES => {
                    rate_limited += 1;
                    after.max(backoff())
                }
                Decision::RetryOnceLate if late_retry_left => {
                    late_retry_left = false;
                    self.limits.late_retry
                }
                Decision::RetryRateLimited(_) | Decision::RetryOnceLate | Decision::Drop => {
                    return given_up(&outcome, may_be_stored);
                }
            };
            if age(profile) + wait > OLDEST {
                return given_up(&outcome, may_be_stored);
            }
            self.complaints.waits(&outcome.code(), outcome.message());
            sleep(wait).await;
            self.metrics.retried();
        }
    }

    async fn push_once(&self, request: &Request) -> Outcome {
        let begin = Instant::now();
        let outcome = self.client.push(request.body.clone()).await;
        self.metrics
            .pushed(outcome.code(), request.body.len(), begin.elapsed());
        outcome
    }
}

fn given_up(outcome: &Outcome, may_be_stored: bool) -> Fate {
    let message = outcome.message().to_owned();
    if may_be_stored {
        Fate::Unknown(message)
    } else {
        Fate::Dropped(Refusal {
            reason: outcome.reason(),
            message,
        })
    }
}

fn age(profile: &OwnerProfile) -> Duration {
    let nanos = now_nanos().saturating_sub(profile.start_unix_nanos).max(0);
    Duration::from_nanos(nanos.unsigned_abs())
}

/// Nanoseconds since the Unix epoch; 0 before it, and for ever after the year 2262.
fn now_nanos() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or_default()
}

/// Counts a profile whose way a shutdown cut short.
struct Trip<'a> {
    sender: &'a Sender,
    at_server: bool,
    settled: bool,
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.sender.abandoned.fetch_add(1, Ordering::Relaxed);
        if self.at_server {
            self.sender.metrics.unknown();
        } else {
            self.sender.metrics.dropped("shutdown");
        }
    }
}
