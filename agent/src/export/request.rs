//! The request a profile is pushed by, and the check that the server takes it now: what is in it was checked before it was encoded.

use super::labels;
use crate::profile::OwnerProfile;
use bytes::Bytes;
use pprof_proto::labels::validate_labels;
use pprof_proto::push::{LabelPair, PushRequest, RawProfileSeries, RawSample};
use pprof_proto::validate::{Invalid, Verdict, check_size, check_time};
use prost::Message;

/// An encoded push.
#[derive(Debug)]
pub(super) struct Request {
    /// The encoded `PushRequest`.
    pub(super) body: Bytes,
    /// What the server's rate limit counts: bytes of the uncompressed profile and of the labels.
    pub(super) size: usize,
}

/// Why a profile is not pushed.
#[derive(Debug)]
pub(super) struct Refusal {
    /// For the metric.
    pub(super) reason: &'static str,
    /// For the log.
    pub(super) message: String,
}

impl Request {
    /// The request for `profile` from the host `node`, one series and one sample, unless the server would reject it or
    /// lose some of it at `now_nanos` after the Unix epoch.
    pub(super) fn new(
        profile: &OwnerProfile,
        node: &str,
        now_nanos: i64,
    ) -> Result<Request, Refusal> {
        let labels = labels::on_cpu(&profile.owner, node);
        validate_labels(&labels).map_err(|invalid| refuse(invalid.verdict(), invalid))?;
        check_size(profile.raw_bytes)
            .and_then(|()| check_time(profile.start_unix_nanos, now_nanos))
            .map_err(invalid)?;
        let of_labels: usize = labels
            .iter()
            .map(|label| label.name.len() + label.value.len())
            .sum();
        Ok(Request {
            size: profile.raw_bytes + of_labels,
            body: encode_push(labels, profile.pprof.clone()),
        })
    }
}

fn invalid(invalid: Invalid) -> Refusal {
    match invalid {
        // What a long outage makes of a sound profile.
        Invalid::TooOld(_) => Refusal {
            reason: "too_old",
            message: invalid.to_string(),
        },
        _ => refuse(invalid.verdict(), invalid),
    }
}

fn refuse(verdict: Verdict, error: impl ToString) -> Refusal {
    let reason = match verdict {
        Verdict::Rejected { .. } => "would_be_rejected",
        Verdict::SilentlyDropped => "would_be_lost",
    };
    Refusal {
        reason,
        message: error.to_string(),
    }
}

fn encode_push(labels: Vec<LabelPair>, pprof: Bytes) -> Bytes {
    let sample = RawSample {
        raw_profile: pprof,
        id: String::new(),
    };
    let series = RawProfileSeries {
        labels,
        samples: vec![sample],
    };
    PushRequest {
        series: vec![series],
    }
    .encode_to_vec()
    .into()
}
