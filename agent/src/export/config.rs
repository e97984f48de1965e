//! Where profiles are pushed to, as whom, and how hard.

use crate::secret::Secret;
use anyhow::{Context, Result};
use reqwest::Url;
use std::time::Duration;

/// The Connect procedure of a push, below the server's base URL.
const PUSH_PATH: &str = "push.v1.PusherService/Push";

/// A Pyroscope server, and how to push to it. Its values have been checked where they were given.
#[derive(Clone, Debug)]
pub(crate) struct PyroscopeConfig {
    /// Base URL such as `http://pyroscope:4040` or `https://host/prefix`.
    pub(crate) url: Url,
    /// Who pushes.
    pub(crate) credentials: Credentials,
    /// `X-Scope-OrgID` of a server with several tenants.
    pub(crate) tenant_id: Option<String>,
    /// Time between two batches.
    pub(crate) interval: Duration,
    /// How hard the server is pushed.
    pub(crate) limits: PushLimits,
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
    /// Bytes of profiles that wait to be sent; the oldest are dropped for newer ones.
    pub(crate) queue_bytes: usize,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self {
            rate: 7 << 19,  // 3.5 MiB/s
            burst: 3 << 19, // 1.5 MiB: the largest profile passes, and a delay on the way does not add up to 2 MiB
            in_flight: 32,
            timeout: Duration::from_secs(30),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            late_retry: Duration::from_secs(10),
            queue_bytes: 16 << 20,
        }
    }
}

impl PyroscopeConfig {
    /// Full URL of the push. A trailing slash goes: `//push...` is answered with a redirect, which a push does not follow.
    pub(super) fn push_url(&self) -> Result<Url> {
        let base = self.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{PUSH_PATH}")).with_context(|| {
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
            let config = PyroscopeConfig {
                url: Url::parse(base).unwrap(),
                credentials: Credentials::None,
                tenant_id: None,
                interval: Duration::from_secs(15),
                limits: PushLimits::default(),
            };
            assert_eq!(config.push_url().unwrap().as_str(), full);
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
