//! `/api/profile`: a profile of now, over HTTP.

use crate::{busy, scene};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::machine::{Machine, skipped};

/// It is as long as was asked for, comes soon after its end, and is of that process only, with the labels that a
/// recording has; the tests beside this one run others.
#[test]
fn captures_are_of_one_process() {
    if skipped("captures_are_of_one_process") {
        return;
    }
    let _machine = Machine::shared();
    // Not what its start takes.
    let agent = &scene().agent;
    let (running, other) = (busy("100"), busy("100"));
    let begin = Instant::now();
    let stacks = agent.stacks(&format!("/api/profile?seconds=2&pid={}", running.pid()));
    let took = begin.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert_eq!(stacks.pids(), BTreeSet::from([running.pid()]));
    drop(other);
    let seconds = stacks.duration_nanos as f64 / 1e9;
    assert!((1.95..2.2).contains(&seconds), "{seconds}");
    // The least is what a machine leaves it that runs three such tests.
    let used = stacks.nanos() as f64 / 1e9;
    assert!((0.3..2.2).contains(&used), "{used}: {}", stacks.listing());
    assert!(
        stacks.share(|stack| stack.from("main") == ["main", "work", "spin"]) > 0.98,
        "{}",
        stacks.listing()
    );
    for stack in &stacks.stacks {
        assert_eq!(
            (stack.comm(), stack.texts["thread"].as_str()),
            ("busy-0", "busy-0")
        );
        assert_eq!(stack.numbers["tid"], i64::from(running.pid()));
    }
    let lines = scene().agent.get(&format!(
        "/api/profile?seconds=1&pid={}&format=folded",
        running.pid()
    ));
    assert!(
        lines.text().lines().all(|line| line.starts_with("busy-0;")),
        "{}",
        lines.text()
    );
    assert!(
        lines.text().contains(";main;work;spin "),
        "{}",
        lines.text()
    );
}

/// Clients that go away take nothing of another's capture: it is as long as was asked for.
#[test]
fn captures_do_not_disturb_each_other() {
    if skipped("captures_do_not_disturb_each_other") {
        return;
    }
    let _machine = Machine::shared();
    let (agent, running) = (&scene().agent, busy("100"));
    let path = |seconds: u32| format!("/api/profile?seconds={seconds}&pid={}", running.pid());
    let whole = std::thread::scope(|scope| {
        let whole = scope.spawn(|| agent.stacks(&path(4)));
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            let gone = agent.ask(&path(100));
            std::thread::sleep(Duration::from_millis(500));
            drop(gone);
        }
        whole.join().unwrap()
    });
    let seconds = whole.duration_nanos as f64 / 1e9;
    assert!((3.95..4.2).contains(&seconds), "{seconds}");
}

/// A fifth at the same time is refused, and one of a process that does not exist; both say why.
#[test]
fn captures_have_bounds() {
    if skipped("captures_have_bounds") {
        return;
    }
    let _machine = Machine::shared();
    let agent = tests::agent::Agent::start(&[]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let captures: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| agent.get("/api/profile?seconds=3").status))
            .collect();
        captures
            .into_iter()
            .map(|capture| capture.join().unwrap())
            .collect()
    });
    let count = |status: u16| statuses.iter().filter(|known| **known == status).count();
    assert_eq!((count(200), count(429)), (4, 1), "{statuses:?}");
    // Four places are free again.
    assert_eq!(agent.get("/api/profile?seconds=1").status, 200);
    for (status, query, word) in [
        (404, "seconds=1&pid=4194304", "no process 4194304"),
        (400, "seconds=301", "300"),
        (400, "seconds=0", "300"),
        (400, "pid=1", "seconds"),
    ] {
        let reply = agent.get(&format!("/api/profile?{query}"));
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
        assert!(reply.text().contains(word), "{query}: {}", reply.text());
    }
}
