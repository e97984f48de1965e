//! A server that takes pushes as Pyroscope 2.2 does, and says what Pyroscope would not: what it lost without an error.
//!
//! It answers with the real server's status codes and bodies, keeps what the real one would keep, writes down what that
//! would swallow or rewrite behind a 200, and can be told to fail. Its rules are its own reading of the server's behaviour,
//! not the agent's, so that a mistake in one is caught by the other.

mod answer;
mod connection;
mod fault;
mod flamegraph;
mod labels;
mod limits;
mod merge;
mod push;
pub mod query;
mod reject;
mod selector;
mod store;
mod swallow;

pub use fault::Fault;
use limits::Bucket;
pub use limits::Limits;
pub use store::{Received, Stored};

use answer::Answer;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::serve::Listener;
use connection::{Connection, Sockets};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use store::Store;
use tokio::sync::oneshot;

/// Procedure of a push.
const PUSH: &str = "/push.v1.PusherService/Push";

/// Procedures of the query side.
const QUERIER: &str = "/querier.v1.QuerierService/";

/// A running server on a port of its own; it stops when this is dropped.
pub struct Pyroscope {
    address: SocketAddr,
    server: Arc<Server>,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Server {
    limits: Limits,
    bucket: Bucket,
    store: Store,
}

impl Pyroscope {
    /// Starts one with the limits of a default server, which answers at once.
    pub fn start() -> Pyroscope {
        Pyroscope::start_with(Limits::default())
    }

    /// Starts one with these `limits`.
    pub fn start_with(limits: Limits) -> Pyroscope {
        Pyroscope::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), limits)
    }

    /// Starts one that listens at `address`.
    pub fn start_at(address: SocketAddr, limits: Limits) -> Pyroscope {
        let server = Arc::new(Server {
            store: Store::default(),
            bucket: Bucket::new(&limits),
            limits,
        });
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        let (stop, stopped) = oneshot::channel();
        let (started, address_of) = mpsc::channel();
        let serving = server.clone();
        // A thread and runtime of its own: a test that blocks its runtime does not block the server.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let sockets = Sockets::bind(address, accepted).await.unwrap();
                started.send(sockets.local_addr().unwrap()).unwrap();
                let app = Router::new().fallback(handle).with_state(serving);
                let app = app.into_make_service_with_connect_info::<Connection>();
                tokio::select! {
                    result = axum::serve(sockets, app) => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let address = address_of
            .recv()
            .expect("the server's thread tells its address");
        Pyroscope {
            address,
            server,
            connections,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything stored so far, in the order it came.
    pub fn stored(&self) -> Vec<Stored> {
        self.server.store.stored()
    }

    /// Every request so far that was answered or failed on purpose, in the order it ended.
    pub fn requests(&self) -> Vec<Received> {
        self.server.store.requests()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Makes the next `times` pushes fail with `fault`, after all faults asked for before.
    pub fn play(&self, fault: Fault, times: usize) {
        self.server.store.play(fault, times);
    }

    /// What the real server would have dropped or rewritten so far without an error: one line each.
    pub fn losses(&self) -> Vec<String> {
        self.server.store.losses()
    }

    /// Panics unless everything pushed so far was stored as it was sent, or refused with an error.
    pub fn assert_nothing_lost(&self) {
        let losses = self.losses();
        assert!(
            losses.is_empty(),
            "pyroscope would have answered 200 and lost or changed:\n{}",
            losses.join("\n")
        );
    }
}

impl Drop for Pyroscope {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn handle(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let answer = if parts.uri.path() == PUSH && parts.method == Method::POST {
        match server.store.next_fault() {
            Some(fault) => fault::act(&fault, &server, &parts, body, &connection).await,
            None => answer_push(&server, &parts, body).await,
        }
    } else {
        answer_other(&server, &parts, body).await
    };
    server
        .store
        .note(Received::new(&parts, answer.status.as_u16()));
    answer.into_response()
}

/// What the real server answers to a push.
async fn answer_push(server: &Server, parts: &Parts, body: Body) -> Answer {
    let body = match to_bytes(body, server.limits.body).await {
        Ok(body) => body,
        Err(_) => {
            return Answer::error(
                429,
                "resource_exhausted",
                "message size is larger than configured max",
            );
        }
    };
    // Stored first: a client that does not wait for the answer has pushed all the same.
    let answer = push::push(server, parts, &body);
    tokio::time::sleep(server.limits.acknowledge_after).await;
    answer
}

async fn answer_other(server: &Server, parts: &Parts, body: Body) -> Answer {
    let path = parts.uri.path();
    if path.starts_with("//") {
        let clean = format!("/{}", path.trim_start_matches('/'));
        return Answer::empty(StatusCode::MOVED_PERMANENTLY).with(header::LOCATION, &clean);
    }
    if path == PUSH || (path.starts_with(QUERIER) && parts.method != Method::POST) {
        return Answer::empty(StatusCode::METHOD_NOT_ALLOWED).with(header::ALLOW, "POST");
    }
    match (path, path.strip_prefix(QUERIER)) {
        ("/ready", _) => Answer::text(StatusCode::OK, "ready"),
        (_, Some(procedure)) => match to_bytes(body, server.limits.body).await {
            Ok(body) => query::answer(server, procedure, parts, &body),
            Err(_) => Answer::error(
                429,
                "resource_exhausted",
                "message size is larger than configured max",
            ),
        },
        _ => Answer::text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}
