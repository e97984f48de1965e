//! The labels of the series a profile is pushed as.

use crate::owner::Owner;
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::labels::MAX_VALUE_BYTES;
use pprof_proto::push::LabelPair;

/// Labels of the on-CPU profile of `owner` on the host `node`: one of each name, none empty (the server drops those in
/// silence), nothing of a process or a thread, because the server keeps a series for each combination.
pub(super) fn on_cpu(owner: &Owner, node: &str) -> Vec<LabelPair> {
    let fixed = [
        ("__name__", PROCESS_CPU.name),
        ("node", node),
        // An SDK in the program may push under the same service name: its values are summed with ours unless told apart.
        ("profiler", "thermograph"),
    ];
    // A pod's node has its cluster's name for it.
    let is_told = |name: &str| owner.labels().any(|(own, _)| own == name);
    fixed
        .into_iter()
        .filter(|(name, value)| !value.is_empty() && !is_told(name))
        .chain(owner.labels())
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

    fn owner(service_name: &str, labels: &[(&str, &str)]) -> Owner {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Owner::new(service_name.to_owned(), labels.collect())
    }

    /// What is not known is left out: the server drops a label with an empty value in silence.
    #[test]
    fn unknown_parts_have_no_label() {
        let owner = owner("cron", &[("container", ""), ("unit", "cron.service")]);
        assert_eq!(
            names(&on_cpu(&owner, "host")),
            ["__name__", "node", "profiler", "service_name", "unit"]
        );
        assert_eq!(
            names(&on_cpu(&owner, "")),
            ["__name__", "profiler", "service_name", "unit"]
        );
    }

    /// Everything known is there, each name once; a pod is on the node that its cluster says.
    #[test]
    fn a_pod_has_all_labels() {
        let labels = [
            ("pod", "checkout-5d8f"),
            ("namespace", "shop"),
            ("node", "worker-1"),
        ];
        let labels = on_cpu(&owner("checkout", &labels), "host");
        assert_eq!(
            names(&labels),
            [
                "__name__",
                "profiler",
                "service_name",
                "namespace",
                "node",
                "pod"
            ]
        );
        let values: Vec<&str> = labels.iter().map(|label| label.value.as_str()).collect();
        assert_eq!(
            values,
            [
                "process_cpu",
                "thermograph",
                "checkout",
                "shop",
                "worker-1",
                "checkout-5d8f"
            ]
        );
    }

    /// An endless name is cut between characters.
    #[test]
    fn hostile_names_stay_within_the_servers_rules() {
        let long = format!("x{}", "é".repeat(5000));
        let owner = owner(&"🔥".repeat(3000), &[("container", &long)]);
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
