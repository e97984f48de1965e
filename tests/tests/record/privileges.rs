//! Without what it takes to load kernel programs, `thermograph` says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;
use tests::machine::{Machine, skipped};
use tests::thermograph::{Finished, Run, binary};

/// Runs a recording by way of `command`; nothing else may be left of it than its complaint. The binary is a copy that
/// every user may run, wherever the one under test is.
fn refused(command: &[&str]) -> Finished {
    let everyone = fs::Permissions::from_mode(0o777);
    let place = TempDir::new().unwrap();
    let copy = place.path().join("thermograph");
    fs::set_permissions(place.path(), everyone.clone()).unwrap();
    fs::copy(binary(), &copy).unwrap();
    let mut through = Command::new(command[0]);
    through.args(&command[1..]).arg(&copy);
    let run = Run::under(through, ["record", "-d", "1s"]);
    fs::set_permissions(run.directory(), everyone).unwrap();
    let finished = run.finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    assert!(finished.files().is_empty(), "{:?}", finished.files());
    finished
}

/// Another user is told to be root.
#[test]
fn other_users_are_told_what_they_lack() {
    if skipped("other_users_are_told_what_they_lack") {
        return;
    }
    let _machine = Machine::shared();
    let finished = refused(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ]);
    assert!(
        finished
            .complaint()
            .contains("run as root, or with CAP_BPF, CAP_PERFMON"),
        "{}",
        finished.stderr
    );
}

/// So is root without the capabilities: with none at all, as in most containers, and without one that is needed.
#[test]
fn missing_capabilities_are_named() {
    if skipped("missing_capabilities_are_named") {
        return;
    }
    let _machine = Machine::shared();
    for without in ["-all", "-bpf,-sys_admin", "-perfmon,-sys_admin"] {
        let finished = refused(&[
            "setpriv",
            &format!("--bounding-set={without}"),
            "--inh-caps=-all",
        ]);
        assert!(
            finished.complaint().contains("CAP_BPF, CAP_PERFMON"),
            "{without}: {}",
            finished.stderr
        );
    }
}

/// Root of a user namespace has every capability, but none that counts for this.
#[test]
fn user_namespaces_are_refused() {
    if skipped("user_namespaces_are_refused") {
        return;
    }
    let _machine = Machine::shared();
    let finished = refused(&["unshare", "--user", "--map-root-user"]);
    assert!(
        finished.complaint().contains("user namespace"),
        "{}",
        finished.stderr
    );
}
