//! One profile on its way to one server, and what follows for it from how a push of it ended.

use super::config::PushLimits;
use super::request::{Refusal, Request};
use super::retry::{Decision, Outcome, RATE_LIMITED_RETRIES, decide};
use super::spool::{Entrusted, Sent, Settled, Taken, Ticket};
use crate::profile::OwnerProfile;
use backon::BackoffBuilder;
use bytes::Bytes;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;

/// The server rejects what began more than an hour ago. A profile that would get there later than this is given up.
pub(super) const OLDEST: Duration = Duration::from_secs(59 * 60);

/// More than the headers of a file and of a profile in it, and those of its fields, take.
const HEADERS: usize = 96;

/// A profile as it is sent, whether it comes from memory or from the spool.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// Whose it is, for the log.
    pub(super) service: String,
    /// Begin, nanoseconds since the Unix epoch.
    pub(super) start: i64,
    pub(super) request: Request,
    /// What came of it before.
    pub(super) sent: Sent,
    /// Times that the server refused it for now.
    pub(super) strikes: u32,
    /// It has been sent by this process.
    pub(super) is_repeat: bool,
    /// When it may be sent, again or at all.
    pub(super) not_before: Instant,
    /// Where it lies on disk, if it does.
    pub(super) ticket: Option<Ticket>,
}

/// What becomes of a parcel after a push.
#[derive(Debug)]
pub(super) enum Next {
    /// It needs no further push.
    Settled(Fate),
    /// It is to be sent again, after some time.
    Later(Duration),
}

/// How the way of a profile ends.
#[derive(Debug)]
pub(super) enum Fate {
    /// The server has it.
    Stored,
    /// It was given up, and the server does not have it.
    Dropped(Refusal),
    /// It was given up, and the server may have it.
    Unknown(String),
}

/// A parcel on disk.
#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
}

impl Parcel {
    /// Packs `profile`, unless the server would not take it.
    pub(super) fn new(profile: &OwnerProfile, node: &str, now_nanos: i64) -> Result<Self, Refusal> {
        Ok(Self {
            request: Request::new(profile, node, now_nanos)?,
            service: profile.owner.service_name.clone(),
            start: profile.start_unix_nanos,
            sent: Sent::Never,
            strikes: 0,
            is_repeat: false,
            not_before: Instant::now(),
            ticket: None,
        })
    }

    /// One from the spool; nothing if it makes no sense.
    pub(super) fn unpack(taken: Taken) -> Option<Self> {
        let packed = Packed::decode(Bytes::from(taken.payload)).ok()?;
        Some(Self {
            service: packed.service,
            start: taken.start,
            request: Request {
                body: packed.body,
                size: usize::try_from(packed.size).ok()?,
            },
            sent: taken.sent,
            strikes: taken.strikes,
            is_repeat: taken.sent != Sent::Never,
            not_before: Instant::now(),
            ticket: Some(taken.ticket),
        })
    }

    /// What it takes on disk at most, as a file of its own.
    pub(super) fn packed_bytes(&self) -> usize {
        self.request.body.len() + self.service.len() + HEADERS
    }

    /// What goes on disk of it.
    pub(super) fn pack(&self, is_on_its_way: bool) -> Entrusted {
        let packed = Packed {
            service: self.service.clone(),
            size: self.request.size as u64,
            body: self.request.body.clone(),
        };
        Entrusted {
            sent: if is_on_its_way {
                self.sent.on_its_way()
            } else {
                self.sent
            },
            is_on_its_way,
            strikes: self.strikes,
            not_before: Some(self.not_before),
            start: self.start,
            payload: packed.encode_to_vec(),
        }
    }

    /// How it goes back to disk, if it came from there.
    pub(super) fn unsettled(&self) -> Option<Settled> {
        Some(Settled {
            ticket: self.ticket?,
            sent: self.sent,
            strikes: self.strikes,
            not_before: Some(self.not_before),
        })
    }

    /// Learns how a push of it ended. What may be with the server is sent once more, late, and so is what may be at fault itself.
    pub(super) fn pushed(&mut self, outcome: &Outcome, limits: &PushLimits) -> Next {
        let wait = match decide(outcome, self.request.size) {
            Decision::Stored => return Next::Settled(Fate::Stored),
            Decision::Retry(after) => after,
            Decision::RetryRateLimited(after) if self.strikes < RATE_LIMITED_RETRIES => {
                // The server takes smaller ones meanwhile: without a wait of its own, this one would use up its tries in a second.
                let wait = limits.waits().build().nth(self.strikes as usize);
                self.strikes += 1;
                after.max(wait.unwrap_or_default())
            }
            Decision::RetryOnceLate if self.sent == Sent::Never => {
                self.sent = if outcome.may_be_stored() {
                    Sent::Once
                } else {
                    Sent::Failed
                };
                limits.late_retry
            }
            Decision::RetryRateLimited(_) | Decision::RetryOnceLate | Decision::Drop => {
                return Next::Settled(self.given_up(outcome));
            }
        };
        self.is_repeat = true;
        Next::Later(wait)
    }

    /// How often it has been tried, as far as that counts.
    pub(super) fn tries(&self) -> u32 {
        self.strikes + u32::from(self.sent != Sent::Never)
    }

    fn given_up(&self, outcome: &Outcome) -> Fate {
        let message = outcome.message().to_owned();
        // A refusal of the repeat says nothing of the first push.
        if self.sent == Sent::Once || outcome.may_be_stored() {
            return Fate::Unknown(message);
        }
        Fate::Dropped(Refusal {
            reason: outcome.reason(),
            message,
        })
    }

    /// What becomes of it if it is too old for the server at `now_nanos` after the Unix epoch.
    pub(super) fn aged(&self, now_nanos: i64) -> Option<Fate> {
        if self.start >= oldest(now_nanos) {
            return None;
        }
        Some(self.dropped("too_old", "the server takes nothing that began an hour ago"))
    }

    /// What becomes of it if it is given up for a reason that is not the server's.
    pub(super) fn dropped(&self, reason: &'static str, message: &str) -> Fate {
        let message = message.to_owned();
        match self.sent {
            Sent::Once => Fate::Unknown(message),
            _ => Fate::Dropped(Refusal { reason, message }),
        }
    }
}

/// Begin of the oldest profile that the server still takes.
pub(super) fn oldest(now_nanos: i64) -> i64 {
    now_nanos.saturating_sub(OLDEST.as_nanos() as i64)
}
