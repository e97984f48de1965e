//! `push.v1.PusherService/Push`: from the request to the store.

use super::answer::Answer;
use super::store::{Stored, headers};
use super::{Server, labels, reject, swallow};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use pprof_proto::pprof::Profile;
use pprof_proto::push::{LabelPair, PushRequest, PushResponse};
use prost::Message;
use std::io::Read;
use std::time::SystemTime;

/// Why a series was refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An error that has a Connect code: it wins over a plain one when a request has several series.
    Coded(u16, &'static str, String),
    /// Any other error of the server: 500 `unknown`.
    Plain(String),
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::Coded(400, "invalid_argument", message.into())
    }
}

/// Answers one push, body read.
pub(super) fn push(server: &Server, parts: &Parts, body: &[u8]) -> Answer {
    if let Err(answer) = check_identity(server, &parts.headers).and(check_protocol(&parts.headers))
    {
        return answer;
    }
    let gzipped = parts
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value == "gzip");
    let request = match decode(server, body, gzipped) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    let profiles = request
        .series
        .iter()
        .flat_map(|series| series.samples.iter().map(|sample| (&series.labels, sample)));
    let mut answers: Vec<Result<(), Refusal>> = Vec::new();
    for (labels, sample) in profiles {
        answers.push(store(server, parts, labels, &sample.raw_profile));
    }
    if answers.is_empty() {
        return Answer::error(400, "invalid_argument", "no profiles received");
    }
    // Each series is tried and the good ones stay stored, but there is one answer for all of them.
    let mut plain = None;
    for refusal in answers.into_iter().filter_map(Result::err) {
        match refusal {
            Refusal::Coded(status, code, message) => return Answer::error(status, code, &message),
            Refusal::Plain(message) => plain = Some(message),
        }
    }
    match plain {
        Some(message) => Answer::error(500, "unknown", &message),
        None if gzipped => Answer::proto(PushResponse::default().encode_to_vec()).gzipped(),
        None => Answer::proto(PushResponse::default().encode_to_vec()),
    }
}

fn check_identity(server: &Server, headers: &HeaderMap) -> Result<(), Answer> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if server
        .limits
        .authorization
        .as_ref()
        .is_some_and(|demanded| text("authorization") != demanded)
    {
        return Err(Answer::text(
            StatusCode::UNAUTHORIZED,
            "authentication required",
        ));
    }
    let tenant = text("x-scope-orgid");
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    let valid = (1..=150).contains(&tenant.len())
        && tenant.bytes().all(legal)
        && tenant != "."
        && tenant != "..";
    if server.limits.multitenancy && !valid {
        return Err(Answer::error(401, "unauthenticated", "no org id"));
    }
    Ok(())
}

fn check_protocol(headers: &HeaderMap) -> Result<(), Answer> {
    let text = |name| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("?"))
    };
    match text("content-type") {
        "application/proto" => {}
        // The real server speaks JSON too; nothing that is tested here does.
        json if json.starts_with("application/json") => {
            return Err(Answer::error(
                501,
                "unimplemented",
                "the stand-in takes no JSON pushes",
            ));
        }
        _ => {
            let accepted = Answer::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Err(accepted.with(
                header::HeaderName::from_static("accept-post"),
                "application/json, application/proto",
            ));
        }
    }
    match text("connect-protocol-version") {
        "" | "1" => {}
        _ => {
            return Err(Answer::error(
                400,
                "invalid_argument",
                "connect-protocol-version must be \"1\"",
            ));
        }
    }
    match text("content-encoding") {
        "" | "identity" | "gzip" => Ok(()),
        other => Err(Answer::error(
            501,
            "unimplemented",
            &format!("unknown compression {other:?}: supported encodings are gzip"),
        )),
    }
}

fn decode(server: &Server, body: &[u8], gzipped: bool) -> Result<PushRequest, Answer> {
    let mut unpacked = Vec::new();
    let body = if gzipped {
        let limit = server.limits.body as u64 + 1;
        if let Err(error) = MultiGzDecoder::new(body)
            .take(limit)
            .read_to_end(&mut unpacked)
        {
            return Err(Answer::error(
                400,
                "invalid_argument",
                &format!("get decompressor: {error}"),
            ));
        }
        unpacked.as_slice()
    } else {
        body
    };
    if body.len() > server.limits.body {
        return Err(Answer::error(
            429,
            "resource_exhausted",
            "message size is larger than configured max",
        ));
    }
    PushRequest::decode(body).map_err(|error| {
        Answer::error(
            400,
            "invalid_argument",
            &format!("unmarshal message: {error}"),
        )
    })
}

/// Tries one profile, and keeps it or says why not.
fn store(server: &Server, parts: &Parts, pairs: &[LabelPair], raw: &[u8]) -> Result<(), Refusal> {
    let raw = unpack(server, raw)?;
    let size = raw.len()
        + pairs
            .iter()
            .map(|pair| pair.name.len() + pair.value.len())
            .sum::<usize>();
    // The budget is used up before anything is looked at: what is then rejected has used it too.
    if !server.bucket.take(size) {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let (rate, size) = (mib(server.limits.rate), mib(size as f64));
        let message =
            format!("push rate limit ({rate:.1} MiB) exceeded while adding {size:.1} MiB");
        return Err(Refusal::Coded(429, "resource_exhausted", message));
    }
    if raw.len() > server.limits.profile {
        return Err(Refusal::invalid(
            "uncompressed profile payload size exceeds limit of 4.2 MB",
        ));
    }
    let profile = parse(&raw)?;
    let received = SystemTime::now();
    labels::reject(pairs, &profile, &server.limits)?;
    reject::reject(&profile, &server.limits, received)?;

    let mut losses = labels::swallow(pairs);
    losses.extend(swallow::swallow(&profile, pairs, &server.limits, received));
    let name = pairs
        .iter()
        .find(|pair| pair.name == "service_name")
        .map_or("?", |pair| &pair.value);
    server.store.lose(
        losses
            .into_iter()
            .map(|loss| format!("{name}: {loss}"))
            .collect(),
    );
    let profile = swallow::kept(profile);
    if !profile.sample.is_empty() {
        let labels = labels::kept(pairs);
        server.store.keep(Stored {
            labels,
            profile,
            received,
            headers: headers(parts),
        });
    }
    Ok(())
}

fn unpack(server: &Server, raw: &[u8]) -> Result<Vec<u8>, Refusal> {
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw.to_vec());
    }
    let mut unpacked = Vec::new();
    match MultiGzDecoder::new(raw)
        .take(server.limits.body as u64)
        .read_to_end(&mut unpacked)
    {
        Ok(_) => Ok(unpacked),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Refusal::Plain("unexpected EOF".into()))
        }
        Err(error) => Err(Refusal::Plain(format!("gzip: {error}"))),
    }
}

/// Empty, truncated and malformed profiles are errors without a code: 500.
fn parse(raw: &[u8]) -> Result<Profile, Refusal> {
    if raw.is_empty() {
        return Err(Refusal::Plain("unexpected EOF".into()));
    }
    Profile::decode(raw).map_err(|error| {
        let error = error.to_string();
        if error.contains("UTF-8") {
            Refusal::invalid(format!("invalid utf8 string: {error}"))
        } else {
            Refusal::Plain(format!("proto: {error}"))
        }
    })
}
