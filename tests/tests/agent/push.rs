//! What arrives at the server.

use crate::{busy, scene};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::http;
use tests::machine::{Machine, say, skipped};
use tests::pyroscope::{Limits, Pyroscope, Stored};
use tests::stacks::Stacks;

const INTERVAL: i64 = 15_000_000_000;

/// Profiles of at least three whole intervals are stored, as they were sent; each begins at a multiple of 15 s; each has
/// the labels of its owner and of the host, one series each, and its samples have none.
#[test]
fn intervals_arrive() {
    if skipped("intervals_arrive") {
        return;
    }
    let server = &scene().server;
    let intervals = |stored: &[Stored]| -> BTreeSet<i64> {
        stored
            .iter()
            .map(|stored| stored.profile.time_nanos / INTERVAL)
            .collect()
    };
    // The first one is not whole.
    let stored = wait_for("four intervals", || {
        let stored = server.stored();
        (intervals(&stored).len() >= 4).then_some(stored)
    });
    server.assert_nothing_lost();
    let first = *intervals(&stored).first().unwrap();
    let known = BTreeSet::from([
        "__name__",
        "node",
        "profiler",
        "service_name",
        "container_id",
        "container",
        "pod",
        "namespace",
        "unit",
        "image",
        "version",
        "workload",
    ]);
    let mut series = BTreeMap::<_, usize>::new();
    for Stored {
        labels, profile, ..
    } in &stored
    {
        assert!(
            labels.keys().all(|name| known.contains(name.as_str())),
            "{labels:?}"
        );
        assert_eq!(
            (labels["__name__"].as_str(), labels["node"].as_str()),
            ("process_cpu", "scene")
        );
        assert!(!labels["service_name"].is_empty());
        assert!(
            profile.sample.iter().all(|sample| sample.label.is_empty()),
            "{labels:?}"
        );
        let interval = profile.time_nanos / INTERVAL;
        if interval > first {
            let late = profile.time_nanos % INTERVAL;
            assert!(
                late < 500_000_000,
                "{labels:?} begins {late} ns after a multiple of 15 s"
            );
            assert!(
                (profile.duration_nanos - INTERVAL).abs() < 1_000_000_000,
                "{}",
                profile.duration_nanos
            );
        }
        *series.entry((interval, labels.clone())).or_default() += 1;
    }
    // A large profile may be split; those of a test machine are small.
    let twice: Vec<_> = series.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// SIGTERM ends the agent with status 0, and what was not sent by then arrives.
#[test]
fn the_rest_is_sent_at_the_end() {
    if skipped("the_rest_is_sent_at_the_end") {
        return;
    }
    let _machine = Machine::shared();
    let server = Pyroscope::start();
    let agent = Agent::start(&["--pyroscope-url", &server.url(), "--push-interval", "10m"]);
    // As long as there is nothing to push, what arrives comes of the end.
    let report = busy("1.5").finish().unwrap().reports.remove(0);
    assert!(server.stored().is_empty());
    agent.running().signal(Signal::TERM);
    let signalled = Instant::now();
    let finished = agent.into_running().finish().succeeded();
    say(&format!(
        "the agent ended {:.1?} after SIGTERM",
        finished.ended - signalled
    ));
    assert!(
        finished.ended < signalled + Duration::from_secs(12),
        "{}",
        finished.stderr
    );
    server.assert_nothing_lost();
    let stored = server.stored();
    let of_busy: Vec<_> = stored
        .iter()
        .filter(|stored| stored.labels["service_name"] == "busy")
        .collect();
    let nanos: i64 = of_busy
        .iter()
        .map(|stored| Stacks::of(&stored.profile).nanos())
        .sum();
    // Others may run the same program meanwhile; of 148 samples at 99 Hz four standard deviations are 33 %.
    assert!(
        nanos as f64 >= 0.67 * report.total_cpu_ns as f64,
        "{nanos}: {report:?}"
    );
    let spin = of_busy
        .iter()
        .flat_map(|stored| Stacks::of(&stored.profile).stacks);
    assert!(
        spin.clone()
            .any(|stack| stack.from("main") == ["main", "work", "spin"])
    );
}

/// A server that is not there yet costs one line in the log and no profile.
#[test]
fn profiles_wait_for_the_server() {
    if skipped("profiles_wait_for_the_server") {
        return;
    }
    let _machine = Machine::shared();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let agent = Agent::start(&[
        "--pyroscope-url",
        &format!("http://{address}"),
        "--push-interval",
        "5s",
    ]);
    let began = std::time::SystemTime::now();
    wait_for("a complaint", || {
        agent
            .running()
            .stderr()
            .contains("does not take profiles")
            .then_some(())
    });
    let server = Pyroscope::start_at(address, Limits::default());
    let stored = wait_for("profiles", || {
        Some(server.stored()).filter(|stored| !stored.is_empty())
    });
    let age = server.stored()[0].profile.time_nanos as f64 / 1e9
        - began
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
    // Of the first intervals, not only of what came after the server did.
    assert!(age < 10.0, "{age}: {} profiles", stored.len());
    server.assert_nothing_lost();
    let said = agent.running().stderr();
    assert_eq!(said.matches("does not take profiles").count(), 1, "{said}");
}

/// What a query gives back is what was sent: the same time in the same functions.
#[test]
fn queries_give_back_what_was_sent() {
    if skipped("queries_give_back_what_was_sent") {
        return;
    }
    let scene = scene();
    {
        let _machine = Machine::shared();
        busy("2").finish().unwrap();
    }
    let is_busy = |stored: &Stored| stored.labels["service_name"] == "busy";
    wait_for("a profile of busy", || {
        scene.server.stored().iter().any(is_busy).then_some(())
    });
    let sent = |stored: Vec<Stored>| -> i64 {
        stored
            .iter()
            .filter(|stored| is_busy(stored))
            .map(|stored| Stacks::of(&stored.profile).nanos())
            .sum()
    };
    // More may come between the two looks: then once more.
    let (total, names) = wait_for("a quiet moment", || {
        let before = sent(scene.server.stored());
        let answer = select(&scene.server.url());
        (before == sent(scene.server.stored())).then_some((before, answer))
    });
    let flamegraph = &names["flamegraph"];
    assert_eq!(
        flamegraph["total"].as_str().map(str::parse),
        Some(Ok(total)),
        "{flamegraph}"
    );
    let names = flamegraph["names"].as_array().unwrap();
    for name in ["main", "work", "spin"] {
        assert!(
            names.iter().any(|known| known == name),
            "no {name}: {names:?}"
        );
    }
}

/// The merged stacks of `busy`, by the call that Grafana makes for a flame graph.
fn select(url: &str) -> serde_json::Value {
    let body = serde_json::json!({
        "profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        "labelSelector": "{service_name=\"busy\",node=\"scene\"}",
        "start": 0,
        "end": i64::MAX,
    });
    let address = url.trim_start_matches("http://");
    http::post(
        address,
        "/querier.v1.QuerierService/SelectMergeStacktraces",
        &body,
    )
    .json()
}
