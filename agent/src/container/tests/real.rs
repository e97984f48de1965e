//! Real runtimes, each with a container of an image made here.

use super::*;
use ::tests::containers::{Containerd, Docker, Pod, Podman, Wanted};

const COMPOSE: (&str, &str) = ("com.docker.compose.service", "cart");
const OF_PODMAN_COMPOSE: (&str, &str) = ("io.podman.compose.service", "cart");
const OTEL: (&str, &str) = ("OTEL_SERVICE_NAME", "basket");

/// Docker's container by the socket at its usual place, and by its files while the socket does not work; what is known outlives the
/// container.
#[tokio::test(flavor = "multi_thread")]
async fn docker() {
    let Some(mut docker) = Docker::start("docker") else {
        return;
    };
    let wanted = Wanted {
        labels: &[COMPOSE],
        environment: &[OTEL, ("SECRET", "x")],
        ..Wanted::default()
    };
    let id = docker.run(&wanted);
    let expected = ContainerInfo {
        name: Some("cart-1".to_owned()),
        image: Some("shop/cart:1.4".to_owned()),
        labels: pairs(&[COMPOSE]),
        environment: pairs(&[OTEL]),
        ..ContainerInfo::default()
    };
    let by_socket = start(&below(docker.root()));
    let hint = Some(Runtime::Docker);
    assert_eq!(known(&by_socket, &id, hint).await, expected);
    assert_eq!(trouble(&by_socket, "docker").known, 1);

    let broken = RuntimeConfig {
        docker_socket: Some(docker.root().join("no.sock")),
        ..below(docker.root())
    };
    let by_files = start(&broken);
    assert_eq!(known(&by_files, &id, None).await, expected);
    assert_eq!(trouble(&by_files, "docker_state").known, 1);
    let error = trouble(&by_files, "docker").last_error.unwrap();
    assert!(error.contains("no.sock"), "{error}");

    docker.stop();
    assert_eq!(known(&by_socket, &id, hint).await, expected);
}

/// podman's container by its files, which hold no labels, and by the service's socket.
#[tokio::test(flavor = "multi_thread")]
async fn podman() {
    let Some(mut podman) = Podman::start("podman") else {
        return;
    };
    let wanted = Wanted {
        labels: &[OF_PODMAN_COMPOSE],
        environment: &[OTEL],
        ..Wanted::default()
    };
    let id = podman.run(&wanted);
    let without_labels = ContainerInfo {
        name: Some("cart-1".to_owned()),
        image: Some("localhost/shop/cart:1.4".to_owned()),
        environment: pairs(&[OTEL]),
        ..ContainerInfo::default()
    };
    let by_files = start(&below(podman.root()));
    let hint = Some(Runtime::Podman);
    assert_eq!(known(&by_files, &id, hint).await, without_labels);
    assert_eq!(trouble(&by_files, "podman_state").known, 1);

    podman.serve();
    let by_socket = start(&below(podman.root()));
    let with_labels = ContainerInfo {
        labels: pairs(&[OF_PODMAN_COMPOSE]),
        ..without_labels
    };
    assert_eq!(known(&by_socket, &id, hint).await, with_labels);
    assert_eq!(trouble(&by_socket, "podman").known, 1);
}

/// A pod of a Deployment as the kubelet makes it: its container by name, image, and pod; its sandbox by the pod. Then a container that
/// another client made in another namespace of the same containerd.
#[tokio::test(flavor = "multi_thread")]
async fn containerd() {
    let Some(containerd) = Containerd::start("containerd") else {
        return;
    };
    let pod = Pod {
        name: "cart-5d9f8b7c6d-x2x4z",
        namespace: "shop",
        uid: "3d274242-8ee0-11e9-a8a6-1e68d864ef1a",
        labels: &[
            ("app.kubernetes.io/name", "cart"),
            ("pod-template-hash", "5d9f8b7c6d"),
        ],
        annotations: &[("pyroscope.io/service_name", "basket")],
    };
    let wanted = Wanted {
        name: "server",
        image: "registry.example:5000/shop/cart:1.4",
        environment: &[OTEL, ("SECRET", "x")],
        ..Wanted::default()
    };
    let sandbox = containerd.run_pod(&pod);
    let id = containerd.run_in_pod(&sandbox, &pod, &wanted);
    let runtimes = start(&below(containerd.root()));
    let hint = Some(Runtime::Containerd);
    let info = known(&runtimes, &id, hint).await;
    assert_eq!(info.name.as_deref(), Some("server"));
    assert_eq!(info.image.as_deref(), Some(wanted.image));
    assert_eq!(info.environment, pairs(&[OTEL]));
    assert_eq!(info.labels["io.kubernetes.pod.name"], pod.name);
    let expected = PodInfo {
        name: pod.name.to_owned(),
        namespace: pod.namespace.to_owned(),
        uid: pod.uid.to_owned(),
        labels: pairs(pod.labels),
        annotations: pairs(pod.annotations),
        workload: Some("cart".to_owned()),
        node: None,
    };
    assert_eq!(info.pod.as_deref(), Some(&expected));
    let of_sandbox = known(&runtimes, &sandbox, hint).await;
    assert_eq!(of_sandbox.pod.as_deref(), Some(&expected));
    containerd.remove_pod(&sandbox);
    assert_eq!(known(&runtimes, &id, hint).await, info);

    let wanted = Wanted {
        labels: &[COMPOSE],
        environment: &[OTEL],
        ..Wanted::default()
    };
    containerd.run_elsewhere("tenant", ID, &wanted);
    let info = known(&runtimes, ID, None).await;
    assert_eq!(info.name.as_deref(), Some("cart-1"));
    assert_eq!(info.image.as_deref(), Some("docker.io/shop/cart:1.4"));
    assert_eq!(info.labels["com.docker.compose.service"], "cart");
    assert_eq!(info.environment, pairs(&[OTEL]));
    assert_eq!(info.pod, None);
    let trouble = trouble(&runtimes, "containerd");
    assert_eq!((trouble.known, trouble.failed), (3, 0), "{trouble:?}");
}
