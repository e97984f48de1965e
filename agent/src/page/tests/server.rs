//! A page with a sampling side that answers at once, and a client that sends what it is told.

use crate::capture::{CaptureError, CaptureOrder, Captured, Captures};
use crate::page::{Access, Health, Page, bind};
use crate::store::Store;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// Of all processes the one that is not there.
pub(super) const NO_PROCESS: u32 = 4242;
/// Of all processes the one whose capture never ends by itself.
pub(super) const FOREVER: u32 = 4343;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) store: Arc<Store>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Server {
    pub(super) fn start(store: Arc<Store>) -> Self {
        Self::start_on("127.0.0.1:0", None, store)
    }

    pub(super) fn start_on(listen: &str, token: Option<&str>, store: Arc<Store>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = bind(listen.parse().unwrap()).unwrap();
        let mut address = listener.local_addr().unwrap();
        let access = Access::new(address, token.map(|token| token.to_owned().into()));
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        let mut metrics = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(7);
        metrics.register("thermograph_samples", "Samples", counter);
        let (captures, orders) = Captures::new();
        let page = Page {
            store: Arc::clone(&store),
            captures,
            metrics: Arc::new(metrics),
            health: Arc::new(Health::new()),
            access,
        };
        let (stop, stopped) = oneshot::channel();
        runtime.spawn(sample(orders));
        let served = runtime.spawn(page.serve(listener, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            store,
            stop: Some(stop),
            runtime: Some(runtime),
            served: Some(served),
        }
    }

    /// Asks for `path` and gives what comes back.
    pub(super) fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// With more header lines, each ended by CRLF.
    pub(super) fn get_with(&self, path: &str, headers: &str) -> Answer {
        let host = self.address;
        self.send(
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )
    }

    /// Sends these bytes and reads until the server closes the connection.
    pub(super) fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // A server that has seen enough closes before all is sent.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
    }

    /// Stops as the agent does, and waits for it.
    pub(super) fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let served = self.served.take().unwrap();
        self.runtime
            .as_ref()
            .unwrap()
            .block_on(served)
            .unwrap()
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The sentence of an API's refusal.
    pub(super) fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1);
        json["error"].as_str().unwrap().to_owned()
    }
}

async fn sample(mut orders: mpsc::Receiver<CaptureOrder>) {
    while let Some(mut order) = orders.recv().await {
        match order.request.pid {
            Some(NO_PROCESS) => {
                let _ = order
                    .reply
                    .send(Err(CaptureError::NoSuchProcess(NO_PROCESS)));
            }
            Some(FOREVER) => {
                tokio::spawn(async move {
                    order.reply.closed().await;
                    drop(order);
                });
            }
            _ => {
                let mut builder = super::synthetic::builder(1_700_000_000);
                let leaf = super::synthetic::location(&mut builder, "app!main@main.c:3");
                let seconds = order.request.duration.as_secs() as i64;
                let value = seconds * 100 * super::synthetic::TICK;
                builder.sample(&[leaf], &[value], &[]);
                let captured = Captured {
                    profile: builder.finish(),
                    samples: seconds as u64 * 100,
                    lost: 3,
                };
                let _ = order.reply.send(Ok(captured));
            }
        }
    }
}
