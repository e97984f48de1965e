//! The listening socket and the connections it accepts, each within limits: a slow or silent client pins no memory.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// A browser opens six; this many are ten people and some scrapers.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
/// To send a request, and to begin the next one on a connection kept open.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// For a client to take what was sent to it. The kernel closes the connection of one that does not.
const UNREAD_TIMEOUT_MILLIS: u32 = 30_000;
/// The longest capture and some time to take it; then the connection ends with its current request.
const MAX_AGE: Duration = Duration::from_secs(600);
const GOODBYE: Duration = Duration::from_secs(330);
/// For requests that run when the agent stops.
const STOP: Duration = Duration::from_secs(2);
/// Accepting fails when the process has no file descriptors left, and would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens on `address`. The error is one sentence that names it and says what to do.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::ADDRINUSE.raw_os_error() => anyhow::anyhow!(
            "cannot listen on {address}: another program does; stop it or choose another port with --listen"
        ),
        Some(code) if code == Errno::ADDRNOTAVAIL.raw_os_error() => anyhow::anyhow!(
            "cannot listen on {address}: this machine has no such address; choose one of its own with --listen"
        ),
        Some(code) if code == Errno::ACCESS.raw_os_error() => anyhow::anyhow!(
            "cannot listen on {address}: not permitted; run as root or choose a port of 1024 or more with --listen"
        ),
        _ => anyhow::anyhow!("cannot listen on {address} ({error}): choose another address with --listen"),
    })?;
    // What tokio needs of a socket it did not open.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop` completes, then lets running requests end for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        // Without a place the kernel's queue holds whoever comes.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(stream, router, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no connection accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop((listener, stopped, router));
    // Completes when the last connection has let go of its end.
    let _ = stopping.send(());
    let _ = tokio::time::timeout(STOP, stopping.closed()).await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    if rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_TIMEOUT_MILLIS).is_err() {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let goodbye = tokio::select! {
        // Clients that hang up or talk nonsense are no event.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(MAX_AGE) => GOODBYE,
        _ = stopped.changed() => STOP,
    };
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(goodbye, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A busy port and an address of somebody else are each one sentence that names the address and the way out.
    #[test]
    fn bind_errors_name_the_address() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        for address in [address, "192.0.2.1:4041".parse().unwrap()] {
            let said = bind(address).unwrap_err().to_string();
            assert!(
                said.contains(&address.to_string()) && said.contains("--listen"),
                "{said}"
            );
        }
    }
}
