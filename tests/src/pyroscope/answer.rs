//! Answers as Connect gives them.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;

/// Status, headers and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Answer {
        Answer::untyped(status, Vec::new())
    }

    /// A body without a content type.
    pub(super) fn untyped(status: StatusCode, body: Vec<u8>) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body,
        }
    }

    pub(super) fn text(status: StatusCode, body: &str) -> Answer {
        Answer::bytes(
            status,
            "text/plain; charset=utf-8",
            body.as_bytes().to_vec(),
        )
    }

    pub(super) fn json(value: &Value) -> Answer {
        Answer::bytes(
            StatusCode::OK,
            "application/json",
            value.to_string().into_bytes(),
        )
    }

    pub(super) fn proto(body: Vec<u8>) -> Answer {
        Answer::bytes(StatusCode::OK, "application/proto", body)
    }

    /// A Connect error: JSON, whatever the request was.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({ "code": code, "message": message })
            .to_string()
            .into_bytes();
        Answer::bytes(status, "application/json", body)
    }

    fn bytes(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
        Answer::untyped(status, body).with(header::CONTENT_TYPE, content_type)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Answer {
        self.headers
            .push((name, HeaderValue::from_str(value).unwrap()));
        self
    }

    /// A 200 to a request that came gzip'd goes back gzip'd, `Accept-Encoding` or not.
    pub(super) fn gzipped(mut self) -> Answer {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body).unwrap();
        self.body = encoder.finish().unwrap();
        self.with(header::CONTENT_ENCODING, "gzip")
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}
