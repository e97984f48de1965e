//! One server: how a file is asked of it, and when it is left alone.

use super::fetcher::Limits;
use super::innermost;
use anyhow::{Context, Result};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a server is left alone the first time that it does not answer, and each time after it twice as long as before, but at most so long.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Servers that keep their files elsewhere send there.
const REDIRECTS: usize = 3;
/// What every debug file begins with, and no page that says what is wrong.
const ELF: &[u8] = b"\x7fELF";

/// Why a file has not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfetched {
    /// The server says so.
    #[error("it does not have it")]
    Missing,
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("what it sends is no ELF file")]
    NotElf,
    /// It did not answer a while ago.
    #[error("it is left alone for a while")]
    Paused,
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Broken(String),
    #[error("the file cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

impl Unfetched {
    /// Whether this server would say the same tomorrow.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Missing | Self::TooLarge(_) | Self::NotElf)
    }

    /// Whether it is the server that has failed.
    fn is_of_server(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Broken(_))
    }
}

impl From<reqwest::Error> for Unfetched {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(innermost(&error))
    }
}

pub(super) struct Server {
    http: Client,
    url: Url,
    pause: Mutex<Pause>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Server {
    pub(super) fn new(url: &Url, limits: &Limits) -> Result<Self> {
        // An error means that another part of the process was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("thermograph/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::limited(REDIRECTS))
            .connect_timeout(limits.connect)
            .read_timeout(limits.silence)
            .timeout(limits.all);
        if url.scheme() == "http" {
            // Without this, a host that has no certificates installed could not ask over http either.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().with_context(|| {
            format!("https to {url} cannot be set up: install the system's CA certificates (package ca-certificates)")
        })?;
        Ok(Self {
            http,
            url: url.clone(),
            pause: Mutex::default(),
        })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Writes the debug file of a build id, which may be incomplete after an error.
    pub(super) async fn get(
        &self,
        build_id: &str,
        into: &mut impl Write,
        most: u64,
    ) -> Result<(), Unfetched> {
        if self
            .lock()
            .until
            .is_some_and(|until| Instant::now() < until)
        {
            return Err(Unfetched::Paused);
        }
        let got = self.ask(build_id, into, most).await;
        match &got {
            Err(why) if why.is_of_server() => self.pause(why),
            _ => *self.lock() = Pause::default(),
        }
        got
    }

    async fn ask(&self, build_id: &str, into: &mut impl Write, most: u64) -> Result<(), Unfetched> {
        let base = self.url.as_str().trim_end_matches('/');
        let url = format!("{base}/buildid/{build_id}/debuginfo");
        let response = self.http.get(url).send().await?;
        match response.status() {
            StatusCode::OK => copy(response, into, most).await,
            StatusCode::NOT_FOUND => Err(Unfetched::Missing),
            status => Err(Unfetched::Status(status)),
        }
    }

    fn pause(&self, why: &Unfetched) {
        let mut pause = self.lock();
        let now = Instant::now();
        if pause.until.is_some_and(|until| now < until) {
            // Another file has failed at the same time: that is one failure of the server.
            return;
        }
        if pause.length.is_zero() {
            tracing::warn!("debuginfod server {} fails: {why}", self.url);
        }
        pause.length = (2 * pause.length).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        pause.until = Some(now + pause.length);
    }

    /// It is copied in and out: nobody panics with it.
    fn lock(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the body, if it is an ELF file that is not too large.
async fn copy(mut response: Response, into: &mut impl Write, most: u64) -> Result<(), Unfetched> {
    if response.content_length().is_some_and(|bytes| bytes > most) {
        return Err(Unfetched::TooLarge(most));
    }
    let mut begin = Vec::new();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        if begin.len() < ELF.len() {
            begin.extend(chunk.iter().take(ELF.len() - begin.len()));
            if !ELF.starts_with(&begin) {
                return Err(Unfetched::NotElf);
            }
        }
        bytes += chunk.len() as u64;
        if bytes > most {
            return Err(Unfetched::TooLarge(most));
        }
        into.write_all(&chunk)?;
    }
    match begin == ELF {
        true => Ok(()),
        false => Err(Unfetched::NotElf),
    }
}
