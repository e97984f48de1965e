//! Engines of users.

use super::fake::{Play, http, serve};
use super::*;
use rustix::process::geteuid;

const INSPECTED: &str = r#"{"Name":"/web","Config":{"Image":"web:2","Env":null,
    "Labels":{"io.kubernetes.pod.name":"api","io.kubernetes.pod.namespace":"kube-system"}}}"#;

fn of_user(runtime: Runtime, user: u32) -> Maker {
    Maker {
        runtime: Some(runtime),
        user: Some(user),
    }
}

/// The engine of a user is asked of what runs in his sessions, and of nothing else; of pods it is not believed. The host's own are not asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_engines_of_his_own() {
    let root = tempfile::tempdir().unwrap();
    let user = geteuid().as_raw();
    let place = root
        .path()
        .join(format!("run/user/{user}/podman/podman.sock"));
    serve(&place, http(200, INSPECTED));
    serve(&root.path().join("run/docker.sock"), http(404, "{}"));
    let runtimes = start(&below(root.path()));
    let maker = of_user(Runtime::Podman, user);
    let Knowledge::Known(info) = settled_of(&runtimes, ID, maker).await else {
        panic!("{:?}", runtimes.trouble());
    };
    assert_eq!(info.name.as_deref(), Some("web"));
    assert_eq!(info.pod, None);
    let asked = |source| trouble(&runtimes, source).asked;
    assert_eq!((asked("podman_rootless"), asked("docker")), (1, 0));
    // The same id on the host is another container.
    assert_eq!(
        settled(&runtimes, ID, Some(Runtime::Docker)).await,
        Knowledge::Unknown
    );
    assert_eq!(asked("podman_rootless"), 1);
}

/// A socket in a user's directory at which somebody else listens is not asked, and one that hangs is left alone for that user alone.
#[tokio::test(flavor = "multi_thread")]
async fn users_cannot_disturb_others() {
    let root = tempfile::tempdir().unwrap();
    let user = geteuid().as_raw();
    let socket = |user| root.path().join(format!("run/user/{user}/docker.sock"));
    serve(&socket(user), http(200, INSPECTED));
    serve(&socket(user + 1), http(200, INSPECTED));
    let runtimes = start(&below(root.path()));
    let stranger = of_user(Runtime::Docker, user + 1);
    assert_eq!(
        runtimes.get(ID, stranger, &"user@1.service".into()),
        Knowledge::Asking
    );
    let begin = Instant::now();
    let failed = || {
        let all = runtimes.trouble().into_iter();
        let mut of_users = all.filter(|one| one.source == "docker_rootless");
        of_users.find_map(|one| one.last_error)
    };
    let error = loop {
        // It is there once it was to be asked.
        if let Some(error) = failed() {
            break error;
        }
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    };
    assert!(error.contains("not the one whose it should be"), "{error}");
    let own = settled_of(&runtimes, ID, of_user(Runtime::Docker, user)).await;
    assert!(matches!(own, Knowledge::Known(_)), "{own:?}");

    let hanging = tempfile::tempdir().unwrap();
    let place = hanging.path().join(format!("run/user/{user}/docker.sock"));
    serve(&place, Play::Hang);
    let runtimes = start(&below(hanging.path()));
    let realm = "user@0.service".into();
    for number in 0..1000 {
        let id = format!("{number:064x}");
        runtimes.get(&id, of_user(Runtime::Docker, user), &realm);
    }
    serve(
        &hanging.path().join("run/docker.sock"),
        http(200, INSPECTED),
    );
    let info = known(&runtimes, ID, Some(Runtime::Docker)).await;
    assert_eq!(info.name.as_deref(), Some("web"));
}
