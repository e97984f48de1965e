//! The labels of the series a profile is pushed as.

use crate::owner::Owner;
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::labels::MAX_VALUE_BYTES;
use pprof_proto::push::LabelPair;

/// What the server itself calls a series without a service name; an empty one it answers 400.
const UNNAMED: &str = "unknown_service";

/// Labels of the on-CPU profile of `owner` on the host `node`: one of each name, none empty, nothing of a process or a
/// thread, because the server keeps a series for each combination.
pub(super) fn on_cpu(owner: &Owner, node: &str) -> Vec<LabelPair> {
    let service_name = if owner.service_name.is_empty() {
        UNNAMED
    } else {
        &owner.service_name
    };
    [
        ("__name__", Some(PROCESS_CPU.name)),
        ("service_name", Some(service_name)),
        ("node", Some(node)),
        ("container_id", owner.container_id.as_deref()),
        ("container", owner.container.as_deref()),
        ("pod", owner.pod.as_deref()),
        ("namespace", owner.namespace.as_deref()),
        ("unit", owner.unit.as_deref()),
        // An SDK in the program may push under the same service name: its values are summed with ours unless told apart.
        ("profiler", Some("thermograph")),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        let value = cut(value?);
        (!value.is_empty()).then(|| LabelPair {
            name: name.to_owned(),
            value: value.to_owned(),
        })
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
            ["__name__", "service_name", "node", "unit", "profiler"]
        );
        assert_eq!(
            names(&on_cpu(&owner, "")),
            ["__name__", "service_name", "unit", "profiler"]
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
                "service_name",
                "node",
                "container_id",
                "container",
                "pod",
                "namespace",
                "profiler"
            ]
        );
        assert_eq!(
            (labels[0].value.as_str(), labels[1].value.as_str()),
            ("process_cpu", "checkout")
        );
    }

    /// Hostile names: no name becomes the server's own word for it, an endless one is cut between characters.
    #[test]
    fn hostile_names_stay_within_the_servers_rules() {
        let mut owner = Owner {
            service_name: String::new(),
            container_id: None,
            container: Some(format!("x{}", "é".repeat(5000))),
            pod: None,
            namespace: None,
            unit: None,
        };
        let labels = on_cpu(&owner, "host");
        assert_eq!(labels[1].value, "unknown_service");
        assert_eq!(labels[3].value, format!("x{}", "é".repeat(1023)));
        owner.service_name = "🔥".repeat(3000);
        assert_eq!(on_cpu(&owner, "host")[1].value.len(), 2048);
    }
}
