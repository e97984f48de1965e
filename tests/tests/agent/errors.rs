//! What cannot work is said in one sentence, before anything is sampled.

use std::net::TcpListener;
use std::process::Command;
use tests::machine::{Machine, skipped};
use tests::thermograph::{Run, binary};

/// A port that another program has.
#[test]
fn busy_ports_are_errors() {
    if skipped("busy_ports_are_errors") {
        return;
    }
    let _machine = Machine::shared();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let finished = Run::new(["agent", "--listen", &address]).finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    assert!(
        finished.complaint().contains(&address),
        "{}",
        finished.stderr
    );
    assert!(
        finished.complaint().contains("--listen"),
        "{}",
        finished.stderr
    );
}

/// Wrong settings, from the command line, the environment and the file, are wrong usage: they name the setting.
#[test]
fn wrong_settings_are_errors() {
    let usage = |mut run: Run, words: &[&str]| {
        run.command().env_remove("RUST_LOG");
        let finished = run.finish();
        assert_eq!(finished.code(), 2, "{}", finished.stderr);
        for word in words {
            assert!(
                finished.stderr.contains(word),
                "no {word}: {}",
                finished.stderr
            );
        }
    };
    usage(
        Run::new(["agent", "--pyroscope-url", "ftp://x"]),
        &["--pyroscope-url", "http://"],
    );
    usage(
        Run::new(["agent", "--pyroscope-url", "nonsense"]),
        &["--pyroscope-url", "http://"],
    );
    usage(
        Run::new(["agent", "--push-interval", "7s"]),
        &["--push-interval", "5s"],
    );
    usage(
        Run::new(["agent", "--config", "/nonexistent"]),
        &["/nonexistent"],
    );
    let mut from_environment = Run::new(["agent"]);
    from_environment
        .command()
        .env("THERMOGRAPH_PYROSCOPE_URI", "http://x");
    usage(
        from_environment,
        &["THERMOGRAPH_PYROSCOPE_URI", "THERMOGRAPH_PYROSCOPE_URL"],
    );
    let from_file = Run::new(["agent", "--config", "x.toml"]);
    std::fs::write(
        from_file.directory().join("x.toml"),
        "push_intervall = \"15s\"\n",
    )
    .unwrap();
    usage(from_file, &["push_intervall", "push_interval"]);
}

/// An agent without privileges ends, and says which it lacks.
#[test]
fn missing_privileges_are_errors() {
    if skipped("missing_privileges_are_errors") {
        return;
    }
    let _machine = Machine::shared();
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(binary());
    let finished = Run::under(command, ["agent", "--listen", "127.0.0.1:0"]).finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    assert!(
        finished.complaint().contains("CAP_BPF, CAP_PERFMON"),
        "{}",
        finished.stderr
    );
}
