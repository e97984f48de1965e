//! Where profiles are pushed to and as whom, checked at start so that a mistake is one sentence and not a day without data.

use crate::secret::Secret;
use anyhow::{Context, Result, bail, ensure};
use reqwest::Url;
use reqwest::header::HeaderValue;
use std::time::Duration;

/// The Connect procedure of a push, below the server's base URL.
const PUSH_PATH: &str = "push.v1.PusherService/Push";

/// Longest tenant id the server takes.
const LONGEST_TENANT: usize = 150;

/// A Pyroscope server, and how to push to it.
#[derive(Clone, Debug)]
pub(crate) struct PyroscopeConfig {
    /// Base URL such as `http://pyroscope:4040` or `https://host/prefix`.
    pub(crate) url: String,
    /// User of basic authentication; wants a password.
    pub(crate) user: Option<String>,
    /// Password of basic authentication.
    pub(crate) password: Option<Secret>,
    /// Bearer token, instead of user and password.
    pub(crate) bearer_token: Option<Secret>,
    /// `X-Scope-OrgID` of a server with several tenants.
    pub(crate) tenant_id: Option<String>,
    /// Time between two batches.
    pub(crate) interval: Duration,
    /// How hard the server is pushed.
    pub(crate) limits: PushLimits,
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

/// A checked address and what it wants to know of the client.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Full URL of the push.
    pub(super) url: Url,
    /// Who pushes.
    pub(super) credentials: Credentials,
    /// Value of `X-Scope-OrgID`.
    pub(super) tenant: Option<HeaderValue>,
}

/// Who pushes.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// Anybody.
    None,
    /// User and password.
    Basic(String, Secret),
    /// A token.
    Bearer(Secret),
}

impl PyroscopeConfig {
    /// The checked address, or one sentence on what is wrong with it.
    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        let url = push_url(&self.url)?;
        Ok(Endpoint {
            url,
            credentials: self.credentials()?,
            tenant: self.tenant()?,
        })
    }

    fn credentials(&self) -> Result<Credentials> {
        match (&self.user, &self.password, &self.bearer_token) {
            (None, None, None) => Ok(Credentials::None),
            (Some(user), Some(password), None) => {
                ensure!(
                    !user.contains(':'),
                    "the pyroscope user must not contain `:`, which ends it on the wire"
                );
                Ok(Credentials::Basic(user.clone(), password.clone()))
            }
            (None, None, Some(token)) => {
                ensure!(
                    !token.reveal().is_empty()
                        && token.reveal().bytes().all(|byte| byte.is_ascii_graphic()),
                    "the pyroscope bearer token is empty or has spaces or control characters in it: give it without a line end"
                );
                Ok(Credentials::Bearer(token.clone()))
            }
            (_, _, Some(_)) => {
                bail!("give either a pyroscope bearer token or a user and a password, not both")
            }
            (Some(_), None, None) => bail!("a pyroscope user wants a password as well"),
            (None, Some(_), None) => bail!("a pyroscope password wants a user as well"),
        }
    }

    /// The server answers 401 to a tenant id that breaks these rules, and to several ids joined by `|`, at every push.
    fn tenant(&self) -> Result<Option<HeaderValue>> {
        let Some(id) = &self.tenant_id else {
            return Ok(None);
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
        ensure!(
            !id.is_empty()
                && id.len() <= LONGEST_TENANT
                && id != "."
                && id != ".."
                && id.bytes().all(legal),
            "the pyroscope tenant id {id:?} is not one: use 1 to {LONGEST_TENANT} letters, digits and !-_.*'()"
        );
        Ok(Some(HeaderValue::from_str(id).context(
            "the pyroscope tenant id does not fit a header",
        )?))
    }
}

fn push_url(text: &str) -> Result<Url> {
    // A password in a mistyped address must not reach the log.
    let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    ensure!(
        has_scheme,
        "the pyroscope url {shown:?} does not begin with http:// or https://: write it as http://host:4040"
    );
    let base = Url::parse(text).with_context(|| {
        format!("the pyroscope url {shown:?} cannot be read: write it as http://host:4040")
    })?;
    ensure!(
        base.username().is_empty() && base.password().is_none(),
        "the pyroscope url of {shown:?} has a user or password in it: give them as user and password"
    );
    ensure!(
        base.query().is_none() && base.fragment().is_none(),
        "the pyroscope url {shown:?} has a `?` or `#` in it: give only the server's address and path"
    );
    // `//push...` is answered with a redirect, which a push does not follow.
    let full = format!("{}/{PUSH_PATH}", base.as_str().trim_end_matches('/'));
    Url::parse(&full).with_context(|| {
        format!("the pyroscope url {shown:?} cannot be extended by the path of a push")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> PyroscopeConfig {
        PyroscopeConfig {
            url: url.to_owned(),
            user: None,
            password: None,
            bearer_token: None,
            tenant_id: None,
            interval: Duration::from_secs(15),
            limits: PushLimits::default(),
        }
    }

    fn complaint(config: &PyroscopeConfig) -> String {
        format!("{:#}", config.endpoint().expect_err("refused"))
    }

    /// A trailing slash goes (the server redirects `//push`), a path stays.
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
            assert_eq!(config(base).endpoint().expect(base).url.as_str(), full);
        }
    }

    /// Each wrong address gets one line that says what to write instead.
    #[test]
    fn wrong_urls_are_explained() {
        for (url, part) in [
            ("pyroscope:4040", "does not begin with http://"),
            ("", "does not begin with http://"),
            ("ftp://host", "does not begin with http://"),
            ("http://", "cannot be read"),
            ("http://host:99999", "cannot be read"),
            ("http://host?x=1", "`?` or `#`"),
            ("http://host/#a", "`?` or `#`"),
        ] {
            let complaint = complaint(&config(url));
            assert!(
                complaint.contains(part) && !complaint.contains('\n'),
                "{url}: {complaint}"
            );
        }
    }

    /// A password written into the address is refused, and shown nowhere.
    #[test]
    fn secrets_are_never_shown() {
        for url in [
            "http://me:hunter2@host",
            "me:hunter2@host",
            "http://me:hunter2@host:99999",
        ] {
            assert!(
                !complaint(&config(url)).contains("hunter2"),
                "{}",
                complaint(&config(url))
            );
        }
        let mut config = config("http://host");
        config.user = Some("me".into());
        config.password = Some("hunter2".to_owned().into());
        let endpoint = config.endpoint().expect("valid");
        assert!(!format!("{config:?} {endpoint:?}").contains("hunter2"));
    }

    /// Half of a pair, two ways at once, and what no header can carry are refused at start.
    #[test]
    fn contradicting_credentials_are_refused() {
        let mut user_only = config("http://host");
        user_only.user = Some("me".into());
        assert!(complaint(&user_only).contains("wants a password"));

        let mut both = user_only.clone();
        both.password = Some("a".to_owned().into());
        both.bearer_token = Some("b".to_owned().into());
        assert!(complaint(&both).contains("not both"));

        let mut line_end = config("http://host");
        line_end.bearer_token = Some("token\n".to_owned().into());
        assert!(complaint(&line_end).contains("without a line end"));
    }

    /// The server's rules for tenant ids: what breaks them would be answered 401 for ever.
    #[test]
    fn tenant_ids_are_checked() {
        for (id, legal) in [
            ("team-a", true),
            ("a|b", false),
            ("a/b", false),
            ("a b", false),
            ("..", false),
            ("", false),
        ] {
            let mut config = config("http://host");
            config.tenant_id = Some(id.to_owned());
            assert_eq!(config.endpoint().is_ok(), legal, "{id}");
        }
        let mut long = config("http://host");
        long.tenant_id = Some("x".repeat(151));
        assert!(long.endpoint().is_err());
    }
}
