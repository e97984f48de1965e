//! Containers of Docker and podman, by the HTTP API that both have, and by what Docker writes to disk in the same form.

use super::error::AskError;
use super::pod::{container_name, pod_of_container};
use super::socket::Socket;
use super::{ContainerInfo, bounds, http};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A container as `docker inspect` shows it, and as Docker keeps it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inspected {
    name: String,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: String,
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// The container `id`, by the engine's socket.
pub(super) async fn find(socket: &Socket, id: &str) -> Result<Option<ContainerInfo>, AskError> {
    let stream = socket.connect().await?;
    let answer = http::get(stream, &format!("/containers/{id}/json")).await?;
    match answer.status {
        200 => told(&answer.body).map(Some),
        404 => Ok(None),
        status => Err(AskError::refused(
            status,
            &String::from_utf8_lossy(&answer.body),
        )),
    }
}

/// What the JSON of a container says.
pub(super) fn told(json: &[u8]) -> Result<ContainerInfo, AskError> {
    let inspected: Inspected = serde_json::from_slice(json).map_err(AskError::protocol)?;
    let config = inspected.config;
    let labels = config.labels.unwrap_or_default();
    // In a pod Docker's own name is made of all names around it.
    let own = inspected.name.strip_prefix('/').unwrap_or(&inspected.name);
    Ok(ContainerInfo {
        name: container_name(&labels).or_else(|| bounds::name(own)),
        image: bounds::image([config.image.as_str()]),
        pod: pod_of_container(&labels).map(Arc::new),
        labels: bounds::labels(labels),
        environment: bounds::environment(&config.env.unwrap_or_default()),
        ..ContainerInfo::default()
    })
}
