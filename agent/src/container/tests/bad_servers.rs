//! Sockets that hang, refuse, lie and babble: the next source is asked, and what was wrong is said.

use super::fake::{Play, http, serve};
use super::*;

const PODMAN: &str = "run/podman/podman.sock";
const DOCKER: &str = "run/docker.sock";
const CRIO: &str = "run/crio/crio.sock";
const CONTAINERD: &str = "run/containerd/containerd.sock";

const INSPECTED: &str = r#"{"Name":"/web","Config":{"Image":"web:2","Labels":null,"Env":null}}"#;

/// Whatever one engine does, the one after it is asked within the deadline, and the trouble names what happened.
#[tokio::test(flavor = "multi_thread")]
async fn falls_back_to_the_next() {
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [b"1000\r\n".as_slice(), &[b'a'; 4096], b"\r\n"].concat();
    for (play, said) in [
        (Play::Hang, "does not answer"),
        (Play::Babble(endless, chunk), "longer than 1048576 bytes"),
        (Play::Babble("", vec![b'x'; 4096]), "protocol"),
        (Play::Say(b"\0\x01\x02".to_vec()), "protocol"),
        (Play::Say(Vec::new()), "protocol"),
        (http(200, "[1, 2]"), "protocol"),
        (http(200, r#"{"Name":["#), "protocol"),
        (http(500, "out of\norder"), "500 out of order"),
    ] {
        let root = tempfile::tempdir().unwrap();
        serve(&root.path().join(DOCKER), play);
        serve(&root.path().join(PODMAN), http(200, INSPECTED));
        let runtimes = start(&below(root.path()));
        let info = known(&runtimes, ID, Some(Runtime::Docker)).await;
        assert_eq!(info.name.as_deref(), Some("web"));
        assert_eq!(info.image.as_deref(), Some("web:2"));
        let trouble = trouble(&runtimes, "docker");
        assert_eq!((trouble.asked, trouble.failed), (1, 1));
        let error = trouble.last_error.unwrap();
        assert!(error.contains(said), "{error} for {said}");
    }
}

/// The same of the sockets that speak gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn falls_back_from_grpc() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    serve(&root.join(CONTAINERD), Play::Hang);
    // A frame of HTTP/2 longer than any may be, and never the end of it.
    serve(&root.join(CRIO), Play::Babble("", vec![0xff; 4096]));
    serve(&root.join(DOCKER), http(200, INSPECTED));
    let runtimes = start(&below(root));
    assert_eq!(
        known(&runtimes, ID, None).await.name.as_deref(),
        Some("web")
    );
    assert_eq!(trouble(&runtimes, "containerd").failed, 1);
    assert_eq!(trouble(&runtimes, "crio").failed, 1);
}

/// A container that no runtime knows is asked for five times and then never again; one whose runtime starts late is found.
#[tokio::test(flavor = "multi_thread")]
async fn asks_again_as_long_as_it_may_help() {
    let root = tempfile::tempdir().unwrap();
    serve(&root.path().join(DOCKER), http(404, "{}"));
    let runtimes = start(&below(root.path()));
    assert_eq!(settled(&runtimes, ID, None).await, Knowledge::Unknown);
    assert_eq!(trouble(&runtimes, "docker").asked, 5);
    assert_eq!(get(&runtimes, ID, None), Knowledge::Unknown);

    let other = ID.replace('3', "4");
    let hint = Some(Runtime::Podman);
    assert_eq!(get(&runtimes, &other, hint), Knowledge::Asking);
    sleep(Duration::from_millis(500)).await;
    serve(&root.path().join(PODMAN), http(200, INSPECTED));
    let info = known(&runtimes, &other, hint).await;
    assert_eq!(info.name.as_deref(), Some("web"));
}

/// A runtime that does not answer for longer than it is asked at a time is asked again, and nothing is said of its containers meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_may_come_late() {
    let root = tempfile::tempdir().unwrap();
    serve(&root.path().join(PODMAN), http(404, "{}"));
    let runtimes = start(&below(root.path()));
    let hint = Some(Runtime::Docker);
    assert_eq!(get(&runtimes, ID, hint), Knowledge::Asking);
    let begin = Instant::now();
    while trouble(&runtimes, "podman").asked < 6 {
        assert_eq!(get(&runtimes, ID, hint), Knowledge::Asking);
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
    serve(&root.path().join(DOCKER), http(200, INSPECTED));
    let info = known(&runtimes, ID, hint).await;
    assert_eq!(info.name.as_deref(), Some("web"));
}

/// What is no id is not asked for: it would become part of a path.
#[tokio::test]
async fn only_ids_are_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let runtimes = start(&below(root.path()));
    for id in ["", "../../etc", "a b", &"a".repeat(65)] {
        assert_eq!(get(&runtimes, id, None), Knowledge::Unknown);
    }
}

/// A runtime that hangs holds up neither the caller nor those after it, however many containers there seem to be, and is left alone
/// for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_runtime_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    serve(&root.path().join(DOCKER), Play::Hang);
    serve(&root.path().join(PODMAN), http(200, INSPECTED));
    let runtimes = start(&below(root.path()));
    for number in 0..100_000 {
        let knowledge = get(&runtimes, &format!("{number:064x}"), Some(Runtime::Docker));
        assert_ne!(knowledge, Knowledge::Unknown);
    }
    known(&runtimes, &format!("{:064x}", 200), Some(Runtime::Docker)).await;
    // Also if nobody has sampled a million others, which may come behind.
    for number in 0..1_000_000 {
        let id = format!("{number:063x}f");
        runtimes.foresee(&id, by(Some(Runtime::Docker)), &id.as_str().into());
    }
    known(&runtimes, ID, Some(Runtime::Docker)).await;
    // Those that were asked for at once all met it before it was known to hang.
    let asked = trouble(&runtimes, "docker").asked;
    assert!((1..=16).contains(&asked), "{asked}");
}
