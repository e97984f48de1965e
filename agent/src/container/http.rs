//! One HTTP request over a runtime's socket.

use super::error::AskError;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Longest answer that is read. What a runtime tells of one container is some 50 KB at most: the whole OCI specification.
pub(super) const MAX_BODY: usize = 1 << 20;

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) body: Bytes,
}

/// Asks by HTTP/1.1. What drives the connection ends with this future.
pub(super) async fn get(stream: UnixStream, path: &str) -> Result<Answer, AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(AskError::protocol)?;
    let request = Request::get(path)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(AskError::protocol)?;
    let answer = async {
        let response = sender.send_request(request).await;
        read(response.map_err(AskError::protocol)?).await
    };
    let drive = async {
        // How it ended is seen by who reads the answer.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = drive => never,
    }
}

/// Reads a response whole, if it is not too long.
pub(super) async fn read(response: Response<Incoming>) -> Result<Answer, AskError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            AskError::TooLong(MAX_BODY)
        } else {
            AskError::protocol(error)
        }
    })?;
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        trailers: body.trailers().cloned().unwrap_or_default(),
        body: body.to_bytes(),
    })
}
