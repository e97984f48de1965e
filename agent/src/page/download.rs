//! Profiles as files: `/api/pprof` from the store, `/api/profile` captured on demand.

use super::Shared;
use super::answer::Refusal;
use super::query::{Parameters, Selection};
use crate::capture::{CaptureError, CaptureRequest};
use crate::profile::OwnerProfile;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pprof_proto::encode::{decode, encode};
use pprof_proto::folded::{Count, write_folded};
use pprof_proto::merge::Merger;
use pprof_proto::pprof::Profile;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one stored profile, uncompressed: four times what Pyroscope's limits let the sampling side build.
pub(super) const MAX_PROFILE_BYTES: usize = 16 << 20;

/// Letters of an owner's name in the name of a file.
const MAX_NAME: usize = 64;

/// Longest capture, in seconds.
const MAX_SECONDS: u64 = 300;

/// The selected profiles as one.
pub(super) async fn pprof(
    State(shared): State<Arc<Shared>>,
    Parameters(selection): Parameters<Selection>,
) -> Result<Response, Refusal> {
    let store = Arc::clone(&shared.store);
    let (owner, profile, bytes) = shared
        .work(move || {
            let selected = selection.find(&store)?;
            let owner = selected.owner.map(|owner| owner.service_name.clone());
            let profile = merge(&selected.profiles)?;
            let bytes = encoded(&profile)?;
            Ok((owner, head(&profile), bytes))
        })
        .await?;
    let name = file_name(owner.as_deref().unwrap_or("all"), &profile, "pb.gz");
    Ok(file("application/octet-stream", &name, bytes).into_response())
}

fn merge(profiles: &[Arc<OwnerProfile>]) -> Result<Profile, Refusal> {
    let mut merger = Merger::new();
    for stored in profiles {
        let profile = decode(&stored.pprof, MAX_PROFILE_BYTES).map_err(internal)?;
        merger.add(&profile).map_err(internal)?;
    }
    merger.finish().ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "nothing is known of this time: see /api/timeline for what is kept",
        )
    })
}

/// `seconds` (1 to 300), `pid` for one process, `format`: `pprof` or `folded`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Capture {
    seconds: u64,
    pid: Option<u32>,
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Pprof,
    Folded,
}

/// A capture that begins now. A client that hangs up ends it.
pub(super) async fn profile(
    State(shared): State<Arc<Shared>>,
    Parameters(capture): Parameters<Capture>,
) -> Result<Response, Refusal> {
    if !(1..=MAX_SECONDS).contains(&capture.seconds) {
        return Err(Refusal::bad_request(format!(
            "seconds={} is out of range: ask for 1 to {MAX_SECONDS}",
            capture.seconds
        )));
    }
    let request = CaptureRequest {
        pid: capture.pid,
        duration: Duration::from_secs(capture.seconds),
    };
    let captured = shared.captures.capture(request).await?;
    let head = head(&captured.profile);
    let bytes = shared
        .work(move || match capture.format {
            Format::Pprof => encoded(&captured.profile),
            Format::Folded => {
                let mut lines = Vec::new();
                write_folded(&captured.profile, Count::Periods, &mut lines).map_err(internal)?;
                Ok(lines)
            }
        })
        .await?;
    let what = capture
        .pid
        .map_or_else(|| "all".to_owned(), |pid| format!("pid{pid}"));
    let (content_type, extension) = match capture.format {
        Format::Pprof => ("application/octet-stream", "pb.gz"),
        Format::Folded => ("text/plain; charset=utf-8", "folded"),
    };
    let counts = [
        (
            HeaderName::from_static("x-thermograph-samples"),
            captured.samples.to_string(),
        ),
        (
            HeaderName::from_static("x-thermograph-lost"),
            captured.lost.to_string(),
        ),
    ];
    let name = file_name(&what, &head, extension);
    Ok((counts, file(content_type, &name, bytes)).into_response())
}

impl From<CaptureError> for Refusal {
    fn from(error: CaptureError) -> Self {
        let status = match error {
            CaptureError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            CaptureError::NoSuchProcess(_) => StatusCode::NOT_FOUND,
            CaptureError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Profiles are of our own making: one that cannot be read is our error, not the client's.
pub(super) fn internal(error: impl std::error::Error) -> Refusal {
    tracing::error!(%error, "a profile of our own cannot be served");
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("a profile cannot be served ({error}): please report this"),
    )
}

fn encoded(profile: &Profile) -> Result<Vec<u8>, Refusal> {
    encode(profile, Vec::new()).map_err(internal)
}

/// Begin and length, in seconds.
fn head(profile: &Profile) -> (i64, i64) {
    const SECOND: i64 = 1_000_000_000;
    (
        profile.time_nanos.div_euclid(SECOND),
        profile.duration_nanos.saturating_add(SECOND / 2) / SECOND,
    )
}

/// `thermograph-<what>-<begin, Unix seconds>-<length>s.<extension>`. What an owner is called is not ours to say: of its
/// name only what every file system and header takes.
fn file_name(what: &str, (start, seconds): &(i64, i64), extension: &str) -> String {
    let what: String = what
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '_',
        })
        .take(MAX_NAME)
        .collect();
    format!("thermograph-{what}-{start}-{seconds}s.{extension}")
}

fn file(content_type: &'static str, name: &str, bytes: Vec<u8>) -> impl IntoResponse {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes)
}
