//! A server to push to: a table `[[destination]]` of the configuration file, or what the flags say of one.

use crate::cli::value;
use crate::secret::Secret;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Longest name: it is a label's value and the name of a directory.
const NAME_BYTES: usize = 100;

/// Headers that a push sets itself, and the setting that changes what is in them.
const OUR_HEADERS: [(&str, &str); 6] = [
    ("content-type", ""),
    ("content-length", ""),
    ("transfer-encoding", ""),
    ("connection", ""),
    ("host", "url"),
    ("x-scope-orgid", "tenant_id"),
];

/// Where it is, as whom it is spoken to, and how hard it is pushed. What is not given about the latter is as the flags say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    /// What it is called in metrics, log and spool, if not by its URL.
    #[serde(default, deserialize_with = "name")]
    pub(crate) name: Option<String>,
    #[serde(deserialize_with = "url")]
    pub(crate) url: Url,
    #[serde(default, deserialize_with = "tenant_id")]
    pub(crate) tenant_id: Option<String>,
    pub(crate) basic_auth_user: Option<String>,
    pub(crate) basic_auth_password: Option<Secret>,
    pub(crate) bearer_token: Option<Secret>,
    /// Read again whenever it changes.
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// Their values may be keys.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// Certificates of those that sign the server's, instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// What this host shows to a server that asks for a certificate.
    pub(crate) client_cert_file: Option<PathBuf>,
    pub(crate) client_key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "rate")]
    pub(crate) rate: Option<usize>,
    #[serde(default, deserialize_with = "rate")]
    pub(crate) burst: Option<usize>,
    #[serde(default, deserialize_with = "timeout")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default, deserialize_with = "spool_size")]
    pub(crate) spool_size: Option<u64>,
}

impl Destination {
    /// Nothing but a server.
    pub(crate) fn at(url: Url) -> Self {
        Self {
            name: None,
            url,
            tenant_id: None,
            basic_auth_user: None,
            basic_auth_password: None,
            bearer_token: None,
            bearer_token_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            rate: None,
            burst: None,
            timeout: None,
            spool_size: None,
        }
    }

    /// What it is called: its name, else host, port and path of its URL.
    pub(crate) fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let port = self.url.port().map(|port| format!(":{port}"));
        let host = self.url.host_str().unwrap_or_default();
        let path = self.url.path().trim_end_matches('/');
        format!("{host}{}{path}", port.unwrap_or_default())
            .chars()
            .map(|c| if is_for_names(c) { c } else { '_' })
            .take(NAME_BYTES)
            .collect()
    }

    /// Checks what concerns several values, or values that no error may show. `prefix` is what the names of settings begin with.
    pub(crate) fn check(&self, prefix: &str) -> Result<(), String> {
        self.check_credentials(prefix)?;
        let has_credentials = self.bearer_token.is_some()
            || self.bearer_token_file.is_some()
            || self.basic_auth_user.is_some();
        for (name, value) in &self.headers {
            check_header(name, value)?;
            if has_credentials && name.eq_ignore_ascii_case("authorization") {
                return Err(format!(
                    "headers: {name} and {prefix}bearer_token or {prefix}basic_auth_user exclude each other: give one of them"
                ));
            }
        }
        if self.client_cert_file.is_some() != self.client_key_file.is_some() {
            return Err(format!(
                "{prefix}client_cert_file and {prefix}client_key_file need each other: give both or none"
            ));
        }
        let tls = self.ca_file.is_some() || self.client_cert_file.is_some();
        if tls && self.url.scheme() != "https" {
            return Err(format!(
                "certificates are given, but {prefix}url is not https: write it with https://"
            ));
        }
        Ok(())
    }

    fn check_credentials(&self, prefix: &str) -> Result<(), String> {
        if self.basic_auth_user.is_some() != self.basic_auth_password.is_some() {
            return Err(format!(
                "{prefix}basic_auth_user and {prefix}basic_auth_password need each other: give both or none"
            ));
        }
        let given: Vec<&str> = [
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
            ("basic_auth_user", self.basic_auth_user.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        if let [first, second, ..] = given[..] {
            return Err(format!(
                "{prefix}{first} and {prefix}{second} exclude each other: give one of them"
            ));
        }
        let is_sayable = |user: &String| !user.contains(':') && !user.contains(char::is_control);
        if !self.basic_auth_user.as_ref().is_none_or(is_sayable) {
            return Err(format!(
                "{prefix}basic_auth_user has a colon or control character, which HTTP can't carry: leave it out"
            ));
        }
        if !self.bearer_token.as_ref().is_none_or(Secret::is_token) {
            return Err(format!(
                "{prefix}bearer_token is empty or has blanks or other characters that HTTP can't carry: leave them out"
            ));
        }
        Ok(())
    }
}

fn check_header(name: &str, value: &Secret) -> Result<(), String> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(format!(
            "headers: {name:?} is no name of a header: write letters, digits and dashes"
        ));
    };
    if let Some((_, setting)) = OUR_HEADERS.iter().find(|(ours, _)| header == *ours) {
        let instead = if setting.is_empty() {
            "leave it out".to_owned()
        } else {
            format!("give {setting} instead")
        };
        return Err(format!("headers: {name} is set by every push: {instead}"));
    }
    if HeaderValue::from_str(value.reveal()).is_err() {
        return Err(format!(
            "headers: the value of {name} has characters that HTTP can't carry: leave them out"
        ));
    }
    Ok(())
}

/// Letters of names of files and of hosts.
fn is_for_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:".contains(c)
}

fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|why| D::Error::custom(format!("invalid value {text:?}: {why}")))
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, |text| {
        let fits =
            text.len() <= NAME_BYTES && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !fits || !text.chars().all(is_for_names) {
            return Err(
                "a name is 1 to 100 letters, digits or -._: and begins with one of the former",
            );
        }
        Ok(Some(text.to_owned()))
    })
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    value::server_url(&text).map_err(|why| {
        let shown = value::without_userinfo(&text);
        D::Error::custom(format!("invalid value {shown:?}: {why}"))
    })
}

fn tenant_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, value::tenant_id).map(Some)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    parsed(deserializer, value::push_rate).map(Some)
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parsed(deserializer, value::push_timeout).map(Some)
}

fn spool_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    parsed(deserializer, value::spool_size).map(Some)
}
