//! Containers of which nobody tells anything: they go by what their cgroups say, and the log says once why.

use crate::load::Load;
use crate::{Watch, told};
use fixtures::Program;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use tests::machine::{Machine, skipped};

/// Who owns a socket that the agent may not open.
const NOBODY: u32 = 65534;

/// A socket that hangs and one that the agent is not allowed to open: the containers of both go by their ids, whatever else is asked of the
/// sockets, from the first interval to the third, and the log says of each socket once what is wrong with it.
#[test]
fn sockets_that_hang_and_refuse() {
    if skipped("sockets_that_hang_and_refuse") {
        return;
    }
    let _machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let hanging = UnixListener::bind(path("docker.sock")).unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in hanging.incoming() {
            held.push(stream);
        }
    });
    let _refusing = UnixListener::bind(path("podman.sock")).unwrap();
    fs::set_permissions(path("podman.sock"), Permissions::from_mode(0o600)).unwrap();
    chown(path("podman.sock"), Some(NOBODY), None).unwrap();
    let [docker, podman] = [0xd0c4_u64, 0x90d3].map(|tag| {
        let id = (tag << 32) + u64::from(std::process::id());
        format!("{id:0<64x}")
    });
    let watch = Watch::without_runtimes(
        // Root may open everything that it has not given this up for.
        "set -- setpriv --bounding-set=-dac_override \"$@\"",
        &[
            "--docker-socket",
            path("docker.sock").to_str().unwrap(),
            "--podman-socket",
            path("podman.sock").to_str().unwrap(),
        ],
    );
    let start = |cgroup: String| Load::start(&cgroup, Program::Busy, "600");
    let _of_docker = start(format!("docker/{docker}"));
    let _of_podman = start(format!("libpod_parent/libpod-{podman}"));
    for (id, engine) in [(&docker, "docker"), (&podman, "podman")] {
        let short = &id[..12];
        assert_eq!(
            told(&watch.labels_of(id, 3)),
            [
                ("container_id", short),
                ("service_name", &format!("{engine}-{short}"))
            ]
        );
    }
    for words in [
        "docker cannot be asked what containers are called: it does not answer",
        "podman.sock: permission denied: run the agent as a user who may open this",
    ] {
        assert_said_once(&watch, words);
    }
    let late = "thermograph_identities_fallen_back_total{reason=\"late\"}";
    assert!(watch.agent.metric(late) >= 2.0);
}

/// Where there is no runtime at all the log says so once, and how to name one.
#[test]
fn no_runtime() {
    if skipped("no_runtime") {
        return;
    }
    let _machine = Machine::shared();
    let watch = Watch::without_runtimes("", &[]);
    let [first, second] = [0xf1_u64, 0xf2].map(|tag| {
        let id = (tag << 32) + u64::from(std::process::id());
        format!("{id:0<64x}")
    });
    let start = |cgroup: String| Load::start(&cgroup, Program::Busy, "600");
    let _first = start(format!("docker/{first}"));
    let _second = start(format!("system.slice/docker-{second}.scope"));
    for id in [&first, &second] {
        let short = &id[..12];
        assert_eq!(
            told(&watch.labels(id)),
            [
                ("container_id", short),
                ("service_name", &format!("docker-{short}"))
            ]
        );
    }
    assert_said_once(
        &watch,
        "there are containers but no runtime at its usual place, so they go by their ids: name its socket by --containerd-socket",
    );
}

fn assert_said_once(watch: &Watch, words: &str) {
    let log = watch.agent.running().stderr();
    assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
}
