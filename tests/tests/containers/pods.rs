//! Pods of containerd, made as the kubelet makes them.

use crate::{Watch, told};
use tests::cgroup::Cgroup;
use tests::containers::{Containerd, Pod, Wanted};
use tests::machine::{Machine, skipped};

/// A Deployment's pod goes by the Deployment and not by its hash; one with Pyroscope's annotation by that.
#[test]
fn pods() {
    if skipped("pods") {
        return;
    }
    let Some(containerd) = Containerd::start("pods") else {
        return;
    };
    let _machine = Machine::shared();
    let watch = Watch::start("--containerd-socket", &containerd.socket());
    let plain = Pod {
        name: "cart-5d9f8b7c6d-x2x4z",
        namespace: "shop",
        uid: "3d274242-8ee0-11e9-a8a6-1e68d864ef1a",
        labels: &[("pod-template-hash", "5d9f8b7c6d")],
        annotations: &[],
    };
    let annotated = Pod {
        name: "db-0",
        uid: "3d274242-8ee0-11e9-a8a6-1e68d864ef1b",
        labels: &[
            ("controller-revision-hash", "db-7c"),
            ("app.kubernetes.io/name", "postgres"),
        ],
        annotations: &[("pyroscope.io/service_name", "orders-db")],
        ..plain
    };
    let wanted = Wanted {
        name: "server",
        image: "registry.example:5000/shop/cart:1.4",
        arguments: &["spin"],
        ..Wanted::default()
    };
    for (pod, service, workload) in [(plain, "cart", "cart"), (annotated, "orders-db", "db")] {
        let sandbox = containerd.run_pod(&pod);
        let id = containerd.run_in_pod(&sandbox, &pod, &wanted);
        assert_eq!(
            told(&watch.labels(&id)),
            [
                ("container", "server"),
                ("container_id", &id[..12]),
                ("image", wanted.image),
                ("namespace", "shop"),
                ("pod", pod.name),
                ("service_name", service),
                ("version", "1.4"),
                ("workload", workload)
            ]
        );
    }
}

/// What a container is, in a cgroup of the name that CRI-O gives, is asked for at the socket of CRI-O. Its part is played by containerd, which
/// has the same service.
#[test]
fn pods_of_crio() {
    if skipped("pods_of_crio") {
        return;
    }
    let Some(containerd) = Containerd::start("pods_of_crio") else {
        return;
    };
    let _machine = Machine::shared();
    let watch = Watch::start("--crio-socket", &containerd.socket());
    let pod = Pod {
        name: "db-0",
        namespace: "shop",
        uid: "3d274242-8ee0-11e9-a8a6-1e68d864ef1d",
        labels: &[("controller-revision-hash", "db-7c")],
        annotations: &[],
    };
    let wanted = Wanted {
        name: "server",
        image: "registry.example:5000/shop/db:14.2",
        arguments: &["spin"],
        ..Wanted::default()
    };
    let sandbox = containerd.run_pod(&pod);
    let id = containerd.run_in_pod(&sandbox, &pod, &wanted);
    let uid = pod.uid.replace('-', "_");
    let slice =
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice");
    let cgroup = Cgroup::make(&format!("{slice}/crio-{id}.scope"));
    cgroup.take(&containerd.processes(&pod, &id));
    assert_eq!(
        told(&watch.labels(&id)),
        [
            ("container", "server"),
            ("container_id", &id[..12]),
            ("image", wanted.image),
            ("namespace", "shop"),
            ("pod", pod.name),
            ("service_name", "db"),
            ("version", "14.2"),
            ("workload", "db")
        ]
    );
    let asked = "thermograph_runtime_known_total{source=\"crio\"}";
    assert!(watch.agent.metric(asked) >= 1.0);
    containerd.remove_pod(&sandbox);
}
