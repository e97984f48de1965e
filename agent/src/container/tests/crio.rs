//! CRI-O, by answers put together as its server does (github.com/cri-o/cri-o, server/container_status.go and sandbox_status.go).

use super::fake::{Answer, grpc};
use super::*;
use crate::container::cri_messages::{
    Container, ContainerMetadata, ContainerStatus, ContainerStatusResponse, ImageSpec,
    ListContainersResponse, PodSandboxMetadata, PodSandboxStatus, PodSandboxStatusResponse,
};
use prost::Message;

const CRIO: &str = "run/crio/crio.sock";

/// Of the verbose answer: what it adds to the specification for itself is not looked at.
const INFO: &str = r#"{"sandboxID":"ab","pid":4242,"runtimeSpec":{"ociVersion":"1.2.1","process":{"user":{"uid":0,"gid":0},
    "args":["postgres"],"env":["PATH=/usr/bin","OTEL_SERVICE_NAME=orders","HOSTNAME=db-0"],"cwd":"/","oomScoreAdj":1000},
    "root":{"path":"/var/lib/containers/storage/overlay/00/merged"},"hostname":"db-0","mounts":[],
    "annotations":{"io.kubernetes.cri-o.Image":"0a0a","io.kubernetes.cri-o.ImageName":"registry.example/shop/db:14.2",
    "io.kubernetes.cri-o.ContainerType":"container"},"linux":{"cgroupsPath":"kubepods-besteffort-pod3d27.slice:crio:3726"}},
    "privileged":false}"#;

/// A container goes by its name in the pod; its image by the name that CRI-O has for it, for unlike containerd it does not tell what the
/// pod's specification says; without that by the digest.
#[tokio::test(flavor = "multi_thread")]
async fn containers() {
    for (image, expected) in [
        (
            "registry.example/shop/db:14.2",
            "registry.example/shop/db:14.2",
        ),
        ("", "registry.example/shop/db@sha256:0a"),
    ] {
        let root = tempfile::tempdir().unwrap();
        grpc(&root.path().join(CRIO), move |method| answer(method, image));
        let runtimes = start(&below(root.path()));
        let info = known(&runtimes, ID, Some(Runtime::Crio)).await;
        assert_eq!(info.name.as_deref(), Some("server"));
        assert_eq!(info.image.as_deref(), Some(expected));
        assert_eq!(info.environment, pairs(&[("OTEL_SERVICE_NAME", "orders")]));
        assert_eq!(
            info.annotations,
            pairs(&[("io.kubernetes.container.hash", "5d9f8b7c")])
        );
        let pod = info.pod.unwrap();
        assert_eq!(
            (pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()),
            ("db-0", "shop", "3d274242-8ee0-11e9-a8a6-1e68d864ef1a")
        );
        assert_eq!(pod.workload.as_deref(), Some("db"));
        assert_eq!(pod.annotations["pyroscope.io/service_name"], "orders-db");
        assert_eq!(trouble(&runtimes, "crio").failed, 0);
    }
}

fn answer(method: &str, image: &str) -> Answer {
    let of_pod = [
        ("io.kubernetes.container.name", "server"),
        ("io.kubernetes.pod.name", "db-0"),
        ("io.kubernetes.pod.namespace", "shop"),
    ];
    Ok(match method.rsplit('/').next().unwrap() {
        "ListContainers" => ListContainersResponse {
            containers: vec![Container {
                id: ID.to_owned(),
                pod_sandbox_id: "ab".to_owned(),
            }],
        }
        .encode_to_vec(),
        "ContainerStatus" => ContainerStatusResponse {
            status: Some(ContainerStatus {
                metadata: Some(ContainerMetadata {
                    name: "server".to_owned(),
                }),
                image: Some(ImageSpec {
                    image: image.to_owned(),
                    user_specified_image: String::new(),
                }),
                image_ref: "registry.example/shop/db@sha256:0a".to_owned(),
                labels: pairs(&of_pod),
                annotations: pairs(&[("io.kubernetes.container.hash", "5d9f8b7c")]),
            }),
            info: pairs(&[("info", INFO)]),
        }
        .encode_to_vec(),
        "PodSandboxStatus" => PodSandboxStatusResponse {
            status: Some(PodSandboxStatus {
                metadata: Some(PodSandboxMetadata {
                    name: "db-0".to_owned(),
                    namespace: "shop".to_owned(),
                    uid: "3d274242-8ee0-11e9-a8a6-1e68d864ef1a".to_owned(),
                }),
                labels: pairs(&[
                    ("controller-revision-hash", "db-7c"),
                    ("statefulset.kubernetes.io/pod-name", "db-0"),
                ]),
                annotations: pairs(&[
                    ("kubernetes.io/config.source", "api"),
                    ("pyroscope.io/service_name", "orders-db"),
                ]),
            }),
        }
        .encode_to_vec(),
        // CRI-O has no other services, such as containerd's own.
        _ => return Err(12),
    })
}
