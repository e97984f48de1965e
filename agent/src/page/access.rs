//! Who may see what.
//!
//! | listening on | `/metrics`, `/healthz` | page and API |
//! |---|---|---|
//! | loopback | a Host that is this machine | the same; with the token, if one is set |
//! | beyond | everyone | with the token only |
//!
//! The Host header is checked on loopback because of DNS rebinding: a foreign site whose name suddenly resolves to
//! 127.0.0.1 is same-origin to itself, and could read the page through the browser of someone who sits here. Beyond
//! loopback machines go by names nobody told the agent (scrapers use them), and the token does the work: a browser never
//! sends its cookie to a rebound name.

use super::answer::Refusal;
use crate::secret::Secret;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;

const COOKIE: &str = "thermograph_token";
const OPEN_PATHS: [&str; 2] = ["/metrics", "/healthz"];

/// The rules for one listen address.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    listen: IpAddr,
    token: Option<Secret>,
}

/// A request that may pass.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// As it is.
    Through,
    /// As what it is without the token in its address.
    WithoutToken { address: String },
}

impl Access {
    /// For a server that listens on `listen`; `token` opens page and API, and is of letters, digits and `-._~`.
    pub(crate) fn new(listen: SocketAddr, token: Option<Secret>) -> Self {
        Self {
            listen: listen.ip().to_canonical(),
            token,
        }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Pass, Refusal> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are served here: nothing can be changed over HTTP",
            ));
        }
        let loopback = self.listen.is_loopback();
        if loopback {
            self.check_host(uri, headers)?;
        }
        let is_api = uri.path().starts_with("/api/");
        if is_api {
            check_site(headers)?;
        }
        if OPEN_PATHS.contains(&uri.path()) {
            return Ok(Pass::Through);
        }
        match &self.token {
            Some(token) => check_token(token.reveal(), uri, headers),
            None if loopback => Ok(Pass::Through),
            None => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "beyond loopback page and API are closed without a token: start the agent with --page-token, \
                 or listen on 127.0.0.1",
            )),
        }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        // HTTP/1.1 lets a client name the host in the request line too; both have to be right.
        let named = headers.get_all(header::HOST).iter().map(as_authority);
        let mut hosts = named.chain(uri.authority().map(|authority| Some(authority.clone())));
        let known = |host: Option<Authority>| host.is_some_and(|host| self.is_here(host.host()));
        if headers.contains_key(header::HOST) && hosts.all(known) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this agent answers to localhost, loopback addresses and its listen address only, so that no web site can \
             reach it under a name of its own (DNS rebinding): use http://127.0.0.1 and the port",
        ))
    }

    fn is_here(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        address.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || address == self.listen
        })
    }
}

fn as_authority(host: &HeaderValue) -> Option<Authority> {
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    // `user@localhost` is an authority, but no Host.
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Browsers say where a request comes from. Another port of this machine is the same site, yet somebody else's page.
fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"none" | b"same-origin") => Ok(()),
        Some(_) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "requests that another web site makes are refused: open the page of this agent itself",
        )),
    }
}

fn check_token(token: &str, uri: &Uri, headers: &HeaderMap) -> Result<Pass, Refusal> {
    let is_it = |given: &str| bool::from(given.as_bytes().ct_eq(token.as_bytes()));
    if bearer(headers).is_some_and(is_it) || cookies(headers).any(is_it) {
        return Ok(Pass::Through);
    }
    let query = uri.query().unwrap_or_default();
    let (given, others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .partition(|pair| pair.starts_with("token="));
    if given
        .iter()
        .filter_map(|pair| pair.strip_prefix("token="))
        .any(is_it)
    {
        // Two slashes at its begin would make the path a host.
        let mut address = format!("/{}", uri.path().trim_start_matches('/'));
        if !others.is_empty() {
            address = format!("{address}?{}", others.join("&"));
        }
        return Ok(Pass::WithoutToken { address });
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "page and API need the agent's page token: open /?token=... once, or send Authorization: Bearer ...",
    ))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Lets a request pass or refuses it.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.check(request.method(), request.uri(), request.headers()) {
        Ok(Pass::Through) => next.run(request).await,
        Ok(Pass::WithoutToken { address }) if request.uri().path() == "/" => {
            access.keep_token(&address)
        }
        Ok(Pass::WithoutToken { address }) => match address.parse() {
            Ok(uri) => {
                *request.uri_mut() = uri;
                next.run(request).await
            }
            Err(_) => {
                Refusal::bad_request("the address is not one: see the page for those that are")
                    .into_response()
            }
        },
        Err(refusal) => {
            let not_allowed = refusal.status == StatusCode::METHOD_NOT_ALLOWED;
            let mut response = match request.uri().path().starts_with("/api/") {
                true => refusal.into_response(),
                false => refusal.into_text(),
            };
            if not_allowed {
                let allowed = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
    }
}

impl Access {
    /// Once it is in a cookie the token is neither in the browser's history nor in a link that is copied.
    fn keep_token(&self, address: &str) -> Response {
        let token = self.token.as_ref().map_or("", Secret::reveal);
        let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
        let headers = [
            (header::LOCATION, address),
            (header::SET_COOKIE, cookie.as_str()),
        ];
        (StatusCode::SEE_OTHER, headers).into_response()
    }
}

#[cfg(test)]
mod tests;
