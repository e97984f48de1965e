//! gRPC calls over a Unix socket, as a client of a runtime makes them.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::path::Path;
use tokio::net::UnixStream;

/// Calls `method` (`/package.Service/Method`), which must succeed.
pub(super) fn call<A: Message + Default>(
    socket: &Path,
    method: &str,
    question: &impl Message,
) -> Result<A, String> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(question.encoded_len()).unwrap().to_be_bytes());
    frame.extend(question.encode_to_vec());
    let request = Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(frame)))
        .unwrap();
    let call = async {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let mut status = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        status.extend(body.trailers().cloned().unwrap_or_default());
        let said = |name| status.get(name).map_or("", |value| value.to_str().unwrap());
        if said("grpc-status") != "0" {
            return Err(format!("{method}: {}", said("grpc-message")));
        }
        Ok(body.to_bytes())
    };
    // Whoever calls may be in a runtime, which would not wait for another.
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let answer = std::thread::scope(|scope| scope.spawn(|| runtime().block_on(call)).join());
    Ok(A::decode(&answer.unwrap()?[5..]).unwrap())
}
