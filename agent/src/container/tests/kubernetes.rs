//! An API server with a certificate of its own, on one connection after the other.

use super::fake::{http, serve};
use super::*;
use crate::container::config::KubernetesConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;

/// Heads of the requests that came.
type Requests = Arc<Mutex<Vec<String>>>;

const FIRST_PAGE: &str = r#"{"metadata":{"continue":"more"},"items":[{
    "metadata":{"name":"other","namespace":"shop","uid":"u0"},"spec":{},"status":{}}]}"#;
const SECOND_PAGE: &str = r#"{"metadata":{},"items":[{
    "metadata":{"name":"cart-5d9f8b7c6d-x2x4z","namespace":"shop","uid":"u1","labels":{"pod-template-hash":"5d9f8b7c6d"},
        "ownerReferences":[{"kind":"ReplicaSet","name":"cart-5d9f8b7c6d","controller":true}],"managedFields":[{}]},
    "spec":{"nodeName":"worker-1","containers":[{"name":"server","image":"shop/cart:1.4",
        "env":[{"name":"OTEL_SERVICE_NAME","value":"basket"},{"name":"TOKEN","valueFrom":{}}]}]},
    "status":{"containerStatuses":[{"name":"server","image":"sha256:00","containerID":"cri-o://THIS"}]}},
    {"metadata":{"name":"ring-7","namespace":"shop","uid":"u2",
        "ownerReferences":[{"kind":"Ring","name":"ring","controller":true}]},"spec":{},"status":{}}]}"#;

/// A server and what a pod is told of it; none, with a line that says so, where there is no openssl to make a certificate.
fn api(directory: &Path) -> Option<(KubernetesConfig, Requests)> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext"])
        .args(["subjectAltName=DNS:localhost", "-addext"])
        .args(["basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "ca.crt"])
        .current_dir(directory)
        .output();
    let Ok(made) = made else {
        ::tests::machine::skip("kubernetes", "openssl is not installed");
        return None;
    };
    assert!(made.status.success(), "{made:?}");
    fs::write(directory.join("token"), "first\n").unwrap();
    let requests = Requests::default();
    let port = listen(directory, Arc::clone(&requests));
    let config = KubernetesConfig {
        url: format!("https://localhost:{port}"),
        node: "worker-1".to_owned(),
        service_account: directory.to_owned(),
    };
    Some((config, requests))
}

fn listen(directory: &Path, requests: Requests) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(directory.join("ca.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let page = if head.contains("continue=more") {
                SECOND_PAGE
            } else {
                FIRST_PAGE
            };
            requests.lock().unwrap().push(head);
            let body = page.replace("THIS", ID);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

/// Without a runtime the container is known from the list of its node's pods, which is asked for once, page by page, with the token.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_knows_containers() {
    let directory = tempfile::tempdir().unwrap();
    let Some((config, requests)) = api(directory.path()) else {
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
    let requests = requests.lock().unwrap();
    assert!((2..=6).contains(&requests.len()), "{requests:?}");
    assert!(requests[0].contains("fieldSelector=spec.nodeName%3Dworker-1"));
    for request in requests.iter() {
        assert!(request.contains("authorization: Bearer first\r\n"));
    }
}

/// A pod that does not tell who made it is asked for at the API server, and only such a one.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_knows_who_made_a_pod() {
    let directory = tempfile::tempdir().unwrap();
    let Some((config, requests)) = api(directory.path()) else {
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
    assert!(requests.lock().unwrap().is_empty());
    let pod = known(&with(second), ID, None).await.pod.unwrap();
    assert_eq!(pod.workload.as_deref(), Some("ring"));
    assert_eq!(requests.lock().unwrap().len(), 2);
}
