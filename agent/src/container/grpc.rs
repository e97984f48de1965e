//! Unary gRPC calls over a runtime's socket.
//!
//! A call is one HTTP/2 request whose body is one message behind five bytes, and a status in the trailers of the answer, or in
//! its headers where there is no message.

use super::error::AskError;
use super::http::{self, Answer};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, TE};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The status codes that mean something here.
const OK: u32 = 0;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// A connection that calls go over.
pub(super) struct Grpc {
    sender: SendRequest<Full<Bytes>>,
    /// What drives the connection: a runtime that hangs leaves nothing behind when this is dropped.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What a call came to.
pub(super) enum Reply<A> {
    /// The answer.
    Message(A),
    /// It does not know what was asked for.
    NotFound,
    /// It does not know the question.
    Unimplemented,
}

impl Grpc {
    pub(super) async fn over(stream: UnixStream) -> Result<Self, AskError> {
        let tasks = Arc::default();
        let spawner = Spawner(Arc::downgrade(&tasks));
        let (sender, connection) = http2::handshake(spawner.clone(), TokioIo::new(stream))
            .await
            .map_err(AskError::protocol)?;
        spawner.execute(async {
            // How it ended is seen by who waits for an answer.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            _tasks: tasks,
        })
    }

    /// Calls `method` (`/package.Service/Method`), in a namespace of containerd where one is given.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        namespace: Option<&str>,
        question: &impl Message,
    ) -> Result<Reply<A>, AskError> {
        let mut request = Request::post(format!("http://localhost{method}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        if let Some(namespace) = namespace {
            request = request.header("containerd-namespace", namespace);
        }
        let request = request
            .body(Full::new(framed(question)))
            .map_err(AskError::protocol)?;
        let response = self.sender.send_request(request).await;
        read(&http::read(response.map_err(AskError::protocol)?).await?)
    }
}

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

fn read<A: Message + Default>(answer: &Answer) -> Result<Reply<A>, AskError> {
    if answer.status != 200 {
        return Err(AskError::refused(answer.status, "to a gRPC call"));
    }
    let status = status(&answer.trailers).or_else(|| status(&answer.headers));
    match status {
        Some((OK, _)) => {}
        Some((NOT_FOUND, _)) => return Ok(Reply::NotFound),
        Some((UNIMPLEMENTED, _)) => return Ok(Reply::Unimplemented),
        Some((code, message)) => {
            return Err(AskError::refused(format!("gRPC status {code}"), message));
        }
        None => return Err(AskError::protocol("an answer without a gRPC status")),
    }
    let message = unframed(&answer.body)
        .ok_or_else(|| AskError::protocol("an answer that is not one plain gRPC message"))?;
    A::decode(message)
        .map(Reply::Message)
        .map_err(AskError::protocol)
}

fn status(headers: &HeaderMap) -> Option<(u32, &str)> {
    let text = |name| headers.get(name)?.to_str().ok();
    let code = text("grpc-status")?.parse().ok()?;
    Some((code, text("grpc-message").unwrap_or_default()))
}

fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let [0, length @ ..] = <[u8; PREFIX]>::try_from(prefix).ok()? else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    (length == message.len()).then_some(message)
}

/// Runs what hyper wants to run beside a connection. It must not own the tasks, because they own it.
#[derive(Clone)]
struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(future);
        }
    }
}
