//! `thermograph doctor`: what it says of this host, and of one that lacks something.

use std::process::Command;
use tests::machine::{Machine, skipped};
use tests::thermograph::{Finished, Run, binary};

/// Without capabilities, as `setpriv` names them: `-all`, or `-syslog,-bpf`.
fn without(capabilities: &str) -> Finished {
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--bounding-set={capabilities}"), "--inh-caps=-all"])
        .arg(binary());
    Run::under(command, ["doctor"]).finish()
}

/// The lines about a subject.
fn about<'f>(finished: &'f Finished, subject: &str) -> Vec<&'f str> {
    let lines = finished.stdout.lines();
    lines.filter(|line| line.contains(subject)).collect()
}

/// Where everything is there, an agent runs, and each line says so.
#[test]
fn a_host_that_has_everything() {
    if skipped("a_host_that_has_everything") {
        return;
    }
    let _machine = Machine::shared();
    let finished = Run::new(["doctor"]).finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    for subject in ["privileges", "sampling", "kernel names", "cgroups"] {
        let lines = about(&finished, subject);
        assert_eq!(lines.len(), 1, "{}", finished.stdout);
        assert!(lines[0].starts_with("ok "), "{}", lines[0]);
    }
}

/// What only limits is named with what is lost, and is no failure.
#[test]
fn what_limits_is_named() {
    if skipped("what_limits_is_named") {
        return;
    }
    let _machine = Machine::shared();
    let finished = without("-syslog");
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let lines = about(&finished, "CAP_SYSLOG");
    assert_eq!(lines.len(), 2, "{}", finished.stdout);
    assert!(lines.iter().all(|line| line.starts_with("limited ")));
    assert!(about(&finished, "sampling")[0].starts_with("ok "));
}

/// Where no agent would run, it fails, and says what to do.
#[test]
fn what_is_missing_is_a_failure() {
    if skipped("what_is_missing_is_a_failure") {
        return;
    }
    let _machine = Machine::shared();
    let finished = without("-all");
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    let lines = about(&finished, "sampling");
    assert!(lines[0].starts_with("missing "), "{}", lines[0]);
    assert!(lines[0].contains("run as root"), "{}", lines[0]);
}

/// It takes the agent's settings, and says what is wrong with them as the agent does.
#[test]
fn settings_are_the_agents() {
    let run = Run::new(["doctor", "--config", "x.toml"]);
    std::fs::write(run.directory().join("x.toml"), "push_intervall = \"15s\"\n").unwrap();
    let finished = run.finish();
    assert_eq!(finished.code(), 2, "{}", finished.stderr);
    assert!(finished.stderr.contains("push_interval"));
    if skipped("settings_are_the_agents") {
        return;
    }
    let _machine = Machine::shared();
    let file = binary();
    let finished = Run::new(["doctor", "--data-dir", file.to_str().unwrap()]).finish();
    let lines = about(&finished, "--data-dir");
    assert!(lines[0].starts_with("limited "), "{}", finished.stdout);
}
