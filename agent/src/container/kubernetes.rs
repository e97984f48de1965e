//! The API server, asked for the pods of this node: what it takes where no runtime answers, or a pod does not tell who made it.

use super::config::KubernetesConfig;
use super::error::AskError;
use super::pod_list::{PodList, PodOnNode};
use super::{ContainerInfo, PodInfo};
use reqwest::{Certificate, Client, Response, Url, redirect};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Shortest time between two lists: containers that start together are in one.
const BETWEEN: Duration = Duration::from_secs(5);
/// The same after one that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Pods of one answer: they have 10 to 20 KB each, most of it of no use here.
const PAGE: &str = "100";
/// Answers of one list. A node has some hundred pods at most.
const PAGES: usize = 10;
/// Longest answer that is read.
const MAX_PAGE: usize = 16 << 20;

/// The API server of the cluster.
pub(super) struct Api {
    config: KubernetesConfig,
    node: Mutex<Node>,
}

/// What is known of the node's pods.
#[derive(Default)]
struct Node {
    pods: HashMap<(String, String), Arc<PodInfo>>,
    containers: HashMap<String, ContainerInfo>,
    next: Option<Instant>,
}

impl Api {
    pub(super) fn new(config: KubernetesConfig) -> Self {
        // An error means that another part of the process was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            config,
            node: Mutex::default(),
        }
    }

    /// Name of this node.
    pub(super) fn node(&self) -> &str {
        &self.config.node
    }

    /// The container `id`.
    pub(super) async fn container(&self, id: &str) -> Result<Option<ContainerInfo>, AskError> {
        let mut node = self.node.lock().await;
        if !node.containers.contains_key(id) {
            self.list(&mut node).await?;
        }
        Ok(node.containers.get(id).cloned())
    }

    /// The pod of this name.
    pub(super) async fn pod(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<PodInfo>>, AskError> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut node = self.node.lock().await;
        if !node.pods.contains_key(&key) {
            self.list(&mut node).await?;
        }
        Ok(node.pods.get(&key).cloned())
    }

    /// Learns the pods anew. If it is too soon for that, one that is missing may have come since the last time.
    async fn list(&self, node: &mut Node) -> Result<(), AskError> {
        let now = Instant::now();
        if let Some(next) = node.next.filter(|next| now < *next) {
            return Err(AskError::NotYet(next - now));
        }
        // It holds too if the deadline ends this.
        node.next = Some(now + AFTER_FAILURE);
        let pods = self.all_pods().await?;
        *node = Node {
            next: Some(now + BETWEEN),
            ..Node::default()
        };
        for pod in pods {
            let (pod, containers) = pod.into_known();
            let pod = Arc::new(pod);
            for (id, mut info) in containers {
                info.pod = Some(Arc::clone(&pod));
                node.containers.insert(id, info);
            }
            let key = (pod.namespace.clone(), pod.name.clone());
            node.pods.insert(key, pod);
        }
        Ok(())
    }

    async fn all_pods(&self) -> Result<Vec<PodOnNode>, AskError> {
        // Both are renewed while the agent runs.
        let token = read(&self.config.service_account.join("token"))?;
        let authority = read(&self.config.service_account.join("ca.crt"))?;
        let authority = Certificate::from_pem(authority.as_bytes()).map_err(AskError::protocol)?;
        let http = Client::builder()
            .user_agent(concat!("thermograph/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_certs_only([authority])
            .build()
            .map_err(AskError::protocol)?;
        let mut pods = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES {
            let request = http.get(self.url(&next)?).bearer_auth(token.trim());
            let response = request.send().await.map_err(|error| self.broken(&error))?;
            match response.status().as_u16() {
                200 => {}
                status @ (401 | 403) => return Err(AskError::Forbidden(status)),
                status => return Err(AskError::refused(status, "to a list of pods")),
            }
            let body = read_page(response).await?;
            let page: PodList = serde_json::from_slice(&body).map_err(AskError::protocol)?;
            pods.extend(page.items);
            next = page.metadata.next;
            if next.is_empty() {
                break;
            }
        }
        Ok(pods)
    }

    fn url(&self, next: &str) -> Result<Url, AskError> {
        let of_node = format!("spec.nodeName={}", self.config.node);
        let mut query = vec![("fieldSelector", of_node.as_str()), ("limit", PAGE)];
        if !next.is_empty() {
            query.push(("continue", next));
        }
        let url = format!("{}/api/v1/pods", self.config.url);
        Url::parse_with_params(&url, query).map_err(AskError::protocol)
    }

    /// An error in the words of its innermost cause; those above it name the address once more.
    fn broken(&self, error: &reqwest::Error) -> AskError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        AskError::Broken(
            self.config.url.clone().into(),
            std::io::Error::other(cause.to_string()),
        )
    }
}

fn read(path: &Path) -> Result<String, AskError> {
    fs::read_to_string(path).map_err(|error| AskError::Broken(path.to_owned(), error))
}

async fn read_page(mut response: Response) -> Result<Vec<u8>, AskError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(AskError::protocol)? {
        if body.len() + chunk.len() > MAX_PAGE {
            return Err(AskError::TooLong(MAX_PAGE));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
