//! The thread that fetches: it may wait for servers and for the disk.

use super::metrics::Outcome;
use super::server::{Server, Unfetched};
use super::{FAILED, Known, Shelf, let_all_read, name_of};
use anyhow::{Context, Result};
use reqwest::Url;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What fetching may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Files at a time.
    pub(super) at_a_time: usize,
    /// Bytes of a file.
    pub(super) bytes: u64,
    /// Until a connection is there.
    pub(super) connect: Duration,
    /// Without a byte.
    pub(super) silence: Duration,
    /// For all of a file: a server may have to unpack it first.
    pub(super) all: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_a_time: 2,
            bytes: 256 << 20,
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            all: Duration::from_secs(300),
        }
    }
}

pub(super) struct Fetcher {
    servers: Vec<Server>,
    shelf: Arc<Shelf>,
    limits: Limits,
}

impl Fetcher {
    pub(super) fn new(servers: &[Url], shelf: Arc<Shelf>, limits: Limits) -> Result<Self> {
        let servers = servers.iter().map(|url| Server::new(url, &limits));
        Ok(Self {
            servers: servers.collect::<Result<_>>()?,
            shelf,
            limits,
        })
    }

    /// Starts the thread, which ends when nobody can ask any more.
    pub(super) fn start(self, mut asked: mpsc::Receiver<Arc<str>>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let fetch_all = async move {
            let fetcher = Arc::new(self);
            let mut in_flight = JoinSet::new();
            while let Some(build_id) = asked.recv().await {
                while in_flight.len() >= fetcher.limits.at_a_time {
                    in_flight.join_next().await;
                }
                in_flight.spawn(Arc::clone(&fetcher).fetch(build_id));
            }
        };
        std::thread::Builder::new()
            .name("debuginfod".to_owned())
            .spawn(move || runtime.block_on(fetch_all))
            .context("cannot start a thread")?;
        Ok(())
    }

    /// Asks one server after the other.
    async fn fetch(self: Arc<Self>, build_id: Arc<str>) {
        let mut have_all_said_no = true;
        for server in &self.servers {
            match self.fetch_from(server, &build_id).await {
                Ok(()) => {
                    self.shelf.arrived(&build_id);
                    self.shelf.metrics.count(Outcome::Found);
                    return;
                }
                Err(why) => {
                    tracing::debug!("no debug file of {build_id} from {}: {why}", server.url());
                    have_all_said_no &= why.is_final();
                }
            }
        }
        if have_all_said_no {
            self.shelf.missing(&build_id);
            self.shelf.metrics.count(Outcome::Missing);
        } else {
            let later = Known::Not(Instant::now() + FAILED);
            self.shelf.know(&build_id, later);
            self.shelf.metrics.count(Outcome::Failed);
        }
    }

    async fn fetch_from(&self, server: &Server, build_id: &str) -> Result<(), Unfetched> {
        let mut unfinished = self.shelf.files.begin()?;
        let most = self.limits.bytes;
        server.get(build_id, &mut unfinished.file, most).await?;
        let_all_read(&unfinished.file)?;
        Ok(unfinished.keep(&name_of(build_id))?)
    }
}
