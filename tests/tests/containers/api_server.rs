//! Kubernetes' API server, asked by an agent that runs in a pod.

use crate::load::Load;
use crate::{Watch, told};
use fixtures::Program;
use tests::condition::wait_for;
use tests::kubernetes::ApiServer;
use tests::machine::{Machine, skipped};

const PODS: &str = r#"{"metadata":{},"items":[{
    "metadata":{"name":"cart-5d9f8b7c6d-x2x4z","namespace":"shop","uid":"3d274242-8ee0-11e9-a8a6-1e68d864ef1c",
        "labels":{"pod-template-hash":"5d9f8b7c6d"},
        "ownerReferences":[{"kind":"ReplicaSet","name":"cart-5d9f8b7c6d","controller":true}]},
    "spec":{"nodeName":"worker-1","containers":[{"name":"server","image":"shop/cart:1.4"}]},
    "status":{"containerStatuses":[{"name":"server","image":"sha256:00","containerID":"cri-o://THIS"}]}}]}"#;

/// Where no runtime answers, the server is asked for the pods of this node, with the service account of the agent's pod. When it is gone, what it
/// has told stays, and a container that it has not told of goes by its id.
#[test]
fn the_api_server() {
    if skipped("the_api_server") {
        return;
    }
    let [known, later] = [0xa1_u64, 0xa2].map(|tag| {
        let id = (tag << 32) + u64::from(std::process::id());
        format!("{id:0<64x}")
    });
    let pods = PODS.replace("THIS", &known);
    let Some(server) = ApiServer::start("the_api_server", &[&pods]) else {
        return;
    };
    let _machine = Machine::shared();
    let before = format!(
        "d=/var/run/secrets/kubernetes.io/serviceaccount; mkdir -p $d; cp {}/token {}/ca.crt $d; \
         export KUBERNETES_SERVICE_HOST=localhost KUBERNETES_SERVICE_PORT={} NODE_NAME=worker-1",
        server.service_account().display(),
        server.service_account().display(),
        server.port()
    );
    let watch = Watch::without_runtimes(&before, &[]);
    let pod = "kubepods.slice/kubepods-pod3d274242_8ee0_11e9_a8a6_1e68d864ef1c.slice";
    let start = |id| Load::start(&format!("{pod}/crio-{id}.scope"), Program::Busy, "600");
    let _known = start(&known);
    let labels = watch.labels(&known);
    assert_eq!(
        told(&labels),
        [
            ("container", "server"),
            ("container_id", &known[..12]),
            ("image", "shop/cart:1.4"),
            ("namespace", "shop"),
            ("pod", "cart-5d9f8b7c6d-x2x4z"),
            ("service_name", "cart"),
            ("version", "1.4"),
            ("workload", "cart")
        ]
    );
    assert_eq!(labels["node"], "worker-1");
    let requests = server.requests();
    assert!(
        requests[0].contains("?fieldSelector=spec.nodeName%3Dworker-1&"),
        "{requests:?}"
    );

    drop(server);
    let _later = start(&later);
    let of_later = watch.labels(&later);
    assert_eq!(of_later["service_name"], format!("crio-{}", &later[..12]));
    // All that the cgroup knows of its pod.
    assert_eq!(of_later["pod"], "3d274242-8ee0-11e9-a8a6-1e68d864ef1c");
    let before = watch.of_container(&known).len();
    assert_eq!(watch.labels_of(&known, before + 1), labels);
    wait_for("the log says that the server is gone", || {
        let log = watch.agent.running().stderr();
        let words = "kubernetes cannot be asked what containers are called: https://localhost:";
        (log.matches(words).count() == 1).then_some(())
    });
}
