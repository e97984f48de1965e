//! Labels of a series: what is refused, and what is dropped or hidden in silence.

use super::limits::Limits;
use super::push::Refusal;
use pprof_proto::pprof::Profile;
use pprof_proto::push::LabelPair;
use std::collections::{BTreeMap, BTreeSet};

/// Labels that rewrite every mapping's build id.
const SOURCE_LABELS: [&str; 3] = ["service_repository", "service_git_ref", "service_root_path"];

/// Labels that the server sets itself, or removes.
const SERVERS_OWN: [&str; 8] = [
    "__profile_type__",
    "__type__",
    "__unit__",
    "__period_type__",
    "__period_unit__",
    "__service_name__",
    "__delta__",
    "__session_id__",
];

/// String labels of samples that stay with the sample and make no series.
const OF_SAMPLES: [&str; 3] = ["span_id", "trace_id", "profile_id"];

/// The error for labels that break a rule.
pub(super) fn reject(
    pairs: &[LabelPair],
    profile: &Profile,
    limits: &Limits,
) -> Result<(), Refusal> {
    let mut names = BTreeSet::new();
    for pair in pairs {
        if pair.name.is_empty() {
            return Err(Refusal::invalid("invalid label name ''"));
        }
        if !names.insert(pair.name.as_str()) {
            return Err(Refusal::invalid(format!(
                "profile has duplicate label name: '{}'",
                pair.name
            )));
        }
        if pair.name.len() > limits.label_name {
            return Err(Refusal::invalid(format!(
                "label name too long: '{}'",
                pair.name
            )));
        }
        if pair.value.len() > limits.label_value {
            return Err(Refusal::invalid(format!(
                "label value too long: '{}'",
                pair.name
            )));
        }
    }
    if !pairs
        .iter()
        .any(|pair| pair.name == "__name__" && !pair.value.is_empty())
    {
        return Err(Refusal::invalid("invalid metric name"));
    }
    if pairs
        .iter()
        .any(|pair| pair.name == "service_name" && pair.value.is_empty())
    {
        return Err(Refusal::invalid("service name is not provided"));
    }
    let count = names.len()
        + usize::from(!names.contains("service_name"))
        + series_labels_of_samples(profile).len();
    if count > limits.labels {
        return Err(Refusal::invalid(format!(
            "profile series has {count} label names; limit {}",
            limits.labels
        )));
    }
    Ok(())
}

/// Names of the string labels of samples that become labels of series.
pub(super) fn series_labels_of_samples(profile: &Profile) -> BTreeSet<String> {
    let text = |at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| profile.string_table.get(at))
            .cloned()
    };
    let labels = profile
        .sample
        .iter()
        .flat_map(|sample| &sample.label)
        .filter(|label| label.str != 0);
    labels
        .filter_map(|label| text(label.key))
        .filter(|name| !OF_SAMPLES.contains(&name.as_str()))
        .collect()
}

/// What happens to labels behind a 200.
pub(super) fn swallow(pairs: &[LabelPair]) -> Vec<String> {
    let mut losses = Vec::new();
    let has = |name: &str| pairs.iter().any(|pair| pair.name == name);
    if !has("service_name") {
        losses.push("no service_name: the series becomes unknown_service".to_owned());
    }
    for LabelPair { name, value } in pairs {
        if value.is_empty() {
            losses.push(format!("label {name:?} has an empty value: dropped"));
        }
        if SERVERS_OWN.contains(&name.as_str()) {
            losses.push(format!(
                "label {name:?} is the server's own: overwritten or removed"
            ));
        }
        if !is_visible(name) {
            losses.push(format!(
                "label {name:?} is no plain name: hidden from queries"
            ));
        }
        if SOURCE_LABELS.contains(&name.as_str()) {
            losses.push(format!(
                "label {name:?} rewrites the build id of every mapping"
            ));
        }
        if name == "__name__" && (value.contains("godeltaprof_") || value.contains([':', ' '])) {
            losses.push(format!(
                "profile name {value:?} is rewritten or cannot be queried"
            ));
        }
    }
    losses
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`.
fn is_visible(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// The labels that are kept.
pub(super) fn kept(pairs: &[LabelPair]) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = pairs
        .iter()
        .filter(|pair| !pair.value.is_empty() && !SERVERS_OWN.contains(&pair.name.as_str()))
        .map(|pair| (pair.name.clone(), pair.value.clone()))
        .collect();
    labels
        .entry("service_name".to_owned())
        .or_insert_with(|| "unknown_service".to_owned());
    labels
}
