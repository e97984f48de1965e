use super::super::{Declaration, Declared, Program};
use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
const UID: &str = "3d274242-8ee0-11e9-a8a6-1e68d864ef1a";

fn identity(path: &str, environment: &str) -> Identity {
    let cgroup = CgroupOwner::of_path(path.as_bytes()).map(Arc::new);
    let declared = Declared::default();
    declared.set(Declaration::new(b"app", b"app\0", environment.as_bytes()));
    Identity::of(cgroup, Program::Executable(b"/usr/bin/app"), &declared)
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn labels_with(
    identity: &Identity,
    info: Option<&ContainerInfo>,
    config: &LabelConfig,
) -> Vec<(String, String)> {
    let (owner, dropped) = Labels::new(identity, info, config).into_owner();
    assert_eq!(dropped, 0);
    let labels = owner.labels();
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[track_caller]
fn check(identity: &Identity, info: Option<&ContainerInfo>, expected: &[(&str, &str)]) {
    let config = LabelConfig {
        nodes_of_pods: true,
        ..LabelConfig::default()
    };
    let labels = labels_with(identity, info, &config);
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, expected);
}

fn pod() -> PodInfo {
    PodInfo {
        name: "checkout-5d8f-x2".to_owned(),
        namespace: "shop".to_owned(),
        uid: UID.to_owned(),
        workload: Some("checkout".to_owned()),
        node: Some("worker-1".to_owned()),
        ..PodInfo::default()
    }
}

fn container(pod: PodInfo) -> ContainerInfo {
    ContainerInfo {
        name: Some("app".to_owned()),
        image: Some("registry:5000/shop/checkout:1.4@sha256:00".to_owned()),
        pod: Some(Arc::new(pod)),
        ..ContainerInfo::default()
    }
}

/// What a cgroup's path alone says, where no runtime says more.
#[test]
fn without_a_runtime_the_path_names() {
    check(
        &identity(&format!("/docker/{ID}"), ""),
        None,
        &[
            ("service_name", "docker-3726184226f5"),
            ("container_id", "3726184226f5"),
        ],
    );
    check(
        &identity(&format!("/kubepods/pod{UID}/{ID}"), ""),
        None,
        &[
            ("service_name", "container-3726184226f5"),
            ("container_id", "3726184226f5"),
            ("pod", UID),
        ],
    );
    check(
        &identity(
            &format!("/system.slice/web.service/libpod-payload-{ID}"),
            "",
        ),
        None,
        &[
            ("service_name", "web"),
            ("container_id", "3726184226f5"),
            ("unit", "web.service"),
        ],
    );
    check(
        &identity("/lxc.payload.db1/system.slice/postgresql.service", ""),
        None,
        &[
            ("service_name", "db1"),
            ("container", "db1"),
            ("unit", "postgresql.service"),
        ],
    );
    check(
        &identity("/system.slice/nginx.service", ""),
        None,
        &[("service_name", "nginx"), ("unit", "nginx.service")],
    );
    check(
        &identity("/user.slice/user-0.slice/session-1.scope", ""),
        None,
        &[("service_name", "app")],
    );
}

/// A user's service has the name he gave it, but is not the system's service of that name.
#[test]
fn user_service_is_not_the_systems() {
    check(
        &identity(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service",
            "",
        ),
        None,
        &[
            ("service_name", "ssh"),
            ("unit", "user@1000.service/ssh.service"),
        ],
    );
}

/// A pod's container as Kubernetes knows it.
#[test]
fn a_pod_has_its_labels() {
    check(
        &identity(&format!("/kubepods/pod{UID}/{ID}"), ""),
        Some(&container(pod())),
        &[
            ("service_name", "checkout"),
            ("container", "app"),
            ("container_id", "3726184226f5"),
            ("image", "registry:5000/shop/checkout:1.4@sha256:00"),
            ("namespace", "shop"),
            ("node", "worker-1"),
            ("pod", "checkout-5d8f-x2"),
            ("version", "1.4"),
            ("workload", "checkout"),
        ],
    );
}

/// Who names a service, the first one first: each that is taken away leaves it to the next.
#[test]
fn names_by_the_documented_order() {
    let in_unit = format!("/system.slice/web.service/libpod-payload-{ID}");
    let mut in_pod = pod();
    in_pod.annotations = map(&[("pyroscope.io/service_name", "by-annotation")]);
    in_pod.labels = map(&[("app.kubernetes.io/name", "by-label")]);
    in_pod.workload = Some("by-workload".to_owned());
    let mut info = ContainerInfo {
        labels: map(&[("com.docker.compose.service", "by-compose")]),
        environment: map(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=by-container")]),
        ..container(in_pod.clone())
    };
    info.name = Some("by-name".to_owned());
    let name = |environment: &str, info: &ContainerInfo| {
        let identity = identity(&in_unit, environment);
        Labels::new(&identity, Some(info), &LabelConfig::default()).service_name
    };
    let rule: Rule = toml::from_str("action = 'set'\nset = { service_name = 'by-rule' }").unwrap();
    let declaring = identity(&in_unit, "OTEL_SERVICE_NAME=by-process");
    let config = LabelConfig::default();
    let ruled = Labels::new(&declaring, Some(&info), &config).ruled(&[rule], &config);
    assert_eq!(ruled.unwrap().service_name, "by-rule");
    assert_eq!(name("OTEL_SERVICE_NAME=by-process", &info), "by-process");
    assert_eq!(name("", &info), "by-container");
    info.environment.clear();
    assert_eq!(name("", &info), "by-annotation");
    in_pod.annotations.clear();
    info.pod = Some(Arc::new(in_pod.clone()));
    assert_eq!(name("", &info), "by-label");
    in_pod.labels.clear();
    info.pod = Some(Arc::new(in_pod.clone()));
    assert_eq!(name("", &info), "by-workload");
    info.pod = None;
    assert_eq!(name("", &info), "by-compose");
    info.labels.clear();
    assert_eq!(name("", &info), "by-name");
    info.name = None;
    assert_eq!(name("", &info), "web");
    let executable = identity("/", "OTEL_SERVICE_NAME=shop");
    check(&executable, None, &[("service_name", "shop")]);
    check(&identity("/", ""), None, &[("service_name", "app")]);
}

/// What was asked for of a pod becomes labels with names that every reader takes; what is always there cannot be taken over.
#[test]
fn chosen_labels_of_pods() {
    let config = LabelConfig {
        pod_labels: [
            "app.kubernetes.io/part-of",
            "version",
            "node",
            "none",
            "pod",
        ]
        .map(str::to_owned)
        .to_vec(),
        pod_annotations: vec!["team".to_owned()],
        ..LabelConfig::default()
    };
    let mut pod = pod();
    pod.labels = map(&[
        ("app.kubernetes.io/part-of", "shop"),
        ("version", "canary"),
        ("node", "x"),
        ("pod", "y"),
        ("not-asked-for", "z"),
    ]);
    pod.annotations = map(&[("team", "payments\n")]);
    let identity = identity(&format!("/kubepods/pod{UID}/{ID}"), "");
    let mut info = container(pod);
    info.image = None;
    let labels = labels_with(&identity, Some(&info), &config);
    let value = |name: &str| {
        let label = labels.iter().find(|(known, _)| known == name);
        label.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("app_kubernetes_io_part_of"), Some("shop"));
    assert_eq!(value("version"), Some("canary"));
    assert_eq!(value("team"), Some("payments"));
    assert_eq!(value("pod"), Some("checkout-5d8f-x2"));
    assert_eq!((value("node"), value("not_asked_for")), (None, None));
}

/// Beyond what there is room for the least important go, and are counted; what a rule has set stays.
#[test]
fn labels_are_bounded() {
    let chosen: Vec<String> = (0..9).map(|number| format!("l{number}")).collect();
    let pairs: Vec<_> = chosen.iter().map(|name| (name.as_str(), "x")).collect();
    let mut pod = pod();
    pod.labels = map(&pairs);
    let config = LabelConfig {
        pod_labels: chosen.clone(),
        nodes_of_pods: true,
        ..LabelConfig::default()
    };
    let identity = identity(&format!("/kubepods/pod{UID}/{ID}"), "");
    let mut labels = Labels::new(&identity, Some(&container(pod)), &config);
    labels.set("team", "payments");
    let (owner, dropped) = labels.into_owner();
    let names: Vec<&str> = owner.labels().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "service_name",
            "container",
            "l0",
            "l1",
            "l2",
            "l3",
            "namespace",
            "node",
            "pod",
            "team"
        ]
    );
    // Five of those chosen, workload, version, image and the container's id.
    assert_eq!(dropped, 9);
}
