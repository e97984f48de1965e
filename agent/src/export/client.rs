//! One push over HTTP: how it is sent, and what came of it.

use super::authorization::Authorization;
use super::config::PyroscopeConfig;
use super::retry::{Answer, Outcome};
use super::tls;
use crate::secret::Secret;
use anyhow::{Context, Result};
use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Response, Url, redirect};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, SystemTime};

/// The Connect procedure of a push, below the server's base URL.
const PUSH_PATH: &str = "push.v1.PusherService/Push";

/// Error bodies echo all labels (80 kB were seen); the reason stands at their begin.
const ANSWER_BYTES: usize = 4096;

/// The server closes a connection that is idle for 120 s; ours must be gone before, or a push meets a closed one.
const IDLE: Duration = Duration::from_secs(60);

/// A connection that takes longer to make than this will not be made; nothing has been sent by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends pushes to one server over connections it keeps.
pub(super) struct PushClient {
    http: Client,
    url: Url,
    /// What a server answers at once, without a credential.
    ready: Url,
    authorization: Authorization,
    headers: HeaderMap,
}

/// Body of a Connect error.
#[derive(Deserialize)]
struct ConnectError {
    message: String,
}

impl PushClient {
    /// A client of the server in `config`.
    pub(super) fn new(config: &PyroscopeConfig) -> Result<PushClient> {
        // An error means that another part of the process was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("thermograph/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(config.limits.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true);
        if config.url.scheme() == "http" {
            // Without this, a host that has no certificates installed could not push over http either.
            builder = builder.tls_certs_only([]);
        }
        let http = tls::configure(builder, &config.tls)?.build().context(
            "https to pyroscope cannot be set up: install the system's CA certificates (package ca-certificates), and see that a client's certificate and key belong together",
        )?;
        Ok(PushClient {
            http,
            url: config.url_of(PUSH_PATH)?,
            ready: config.url_of("ready")?,
            authorization: Authorization::new(&config.credentials)?,
            headers: headers(&config.headers, config.tenant_id.as_deref())?,
        })
    }

    /// Sends the encoded `PushRequest` once.
    pub(super) async fn push(&self, body: Bytes) -> Outcome {
        let authorization = match self.authorization.header().await {
            Ok(header) => header,
            Err(error) => return Outcome::NotSent(format!("{error:#}")),
        };
        let outcome = self.push_as(authorization.as_ref(), body.clone()).await;
        let is_unknown =
            matches!(&outcome, Outcome::Answered(answer) if matches!(answer.status, 401 | 403));
        if !is_unknown {
            return outcome;
        }
        // The token may have been replaced while the push was on its way. That one was refused, so it may be repeated.
        match self.authorization.header().await {
            Ok(newer) if newer != authorization => self.push_as(newer.as_ref(), body).await,
            _ => outcome,
        }
    }

    /// Whether anybody answers there, and not only a proxy for a server that is away; if not, how that ended.
    pub(super) async fn reach(&self) -> Option<Outcome> {
        match self.http.head(self.ready.clone()).send().await {
            Ok(response) if matches!(response.status().as_u16(), 502..=504) => {
                Some(read_answer(response).await)
            }
            Ok(_) => None,
            Err(error) => Some(failed(&error)),
        }
    }

    async fn push_as(&self, authorization: Option<&HeaderValue>, body: Bytes) -> Outcome {
        // A charset parameter, or any other type, is answered 415.
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/proto")
            .headers(self.headers.clone())
            .body(body);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match request.send().await {
            Ok(response) => read_answer(response).await,
            Err(error) => failed(&error),
        }
    }
}

fn headers(given: &BTreeMap<String, Secret>, tenant: Option<&str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let mut value = HeaderValue::from_str(value.reveal())?;
        value.set_sensitive(true);
        headers.append(HeaderName::from_bytes(name.as_bytes())?, value);
    }
    if let Some(tenant) = tenant {
        headers.insert("x-scope-orgid", HeaderValue::from_str(tenant)?);
    }
    Ok(headers)
}

fn failed(error: &reqwest::Error) -> Outcome {
    if error.is_connect() {
        Outcome::NotSent(innermost(error))
    } else if error.is_timeout() {
        Outcome::TimedOut
    } else {
        Outcome::Broken(innermost(error))
    }
}

/// The cause at the bottom, such as "Connection refused": what lies above it names the URL once more, and is no help.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

async fn read_answer(response: Response) -> Outcome {
    let status = response.status().as_u16();
    if status == 200 {
        // The acknowledgement is the status; its body is an empty message, gzip'd or not.
        return if is_web_page(response.headers()) {
            Outcome::NotPyroscope
        } else {
            Outcome::Answered(Answer {
                status,
                ..Answer::default()
            })
        };
    }
    let retry_after = retry_after(response.headers());
    let body = read_begin(response).await;
    let message = match serde_json::from_slice(&body) {
        Ok(ConnectError { message }) => message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Outcome::Answered(Answer {
        status,
        message,
        retry_after,
    })
}

fn is_web_page(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"))
}

/// The first [`ANSWER_BYTES`] of the body, or fewer where it breaks off.
async fn read_begin(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES {
        let Ok(Some(chunk)) = response.chunk().await else {
            break;
        };
        let room = ANSWER_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    body
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn parsed(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("header"));
        retry_after(&headers)
    }

    /// Both forms of RFC 9110, and nothing for what is neither.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parsed("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            parsed("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(parsed(&in_a_minute).is_some_and(|wait| wait > Duration::from_secs(50)));
        assert_eq!(parsed("soon"), None);
        assert_eq!(parsed("-1"), None);
    }

    /// A proxy that answers for a server which is away is no server; whatever else answers is one.
    #[tokio::test]
    async fn reached_is_who_answers_for_itself() {
        for (status, is_there) in [
            (200, true),
            (404, true),
            (502, false),
            (503, false),
            (504, false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n").unwrap();
            });
            let client = PushClient::new(&crate::export::tests::config(&url)).unwrap();
            assert_eq!(client.reach().await.is_none(), is_there, "{status}");
            serving.join().unwrap();
        }
    }
}
