//! Containers of pods, by the socket that the kubelet makes them through.

use super::cri_messages::{
    CONTAINER_STATUS, Container, ContainerFilter, ContainerStatusRequest, ContainerStatusResponse,
    LIST_CONTAINERS, ListContainersRequest, ListContainersResponse, POD_SANDBOX_STATUS,
    PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use super::error::AskError;
use super::grpc::{Grpc, Reply};
use super::pod::{pod_of_container, pod_of_sandbox};
use super::specification::Specification;
use super::{ContainerInfo, PodInfo, bounds};
use serde::Deserialize;
use std::sync::Arc;

/// Key of [`ContainerStatusResponse::info`] under which containerd and CRI-O put what they know.
const INFO: &str = "info";

/// The part of that JSON which both have.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    runtime_spec: Specification,
}

/// The container or the sandbox of a pod `id`.
pub(super) async fn find(grpc: &mut Grpc, id: &str) -> Result<Option<ContainerInfo>, AskError> {
    let Some(container) = listed(grpc, id).await? else {
        // What holds a pod's namespaces is a container too, but in another list.
        let pod = pod(grpc, id).await?;
        return Ok(pod.map(|pod| ContainerInfo {
            pod: Some(Arc::new(pod)),
            ..ContainerInfo::default()
        }));
    };
    let question = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: true,
    };
    let status = grpc.call(CONTAINER_STATUS, None, &question).await?;
    let Reply::Message(status) = status else {
        return Ok(None);
    };
    let mut info = told(status);
    let pod = pod(grpc, &container.pod_sandbox_id).await?;
    info.pod = pod.or_else(|| pod_of_container(&info.labels)).map(Arc::new);
    Ok(Some(info))
}

async fn listed(grpc: &mut Grpc, id: &str) -> Result<Option<Container>, AskError> {
    let question = ListContainersRequest {
        filter: Some(ContainerFilter { id: id.to_owned() }),
    };
    let reply = grpc.call::<ListContainersResponse>(LIST_CONTAINERS, None, &question);
    // A containerd without this service has containers of others.
    let Reply::Message(list) = reply.await? else {
        return Ok(None);
    };
    Ok(list.containers.into_iter().find(|found| found.id == id))
}

fn told(response: ContainerStatusResponse) -> ContainerInfo {
    let status = response.status.unwrap_or_default();
    let image = status.image.unwrap_or_default();
    let info = response.info.get(INFO);
    // Nobody promises this JSON: what has another form has no environment.
    let info: Info = info
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    ContainerInfo {
        name: bounds::name(&status.metadata.unwrap_or_default().name),
        image: bounds::image([
            image.user_specified_image.as_str(),
            &image.image,
            &status.image_ref,
        ]),
        labels: bounds::labels(status.labels),
        annotations: bounds::labels(status.annotations),
        environment: bounds::environment(&info.runtime_spec.process.env),
        pod: None,
    }
}

async fn pod(grpc: &mut Grpc, sandbox: &str) -> Result<Option<PodInfo>, AskError> {
    let question = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.to_owned(),
    };
    let reply = grpc.call::<PodSandboxStatusResponse>(POD_SANDBOX_STATUS, None, &question);
    let Reply::Message(PodSandboxStatusResponse {
        status: Some(status),
    }) = reply.await?
    else {
        return Ok(None);
    };
    let metadata = status.metadata.unwrap_or_default();
    Ok(pod_of_sandbox(
        &metadata.name,
        &metadata.namespace,
        &metadata.uid,
        status.labels,
        status.annotations,
    ))
}
