//! Engines of users who are not root.

use crate::{Watch, told};
use tests::cgroup::Cgroup;
use tests::containers::{Podman, Wanted};
use tests::machine::{Machine, skipped};

/// Whoever that is: no host has so many.
const USER: u32 = 1_234_567;

/// A container of a user's own podman, in a cgroup as systemd gives it one below the user's manager, goes by the name that he gave it: his
/// engine is asked for it at his socket, which nothing but his uid leads to.
#[test]
fn rootless_podman() {
    if skipped("rootless_podman") {
        return;
    }
    let Some(mut podman) = Podman::start_rootless("rootless_podman", USER) else {
        return;
    };
    let _machine = Machine::shared();
    let socket = podman.serve();
    let id = podman.run(&Wanted {
        name: "queue",
        arguments: &["spin"],
        ..Wanted::default()
    });
    let manager = format!("user.slice/user-{USER}.slice/user@{USER}.service");
    let cgroup = Cgroup::make(&format!("{manager}/user.slice/libpod-{id}.scope"));
    cgroup.take(&[podman.process(&id)]);
    let before = format!(
        "d=/run/user/{USER}/podman; mkdir -p $d; touch $d/podman.sock; mount --bind {} $d/podman.sock",
        socket.display()
    );
    let watch = Watch::without_runtimes(&before, &[]);
    assert_eq!(
        told(&watch.labels(&id)),
        [
            ("container", "queue"),
            ("container_id", &id[..12]),
            ("image", "localhost/shop/cart:1.4"),
            ("service_name", "queue"),
            ("version", "1.4")
        ]
    );
    let known = "thermograph_runtime_known_total{source=\"podman_rootless\"}";
    assert!(watch.agent.metric(known) >= 1.0);
    // The cgroup goes when nobody is in it any more.
    drop(podman);
}
