//! The labels of the series a profile is pushed as.

use crate::owner::Owner;
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::labels::MAX_VALUE_BYTES;
use pprof_proto::push::LabelPair;

/// Labels of the on-CPU profile of `owner` on the host `node`: one of each name, none empty (the server drops those in
/// silence), nothing of a process or a thread, because the server keeps a series for each combination.
pub(super) fn on_cpu(owner: &Owner, node: &str) -> Vec<LabelPair> {
    [
        ("__name__", PROCESS_CPU.name),
        ("node", node),
        // An SDK in the program may push under the same service name: its values are summed with ours unless told apart.
        ("profiler", "thermograph"),
    ]
    .into_iter()
    .chain(owner.labels())
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| LabelPair {
        name: name.to_owned(),
        value: cut(value).to_owned(),
    })
    .collect()
}

/// The begin of `value` that the server takes, whole characters only.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(MAX_VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[LabelPair]) -> Vec<&str> {
        labels.iter().map(|label| label.name.as_str()).collect()
    }

    /// What is not known is left out: the server drops a label with an empty value in silence.
    #[test]
    fn unknown_parts_have_no_label() {
        let owner = Owner {
            service_name: "cron.service".into(),
            container_id: None,
            container: Some(String::new()),
            pod: None,
            namespace: None,
            unit: Some("cron.service".into()),
        };
        assert_eq!(
            names(&on_cpu(&owner, "host")),
            ["__name__", "node", "profiler", "service_name", "unit"]
        );
        assert_eq!(
            names(&on_cpu(&owner, "")),
            ["__name__", "profiler", "service_name", "unit"]
        );
    }

    /// Everything known is there, under the names people search by.
    #[test]
    fn a_pod_has_all_labels() {
        let owner = Owner {
            service_name: "checkout".into(),
            container_id: Some("0123456789ab".into()),
            container: Some("app".into()),
            pod: Some("checkout-5d8f".into()),
            namespace: Some("shop".into()),
            unit: None,
        };
        let labels = on_cpu(&owner, "node-1");
        assert_eq!(
            names(&labels),
            [
                "__name__",
                "node",
                "profiler",
                "service_name",
                "container_id",
                "container",
                "pod",
                "namespace"
            ]
        );
        assert_eq!(
            (labels[0].value.as_str(), labels[3].value.as_str()),
            ("process_cpu", "checkout")
        );
    }

    /// An endless name is cut between characters.
    #[test]
    fn hostile_names_stay_within_the_servers_rules() {
        let owner = Owner {
            service_name: "🔥".repeat(3000),
            container_id: None,
            container: Some(format!("x{}", "é".repeat(5000))),
            pod: None,
            namespace: None,
            unit: None,
        };
        let labels = on_cpu(&owner, "host");
        let value = |name: &str| {
            labels
                .iter()
                .find(|label| label.name == name)
                .map(|label| label.value.as_str())
        };
        assert_eq!(
            value("container"),
            Some(format!("x{}", "é".repeat(1023)).as_str())
        );
        assert_eq!(value("service_name").map(str::len), Some(2048));
    }
}
