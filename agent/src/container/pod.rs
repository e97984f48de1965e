//! Pods by what Kubernetes writes on their containers.

use super::PodInfo;
use super::bounds;
use super::workload::{workload_of_labels, workload_of_name};
use std::collections::BTreeMap;

/// Labels that the kubelet puts on containers and pods for itself.
const POD: &str = "io.kubernetes.pod.name";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const UID: &str = "io.kubernetes.pod.uid";
const CONTAINER: &str = "io.kubernetes.container.name";

/// The pod of a container by the labels of the container alone: its own labels are not among them.
pub(super) fn pod_of_container(labels: &BTreeMap<String, String>) -> Option<PodInfo> {
    let name = bounds::name(labels.get(POD)?)?;
    Some(PodInfo {
        workload: workload_of_name(&name),
        name,
        namespace: text(labels.get(NAMESPACE)),
        uid: text(labels.get(UID)),
        ..PodInfo::default()
    })
}

fn text(label: Option<&String>) -> String {
    label
        .and_then(|text| bounds::name(text))
        .unwrap_or_default()
}

/// A pod by all that a runtime was told of it.
pub(super) fn pod_of_sandbox(
    name: &str,
    namespace: &str,
    uid: &str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Option<PodInfo> {
    Some(PodInfo {
        workload: workload_of_labels(name, &labels).and_then(|workload| bounds::name(&workload)),
        name: bounds::name(name)?,
        namespace: bounds::name(namespace).unwrap_or_default(),
        uid: bounds::name(uid).unwrap_or_default(),
        labels: bounds::labels(labels),
        annotations: bounds::labels(annotations),
        node: None,
    })
}

/// Name of a container in the specification of its pod.
pub(super) fn container_name(labels: &BTreeMap<String, String>) -> Option<String> {
    bounds::name(labels.get(CONTAINER)?)
}
