//! What is kept of what a runtime tells: labels may be as many and as long as their author likes.

use std::collections::BTreeMap;

/// Entries of one map that are kept.
const ENTRIES: usize = 128;
/// Longest key or value that is kept. A longer one is left out and not cut: half of a name is another name.
const TEXT_BYTES: usize = 2048;
/// Bytes of one map that are kept.
const MAP_BYTES: usize = 16 << 10;

/// The variables of a container's environment that name what runs in it; others are nobody's business.
const VARIABLES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// Of labels or annotations what fits, in the order of their keys.
pub(super) fn labels(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut room = MAP_BYTES;
    all.into_iter()
        .filter(|(key, value)| key.len() <= TEXT_BYTES && value.len() <= TEXT_BYTES)
        .take_while(|(key, value)| {
            let taken = room.checked_sub(key.len() + value.len());
            room = taken.unwrap_or_default();
            taken.is_some()
        })
        .take(ENTRIES)
        .collect()
}

/// Of an environment (`NAME=value` each) what is looked at.
pub(super) fn environment(all: &[String]) -> BTreeMap<String, String> {
    all.iter()
        .filter_map(|variable| variable.split_once('='))
        .filter(|(name, value)| VARIABLES.contains(name) && value.len() <= TEXT_BYTES)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A name, if it is one.
pub(super) fn name(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= TEXT_BYTES).then(|| name.to_owned())
}

/// The best name of an image: the first that is more than a digest, else the first.
pub(super) fn image<'a>(names: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    let named = |name: &&str| !name.is_empty() && !is_digest(name);
    let best = names.clone().into_iter().find(named);
    name(best.or_else(|| names.into_iter().find(|name| !name.is_empty()))?)
}

/// Whether this is what an image contains and not what it is called: `sha256:<64 hex>`, or podman's id without the prefix.
fn is_digest(image: &str) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value is whole or not there, and a container with very many labels costs no more than one with many.
    #[test]
    fn labels_are_bounded() {
        let many = (0..1_000_000).map(|at| (format!("k{at:07}"), "v".repeat(8)));
        let kept = labels(many.collect());
        assert_eq!(kept.len(), ENTRIES);
        assert!(kept.contains_key("k0000000"));
        let long = [("a", 2049), ("b", 2048), ("c", 1)];
        let kept = labels(long.map(|(k, n)| (k.to_owned(), "v".repeat(n))).into());
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["b", "c"]);
        let full = (0..100).map(|at| (format!("{at:02}"), "v".repeat(2048)));
        assert_eq!(labels(full.collect()).len(), 7);
    }

    /// Secrets of the environment are not kept.
    #[test]
    fn only_what_names_is_kept_of_the_environment() {
        let all = [
            "PASSWORD=x",
            "OTEL_SERVICE_NAME=cart",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=a,b=c",
            "OTEL_SERVICE_NAME_2=x",
            "broken",
        ];
        let kept = environment(&all.map(str::to_owned));
        let pairs: Vec<_> = kept.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b=c"),
                ("OTEL_SERVICE_NAME", "cart")
            ]
        );
    }

    /// A name is better than a digest, a digest better than nothing.
    #[test]
    fn images_are_called_by_their_names() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let bare = "0a".repeat(32);
        for (names, best) in [
            (&["", &digest, "cart:1.4"][..], Some("cart:1.4")),
            (&[&bare, "cart@sha256:0a"], Some("cart@sha256:0a")),
            (&["", &digest], Some(digest.as_str())),
            (&["", ""], None),
        ] {
            assert_eq!(image(names.iter().copied()).as_deref(), best);
        }
    }
}
