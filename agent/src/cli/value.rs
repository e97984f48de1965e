//! Parsers of single values; their errors end clap's sentence "invalid value '...' for '--...': ...".

use crate::sampling::WINDOW;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};
use reqwest::Url;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest time whose profiles wait in memory for the next push.
const LONGEST_PUSH_INTERVAL: Duration = Duration::from_secs(600);

/// A server takes up to half a second to acknowledge a push; what is given up sooner is stored all the same.
const PUSH_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(300);

/// Less would make a profile of an owner wait for minutes.
const SLOWEST_PUSH: u64 = 64 << 10;

const SMALLEST_SPOOL: u64 = 1 << 20;

const LONGEST_RECORDING: Duration = Duration::from_secs(24 * 3600);

/// Samples per second and CPU.
pub(super) fn frequency() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=10_000)
}

/// MiB of kernel memory: beside tables, there are rings and counts to be held.
pub(super) fn unwind_memory() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(8..=4096)
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(
        |_| "write an IP address and a port, such as 127.0.0.1:4041, 0.0.0.0:4041 or [::1]:4041",
    )
}

/// Base URLs of servers that are asked one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrls(pub(crate) Vec<Url>);

/// They are separated as in the variable DEBUGINFOD_URLS of other tools.
pub(super) fn server_urls(text: &str) -> Result<ServerUrls, &'static str> {
    const SHAPE: &str = "write URLs such as https://debuginfod.debian.net, with spaces between";
    let urls = text.split_ascii_whitespace().map(server_url);
    let urls: Vec<Url> = urls.collect::<Result<_, _>>().map_err(|_| SHAPE)?;
    match urls[..] {
        // A comma is legal in the name of a host, but meant to be between two.
        [] => Err(SHAPE),
        _ if text.contains(',') => Err(SHAPE),
        _ => Ok(ServerUrls(urls)),
    }
}

/// A server's base URL; a path is kept, for servers behind a proxy.
pub(crate) fn server_url(text: &str) -> Result<Url, &'static str> {
    const SHAPE: &str = "write a URL such as http://pyroscope:4040";
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    if !matches!(url.scheme(), "http" | "https")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(SHAPE);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "give user and password by --pyroscope-basic-auth-user and --pyroscope-basic-auth-password",
        );
    }
    Ok(url)
}

/// What may be shown of a text that is meant to be a URL, or several: passwords stand before the last `@`.
pub(crate) fn without_userinfo(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => text.to_owned(),
    }
}

/// The same as a parser of flags, whose errors show no password.
#[derive(Clone)]
pub(super) struct UrlParser<T>(pub(super) fn(&str) -> Result<T, &'static str>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for UrlParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_string_lossy();
        (self.0)(&text).map_err(|why| {
            let flag = arg.map(Arg::to_string).unwrap_or_default();
            let shown = without_userinfo(&text);
            let message = format!("invalid value '{shown}' for '{flag}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// Tenant by the rules of the server (and of Mimir, Loki and Tempo, which share them).
pub(crate) fn tenant_id(text: &str) -> Result<String, &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if text.is_empty() || text.len() > 150 || matches!(text, "." | "..") || !text.chars().all(legal)
    {
        return Err("a tenant is 1 to 150 letters, digits or !-_.*'()");
    }
    Ok(text.to_owned())
}

pub(super) fn push_interval(text: &str) -> Result<Duration, &'static str> {
    let interval = time(text)?;
    let whole = interval.as_nanos().is_multiple_of(WINDOW.as_nanos());
    if !whole || interval < WINDOW || interval > LONGEST_PUSH_INTERVAL {
        return Err("write a multiple of 5s, from 5s to 10m");
    }
    Ok(interval)
}

/// Bytes that are pushed, in a second or at once.
pub(crate) fn push_rate(text: &str) -> Result<usize, &'static str> {
    let bytes = size(text)?;
    match usize::try_from(bytes) {
        Ok(rate) if (SLOWEST_PUSH..=1 << 30).contains(&bytes) => Ok(rate),
        _ => Err("write a size from 64KiB to 1GiB"),
    }
}

pub(crate) fn push_timeout(text: &str) -> Result<Duration, &'static str> {
    let timeout = time(text)?;
    if !PUSH_TIMEOUTS.contains(&timeout) {
        return Err("write a time from 10s to 5m");
    }
    Ok(timeout)
}

/// Bytes on disk; none is no spool.
pub(crate) fn spool_size(text: &str) -> Result<u64, &'static str> {
    let bytes = size(text)?;
    if bytes != 0 && bytes < SMALLEST_SPOOL {
        return Err("write a size from 1MiB, or 0 for no spool");
    }
    Ok(bytes)
}

pub(super) fn recording_length(text: &str) -> Result<Duration, &'static str> {
    let length = time(text)?;
    if length.is_zero() || length > LONGEST_RECORDING {
        return Err("write a time from 1ms to 24h");
    }
    Ok(length)
}

/// Keys of labels or annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelKeys(pub(crate) Vec<String>);

/// Keys with commas between them.
pub(super) fn label_keys(text: &str) -> Result<LabelKeys, &'static str> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if keys.iter().any(|key| !key.chars().all(legal)) {
        return Err(
            "write names of labels with commas between them, such as team,app.kubernetes.io/part-of",
        );
    }
    Ok(LabelKeys(keys))
}

/// One of them stands for the others.
pub(super) fn max_owners() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(2..=100_000)
}

/// `0.1%` or `0.001`.
pub(super) fn share(text: &str) -> Result<f64, &'static str> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse().map(|number: f64| number / whole);
    match share {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("write a share such as 0.1% or 0.001, less than the whole"),
    }
}

/// `15s`, `500ms`, `1m`, `2h`, or `15`, which is seconds.
fn time(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "write a time such as 15s, 500ms, 1m or 2h";
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(SHAPE),
    };
    let number: u64 = number.parse().map_err(|_| SHAPE)?;
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or(SHAPE)
}

/// `256MiB`, `3.5MiB`, `64KiB`, `1GiB`, or `4096`, which is bytes.
fn size(text: &str) -> Result<u64, &'static str> {
    const SHAPE: &str = "write a size such as 256MiB, 3.5MiB or 64KiB";
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, unit) = text.split_at(text.find(|c| !is_of_number(c)).unwrap_or(text.len()));
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SHAPE),
    };
    let number: f64 = number.parse().map_err(|_| SHAPE)?;
    let size = number * bytes as f64;
    // Beyond this not every number of bytes is a number of its kind.
    if size > (1_u64 << 53) as f64 {
        return Err(SHAPE);
    }
    Ok(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every unit, fractions, and what is no size.
    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("10B", 10),
            ("64KiB", 65_536),
            ("3.5MiB", 3_670_016),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1MB",
            "1 MiB",
            "-1",
            "1e3",
            "1.2.3MiB",
            "99999999999GiB",
            "NaN",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(push_rate("3.5MiB"), Ok(7 << 19));
        assert!(push_rate("1KiB").is_err() && push_rate("2GiB").is_err());
        assert_eq!((spool_size("0"), spool_size("1MiB")), (Ok(0), Ok(1 << 20)));
        assert!(spool_size("1KiB").is_err());
        assert!(push_timeout("10s").is_ok() && push_timeout("1s").is_err());
    }

    /// Parts of the whole, and what is none.
    #[test]
    fn shares() {
        for (text, part) in [
            ("0", 0.0),
            ("0%", 0.0),
            ("0.1%", 0.001),
            ("25 %", 0.25),
            ("0.001", 0.001),
        ] {
            assert_eq!(share(text), Ok(part), "{text}");
        }
        for text in ["", "%", "100%", "1", "-1%", "x", "NaN", "inf", "1e9"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    /// Keys as Kubernetes has them; blanks around them do not count.
    #[test]
    fn keys_of_labels() {
        let keys = ["team", "app.kubernetes.io/part-of"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            label_keys("team, app.kubernetes.io/part-of,"),
            Ok(LabelKeys(keys))
        );
        assert_eq!(label_keys(""), Ok(LabelKeys::default()));
        assert!(label_keys("team=payments").is_err());
    }

    /// Every unit, none, and what is no time; huge numbers do not overflow.
    #[test]
    fn times() {
        for (text, millis) in [
            ("15s", 15_000),
            ("15", 15_000),
            ("500ms", 500),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("0", 0),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1d",
            "1m30s",
            "18446744073709551615h",
            "99999999999999999999",
            "٣s",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    /// An interval is made of whole windows.
    #[test]
    fn push_intervals() {
        assert_eq!(push_interval("1m"), Ok(Duration::from_secs(60)));
        for text in ["0", "7s", "5001ms", "11m", "1h"] {
            assert!(push_interval(text).is_err(), "{text}");
        }
    }

    /// What a server can be reached by, and what people paste instead.
    #[test]
    fn server_urls() {
        for text in [
            "http://localhost:4040",
            "https://example.com/pyroscope/",
            "http://[::1]:4040",
        ] {
            assert!(server_url(text).is_ok(), "{text}");
        }
        for text in [
            "localhost:4040",
            "pyroscope",
            "ftp://a",
            "http://",
            "http://a/?x=1",
            "http://u:p@a",
            "http://a#b",
            "",
        ] {
            assert!(server_url(text).is_err(), "{text}");
        }
    }

    /// An error about a URL shows neither user nor password, whatever else is wrong with it; one without them is shown whole.
    #[test]
    fn no_error_shows_a_password() {
        for text in ["http://u:hunter2@a", "ftp://u:hunter2@a", "u:hunter2@a?"] {
            let error = UrlParser(server_url)
                .parse_ref(&Command::new("x"), None, OsStr::new(text))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("...@a") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert_eq!(without_userinfo("ftp://a"), "ftp://a");
    }

    /// One, several, and none.
    #[test]
    fn several_urls() {
        let count = |text| super::server_urls(text).map(|urls| urls.0.len());
        assert_eq!(count("https://a"), Ok(1));
        assert_eq!(count(" https://a/x  http://b:80 "), Ok(2));
        for text in ["", " ", "https://a b", "http://u:p@a"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    /// The server answers 401 to each of the bad ones.
    #[test]
    fn tenants() {
        assert!(tenant_id("team-a_1.x").is_ok() && tenant_id(&"a".repeat(150)).is_ok());
        for text in ["", ".", "..", "a|b", "a/b", "a b", "ä", &"a".repeat(151)] {
            assert!(tenant_id(text).is_err(), "{text}");
        }
    }
}
