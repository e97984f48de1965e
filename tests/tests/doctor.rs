//! `thermograph doctor`: what it says of this host, and of one that lacks something.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;
use tests::machine::{Machine, skipped};
use tests::pyroscope::Pyroscope;
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

/// Servers are pushed nothing, which tells whether they would take something; what they have stored stays as it is.
#[test]
fn servers_are_tried() {
    if skipped("servers_are_tried") {
        return;
    }
    let _machine = Machine::shared();
    let server = Pyroscope::start();
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", refusing.local_addr().unwrap());
    drop(refusing);
    let run = Run::new(["doctor", "--config", "x.toml"]);
    let (here, elsewhere) = (server.url(), format!("{}/elsewhere", server.url()));
    let urls = [here.as_str(), elsewhere.as_str(), nobody.as_str()];
    let tables = urls.map(|url| format!("[[destination]]\nurl = {url:?}\n"));
    std::fs::write(run.directory().join("x.toml"), tables.concat()).unwrap();
    let finished = run.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let lines = about(&finished, "server ");
    assert_eq!(lines.len(), 3, "{}", finished.stdout);
    for (line, (verdict, words)) in lines.iter().zip([
        ("ok ", "takes pushes"),
        ("limited ", "404"),
        ("limited ", "cannot be reached"),
    ]) {
        assert!(line.starts_with(verdict) && line.contains(words), "{line}");
    }
    assert!(server.stored().is_empty());
}

/// Runtimes are asked: one that answers, one that hangs and one that nobody serves are told apart.
#[test]
fn runtimes_are_tried() {
    if skipped("runtimes_are_tried") {
        return;
    }
    let _machine = Machine::shared();
    let run = Run::new([
        "doctor",
        "--docker-socket",
        "docker.sock",
        "--podman-socket",
        "podman.sock",
        "--crio-socket",
        "crio.sock",
    ]);
    let listen = |name| UnixListener::bind(run.directory().join(name)).unwrap();
    let (docker, podman) = (listen("docker.sock"), listen("podman.sock"));
    drop(listen("crio.sock"));
    thread::spawn(move || {
        for mut stream in docker.incoming().flatten() {
            // No container has the id that is asked for.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}");
        }
    });
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in podman.incoming() {
            held.push(stream);
        }
    });
    let finished = run.finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    for (verdict, words) in [
        ("ok ", "docker answers"),
        ("limited ", "podman: it does not answer"),
        ("limited ", "crio.sock: Connection refused"),
    ] {
        let lines = about(&finished, words.split(':').next().unwrap());
        let is_told = |line: &&str| line.starts_with(verdict) && line.contains(words);
        assert!(lines.iter().any(is_told), "{words}: {}", finished.stdout);
    }
}

/// From a pid namespace of its own it says why no agent would run, and that the host's /proc is mounted at another place does not help.
#[test]
fn a_pid_namespace_is_a_finding() {
    if skipped("a_pid_namespace_is_a_finding") {
        return;
    }
    let _machine = Machine::shared();
    let mut command = Command::new("unshare");
    let host = tempfile::tempdir().unwrap();
    let script = format!(
        "mount --bind /proc {} && mount -t proc proc /proc && exec \"$@\"",
        host.path().display()
    );
    command.args(["--mount", "--pid", "--fork", "sh", "-c", &script, "sh"]);
    command.arg(binary());
    let finished = Run::under(command, ["doctor"]).finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    let lines = about(&finished, "pid namespace");
    assert!(
        lines.iter().any(|line| line.starts_with("missing ")),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}
