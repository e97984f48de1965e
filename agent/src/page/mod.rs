//! The local page: an HTTP server with what it shows, the API behind it, `/metrics` and `/healthz`.
//!
//! ```text
//! connection ─► access ─┬─► /                                the page, embedded
//!   (limits)            ├─► /api/owners|timeline|flamegraph|pprof   from the store
//!                       ├─► /api/profile                     captured on demand
//!                       └─► /metrics, /healthz
//! ```

mod access;
mod answer;
mod assets;
mod download;
mod flamegraph;
mod health;
mod listener;
mod owners;
mod query;
#[cfg(test)]
mod tests;
mod timeline;
mod tree;

pub(crate) use access::Access;
pub(crate) use health::Health;
pub(crate) use listener::bind;

use crate::capture::Captures;
use crate::store::Store;
use answer::Refusal;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Requests that decode profiles at the same time: each takes memory and a core.
const WORKERS: usize = 2;

/// What `prometheus_client` writes is OpenMetrics, which is not what Prometheus takes `text/plain` for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the page shows, and by what rules.
#[derive(Debug)]
pub(crate) struct Page {
    /// Profiles of the last hour.
    pub(crate) store: Arc<Store>,
    /// Where captures are asked for.
    pub(crate) captures: Captures,
    /// Counters.
    pub(crate) metrics: Arc<Registry>,
    /// Whether windows close.
    pub(crate) health: Arc<Health>,
    /// Who may see it.
    pub(crate) access: Access,
}

impl Page {
    /// Serves on `listener` (see [`bind`]) until `stop` completes.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        listener::serve(listener, self.into_router(), stop).await
    }

    fn into_router(self) -> Router {
        let access = Arc::new(self.access);
        let shared = Arc::new(Shared {
            store: self.store,
            captures: self.captures,
            metrics: self.metrics,
            health: self.health,
            workers: Arc::new(Semaphore::new(WORKERS)),
        });
        assets::routes()
            .route("/api/owners", get(owners::owners))
            .route("/api/timeline", get(timeline::timeline))
            .route("/api/flamegraph", get(flamegraph::flamegraph))
            .route("/api/pprof", get(download::pprof))
            .route("/api/profile", get(download::profile))
            .route("/api/{*other}", get(no_such_call))
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .fallback(nothing_here)
            .with_state(shared)
            .layer(from_fn_with_state(access, access::guard))
            .layer(from_fn(answer::with_safe_headers))
    }
}

/// What the handlers use.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    captures: Captures,
    metrics: Arc<Registry>,
    health: Arc<Health>,
    workers: Arc<Semaphore>,
}

impl Shared {
    /// Runs what takes long beside the threads that serve connections, a few at a time.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let stopping = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping");
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        // The permit goes along: work whose client has hung up still takes its memory.
        let running = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        running.await.map_err(|_| stopping())?
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => download::internal(error).into_text(),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.health.trouble(Instant::now()) {
        None => "ok\n".into_response(),
        Some(trouble) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, trouble).into_text(),
    }
}

async fn no_such_call() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "the API has owners, timeline, flamegraph, pprof and profile, and no other call",
    )
}

async fn nothing_here() -> Response {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing here: the page is at /",
    )
    .into_text()
}

fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
