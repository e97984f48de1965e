//! Docker and podman.

use crate::{Watch, told};
use tests::containers::{Docker, Podman, Wanted};
use tests::machine::{Machine, skipped};

/// A container that Docker Compose made goes by its service, with its name, image and version.
#[test]
fn docker() {
    if skipped("docker") {
        return;
    }
    let Some(docker) = Docker::start("docker") else {
        return;
    };
    let _machine = Machine::shared();
    let watch = Watch::start("--docker-socket", docker.socket());
    let id = docker.run(&Wanted {
        name: "shop-cart-1",
        labels: &[("com.docker.compose.service", "cart")],
        arguments: &["spin"],
        ..Wanted::default()
    });
    assert_eq!(
        told(&watch.labels(&id)),
        [
            ("container", "shop-cart-1"),
            ("container_id", &id[..12]),
            ("image", "shop/cart:1.4"),
            ("service_name", "cart"),
            ("version", "1.4")
        ]
    );
    let asked = "thermograph_runtime_known_total{source=\"docker\"}";
    assert!(watch.agent.metric(asked) >= 1.0);
}

/// One that podman made goes by its name, and one with OTEL_SERVICE_NAME in its environment by that.
#[test]
fn podman() {
    if skipped("podman") {
        return;
    }
    let Some(mut podman) = Podman::start("podman") else {
        return;
    };
    let _machine = Machine::shared();
    let watch = Watch::start("--podman-socket", &podman.serve());
    let named = podman.run(&Wanted {
        name: "queue",
        arguments: &["spin"],
        ..Wanted::default()
    });
    let declared = podman.run(&Wanted {
        name: "other",
        environment: &[("OTEL_SERVICE_NAME", "basket")],
        arguments: &["spin"],
        ..Wanted::default()
    });
    for (id, service, name) in [(named, "queue", "queue"), (declared, "basket", "other")] {
        assert_eq!(
            told(&watch.labels(&id)),
            [
                ("container", name),
                ("container_id", &id[..12]),
                ("image", "localhost/shop/cart:1.4"),
                ("service_name", service),
                ("version", "1.4")
            ]
        );
    }
}
