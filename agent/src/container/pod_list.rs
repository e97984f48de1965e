//! Pods as the API server lists them, of each only what is needed here.

use super::workload::{workload_of_labels, workload_of_owner};
use super::{ContainerInfo, PodInfo, bounds};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub(super) struct PodList {
    #[serde(default)]
    pub(super) metadata: ListMetadata,
    pub(super) items: Vec<PodOnNode>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListMetadata {
    /// What asks for the next page.
    #[serde(rename = "continue")]
    pub(super) next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodOnNode {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    kind: String,
    name: String,
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
    env: Vec<Variable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    image: String,
    /// `<runtime>://<id>`, empty before it is made.
    #[serde(rename = "containerID")]
    container_id: String,
}

impl PodOnNode {
    /// What is known of the pod, and by their ids of its containers.
    pub(super) fn into_known(self) -> (PodInfo, Vec<(String, ContainerInfo)>) {
        let specified = self.spec.containers.into_iter();
        let specified: Vec<Container> = specified.chain(self.spec.init_containers).collect();
        let running = self.status.container_statuses.into_iter();
        let containers = running
            .chain(self.status.init_container_statuses)
            .filter_map(|status| known(&status, &specified))
            .collect();
        (pod(self.metadata, self.spec.node_name), containers)
    }
}

fn pod(metadata: Metadata, node: String) -> PodInfo {
    let controller = metadata
        .owner_references
        .iter()
        .find(|owner| owner.controller);
    let workload = controller
        // The kubelet's own pods belong to their node.
        .filter(|owner| owner.kind != "Node")
        .map(|owner| workload_of_owner(&owner.kind, &owner.name, &metadata.labels))
        .or_else(|| workload_of_labels(&metadata.name, &metadata.labels));
    PodInfo {
        name: bounds::name(&metadata.name).unwrap_or_default(),
        namespace: bounds::name(&metadata.namespace).unwrap_or_default(),
        uid: bounds::name(&metadata.uid).unwrap_or_default(),
        labels: bounds::labels(metadata.labels),
        annotations: bounds::labels(metadata.annotations),
        workload: workload.and_then(|workload| bounds::name(&workload)),
        node: bounds::name(&node),
    }
}

fn known(status: &ContainerStatus, specified: &[Container]) -> Option<(String, ContainerInfo)> {
    let (_, id) = status.container_id.split_once("://")?;
    let of_name = specified
        .iter()
        .find(|container| container.name == status.name);
    let image = of_name.map_or("", |container| container.image.as_str());
    let variables = of_name.map_or(&[][..], |container| &container.env);
    let variables: Vec<String> = variables
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value))
        .collect();
    let info = ContainerInfo {
        name: bounds::name(&status.name),
        image: bounds::image([image, status.image.as_str()]),
        environment: bounds::environment(&variables),
        ..ContainerInfo::default()
    };
    Some((id.to_owned(), info))
}
