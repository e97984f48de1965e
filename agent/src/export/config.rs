//! Where profiles are pushed to, as whom, and how hard.

use super::disk::SpoolConfig;
use crate::secret::Secret;
use anyhow::{Context, Result};
use backon::ExponentialBuilder;
use reqwest::Url;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A Pyroscope server, and how to push to it. Its values have been checked where they were given.
#[derive(Clone, Debug)]
pub(crate) struct PyroscopeConfig {
    /// What it is called in metrics and log.
    pub(crate) name: String,
    /// Base URL such as `http://pyroscope:4040` or `https://host/prefix`.
    pub(crate) url: Url,
    /// Who pushes.
    pub(crate) credentials: Credentials,
    /// `X-Scope-OrgID` of a server with several tenants.
    pub(crate) tenant_id: Option<String>,
    /// Further headers of every push; their values may be keys.
    pub(crate) headers: BTreeMap<String, Secret>,
    /// Certificates, if not the system's.
    pub(crate) tls: TlsFiles,
    /// Time between two batches.
    pub(crate) interval: Duration,
    /// How hard the server is pushed.
    pub(crate) limits: PushLimits,
    /// Where profiles are kept that it does not take now.
    pub(crate) spool: SpoolConfig,
}

/// Who pushes.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// Anybody.
    None,
    /// User and password.
    Basic(String, Secret),
    /// A token.
    Bearer(Secret),
    /// A file with a token, which changes.
    BearerFile(PathBuf),
}

/// PEM files.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Certificates of those that sign the server's, instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key of this host.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// How hard a server is pushed, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct PushLimits {
    /// Uncompressed bytes a second; a default server takes 4 MiB/s.
    pub(crate) rate: usize,
    /// Uncompressed bytes at once; a default server takes 2 MiB.
    pub(crate) burst: usize,
    /// Pushes waiting for their answer at the same time; each takes up to 0.5 s, however small.
    pub(crate) in_flight: usize,
    /// How long one push may take. What times out is stored all the same, and stored twice when tried again.
    pub(crate) timeout: Duration,
    /// First wait before a push is tried again; it doubles with each try. A server that is starting refuses within a
    /// millisecond: less than half a second would spin.
    pub(crate) first_backoff: Duration,
    /// Longest wait before a push is tried again.
    pub(crate) longest_backoff: Duration,
    /// Wait before the one late retry of what may have been stored.
    pub(crate) late_retry: Duration,
    /// How long, in an outage, the last try of a profile waits for another one to be sent instead: somewhat more than an interval.
    pub(crate) last_try: Duration,
    /// A profile is live for so long from its begin, an interval included: from disk, too, it goes before the backlog, and with as many
    /// pushes in flight as there may be.
    pub(crate) live: Duration,
    /// Bytes of profiles that wait to be sent; the oldest are dropped for newer ones.
    pub(crate) queue_bytes: usize,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self {
            rate: 7 << 19, // 3.5 MiB/s
            burst: 2 << 20,
            in_flight: 32,
            timeout: Duration::from_secs(30),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            late_retry: Duration::from_secs(10),
            last_try: Duration::from_secs(30),
            live: Duration::from_secs(45),
            queue_bytes: 16 << 20,
        }
    }
}

impl PushLimits {
    /// Waits that double from the first to the longest, with jitter, without end.
    pub(super) fn waits(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.first_backoff)
            .with_max_delay(self.longest_backoff)
            .with_jitter()
            .without_max_times()
    }
}

impl PyroscopeConfig {
    /// Full URL of `path`. A trailing slash of the base goes: `//push...` is answered with a redirect, which a push does not follow.
    pub(super) fn url_of(&self, path: &str) -> Result<Url> {
        let base = self.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).with_context(|| {
            format!("the pyroscope url {base} cannot be extended by the path of a push")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trailing slash goes, a path stays.
    #[test]
    fn base_urls_become_push_urls() {
        for (base, full) in [
            (
                "http://host:4040",
                "http://host:4040/push.v1.PusherService/Push",
            ),
            (
                "http://host:4040/",
                "http://host:4040/push.v1.PusherService/Push",
            ),
            (
                "https://host/a/prefix//",
                "https://host/a/prefix/push.v1.PusherService/Push",
            ),
            (
                "http://[::1]:4040",
                "http://[::1]:4040/push.v1.PusherService/Push",
            ),
        ] {
            let config = crate::export::tests::config(base);
            assert_eq!(
                config
                    .url_of("push.v1.PusherService/Push")
                    .unwrap()
                    .as_str(),
                full
            );
        }
    }

    /// What is logged of a configuration shows no secret.
    #[test]
    fn secrets_are_never_shown() {
        let basic = Credentials::Basic("me".into(), "hunter2".to_owned().into());
        let bearer = Credentials::Bearer("hunter2".to_owned().into());
        assert!(!format!("{basic:?} {bearer:?}").contains("hunter2"));
    }
}
