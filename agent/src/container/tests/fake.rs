//! Servers on Unix sockets that behave as a test wants.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What a server does to whoever connects.
#[derive(Clone)]
pub(super) enum Play {
    /// Reads, and never answers.
    Hang,
    /// Says this after the first bytes of a request, and closes.
    Say(Vec<u8>),
    /// Says this without end after the first bytes of a request.
    Babble(&'static str, Vec<u8>),
}

/// Answers at the socket `path`.
pub(super) fn serve(path: &Path, play: Play) {
    let listener = listen(path);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(perform(stream, play.clone()));
        }
    });
}

/// An answer in HTTP/1.1.
pub(super) fn http(status: u16, body: &str) -> Play {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n");
    Play::Say((head + body).into_bytes())
}

async fn perform(mut stream: UnixStream, play: Play) {
    let mut request = [0; 4096];
    // Whoever has asked may be gone at any time.
    let _ = stream.read(&mut request).await;
    match play {
        Play::Hang => {
            while stream
                .read(&mut request)
                .await
                .is_ok_and(|length| length > 0)
            {}
        }
        Play::Say(words) => {
            let _ = stream.write_all(&words).await;
        }
        Play::Babble(head, words) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&words).await.is_ok() {}
        }
    }
}

/// What a gRPC server says to a method: a message, or a status.
pub(super) type Answer = Result<Vec<u8>, u32>;

/// A gRPC server at the socket `path`.
pub(super) fn grpc(path: &Path, answer: impl Fn(&str) -> Answer + Copy + Send + Sync + 'static) {
    let listener = listen(path);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                Ok::<_, Infallible>(response(answer(request.uri().path())))
            });
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let response = Response::builder().header("content-type", "application/grpc");
    let (status, body) = match answer {
        Ok(message) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap());
            frame.put_slice(&message);
            (0, frame.freeze())
        }
        Err(status) => (status, Bytes::new()),
    };
    let response = response.header("grpc-status", status);
    response.body(Full::new(body)).unwrap()
}

fn listen(path: &Path) -> UnixListener {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    UnixListener::bind(path).unwrap()
}
