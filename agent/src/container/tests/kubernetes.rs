//! What the API server knows of this node's pods.

use super::fake::{http, serve};
use super::*;
use crate::container::config::KubernetesConfig;
use crate::container::error::AskError;
use crate::container::kubernetes::Api;
use ::tests::kubernetes::{ApiServer, TOKEN};

const FIRST_PAGE: &str = r#"{"metadata":{"continue":"1"},"items":[{
    "metadata":{"name":"other","namespace":"shop","uid":"u0"},"spec":{},"status":{}}]}"#;
const SECOND_PAGE: &str = r#"{"metadata":{},"items":[{
    "metadata":{"name":"cart-5d9f8b7c6d-x2x4z","namespace":"shop","uid":"u1","labels":{"pod-template-hash":"5d9f8b7c6d"},
        "ownerReferences":[{"kind":"ReplicaSet","name":"cart-5d9f8b7c6d","controller":true}],"managedFields":[{}]},
    "spec":{"nodeName":"worker-1","containers":[{"name":"server","image":"shop/cart:1.4",
        "env":[{"name":"OTEL_SERVICE_NAME","value":"basket"},{"name":"TOKEN","valueFrom":{}}]}]},
    "status":{"containerStatuses":[{"name":"server","image":"sha256:00","containerID":"cri-o://THIS"}]}},
    {"metadata":{"name":"ring-7","namespace":"shop","uid":"u2",
        "ownerReferences":[{"kind":"Ring","name":"ring","controller":true}]},"spec":{},"status":{}}]}"#;

/// A server and what a pod is told of it.
fn api() -> Option<(KubernetesConfig, ApiServer)> {
    let second = SECOND_PAGE.replace("THIS", ID);
    let server = ApiServer::start("kubernetes", &[FIRST_PAGE, &second])?;
    let config = KubernetesConfig {
        url: format!("https://localhost:{}", server.port()),
        node: "worker-1".to_owned(),
        service_account: server.service_account().to_owned(),
    };
    Some((config, server))
}

/// Without a runtime the container is known from the list of its node's pods, which is asked for once, page by page, with the token.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_knows_containers() {
    let Some((config, server)) = api() else {
        return;
    };
    let runtimes = start(&RuntimeConfig {
        kubernetes: Some(config),
        ..RuntimeConfig::default()
    });
    let info = known(&runtimes, ID, Some(Runtime::Crio)).await;
    assert_eq!(info.name.as_deref(), Some("server"));
    assert_eq!(info.image.as_deref(), Some("shop/cart:1.4"));
    assert_eq!(info.environment, pairs(&[("OTEL_SERVICE_NAME", "basket")]));
    let pod = info.pod.unwrap();
    assert_eq!(
        (pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()),
        ("cart-5d9f8b7c6d-x2x4z", "shop", "u1")
    );
    assert_eq!(pod.workload.as_deref(), Some("cart"));
    assert_eq!(pod.node.as_deref(), Some("worker-1"));
    // One that it does not know costs a list at most every five seconds.
    let other = ID.replace('3', "4");
    assert_eq!(settled(&runtimes, &other, None).await, Knowledge::Unknown);
    let requests = server.requests();
    assert!((2..=6).contains(&requests.len()), "{requests:?}");
    assert!(requests[0].contains("fieldSelector=spec.nodeName%3Dworker-1"));
    for request in requests.iter() {
        assert!(request.contains(&format!("authorization: Bearer {TOKEN}\r\n")));
    }
}

/// A pod that is missing in a list of seconds ago may have come since: that is no answer, until there is another list.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_a_list_is_asked_for_again() {
    let Some((config, server)) = api() else {
        return;
    };
    let api = Api::new(config);
    let known = api.pod("shop", "ring-7").await.unwrap().unwrap();
    assert_eq!(known.workload.as_deref(), Some("ring"));
    for asked in [
        api.pod("shop", "later").await.map(|_| ()),
        api.container("later").await.map(|_| ()),
    ] {
        assert!(matches!(asked, Err(AskError::NotYet(left)) if left <= Duration::from_secs(5)));
    }
    assert_eq!(server.requests().len(), 2);
}

/// A pod that does not tell who made it is asked for at the API server, and only such a one.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_knows_who_made_a_pod() {
    let Some((config, server)) = api() else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let docker = |pod: &str| {
        format!(
            r#"{{"Name":"/k8s","Config":{{"Image":"x","Labels":{{
                "io.kubernetes.pod.name":"{pod}","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"server"}}}}}}"#
        )
    };
    let first = root.path().join("docker.sock");
    serve(&first, http(200, &docker("cart-5d9f8b7c6d-x2x4z")));
    let second = root.path().join("other.sock");
    serve(&second, http(200, &docker("ring-7")));
    let with = |socket| {
        start(&RuntimeConfig {
            docker_socket: Some(socket),
            kubernetes: Some(config.clone()),
            ..RuntimeConfig::default()
        })
    };
    let pod = known(&with(first), ID, None).await.pod.unwrap();
    assert_eq!(pod.workload.as_deref(), Some("cart"));
    assert_eq!(pod.node.as_deref(), Some("worker-1"));
    assert!(server.requests().is_empty());
    let pod = known(&with(second), ID, None).await.pod.unwrap();
    assert_eq!(pod.workload.as_deref(), Some("ring"));
    assert_eq!(server.requests().len(), 2);
}
