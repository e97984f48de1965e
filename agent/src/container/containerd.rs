//! Containers of containerd that no kubelet made: those of nerdctl and of other clients, each in a namespace of its own.

use super::containerd_messages::{
    Container, GET_CONTAINER, GetContainerRequest, GetContainerResponse, LIST_NAMESPACES,
    ListNamespacesRequest, ListNamespacesResponse,
};
use super::error::AskError;
use super::grpc::{Grpc, Reply};
use super::pod::{container_name, pod_of_container};
use super::specification::Specification;
use super::{ContainerInfo, bounds};
use std::sync::Arc;

/// Namespace of Docker's containers, of which containerd knows neither name nor image.
const OF_DOCKER: &str = "moby";
/// Namespaces that are looked through: clients have one each, or one for each tenant.
const NAMESPACES: usize = 32;
/// Where nerdctl keeps a container's name.
const NERDCTL_NAME: &str = "nerdctl/name";

/// The container `id` in any namespace but Docker's.
pub(super) async fn find(grpc: &mut Grpc, id: &str) -> Result<Option<ContainerInfo>, AskError> {
    let list =
        grpc.call::<ListNamespacesResponse>(LIST_NAMESPACES, None, &ListNamespacesRequest {});
    let Reply::Message(list) = list.await? else {
        return Ok(None);
    };
    let question = GetContainerRequest { id: id.to_owned() };
    let others = list
        .namespaces
        .iter()
        .filter(|space| space.name != OF_DOCKER);
    for namespace in others.take(NAMESPACES) {
        let reply = grpc.call(GET_CONTAINER, Some(&namespace.name), &question);
        if let Reply::Message(GetContainerResponse {
            container: Some(container),
        }) = reply.await?
        {
            return Ok(Some(told(container)));
        }
    }
    Ok(None)
}

fn told(container: Container) -> ContainerInfo {
    let labels = container.labels;
    // A client may write what it likes there: what is no specification has no environment.
    let specification: Specification = container
        .spec
        .and_then(|spec| serde_json::from_slice(&spec.value).ok())
        .unwrap_or_default();
    let name = container_name(&labels).or_else(|| bounds::name(labels.get(NERDCTL_NAME)?));
    ContainerInfo {
        name,
        image: bounds::image([container.image.as_str()]),
        pod: pod_of_container(&labels).map(Arc::new),
        labels: bounds::labels(labels),
        environment: bounds::environment(&specification.process.env),
        ..ContainerInfo::default()
    }
}
