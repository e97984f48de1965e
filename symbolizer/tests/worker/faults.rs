//! Workers that end, hang, lie, or never were.

use crate::support::{Workshop, open};
use crate::{
    alone, assert_blamed, has_ended, launch, name_at, offset_of, signal, stats, symbolizer, worker,
    workers,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use symbolizer::{FileError, Symbolizer, WorkerFault};
use tests::condition::wait_for;

/// One that was killed while nobody asked it anything is replaced, and no file is blamed.
#[test]
fn a_killed_worker_comes_back() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let [leaf, f] = ["leaf", "f"].map(|name| offset_of(&program, name));
    let module = open(&program);
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &module, leaf).as_deref(),
        Some("leaf")
    );
    let first = worker();
    signal(first, Signal::KILL);
    wait_for("its end", || has_ended(first).then_some(()));
    assert_eq!(name_at(&mut symbolizer, &module, f).as_deref(), Some("f"));
    assert_ne!(worker(), first);
    assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 2));
    drop(symbolizer);
    // The last one is gone with who asked.
    wait_for("no worker", || workers().is_empty().then_some(()));
}

/// A worker that stops answering costs the file that it was at, in time; the same window's next file is named by another, and
/// the cache goes on without any.
#[test]
fn a_hanging_worker_costs_one_file() {
    let _alone = alone();
    let workshop = Workshop::new();
    let [one, other] = ["one", "other"].map(|name| workshop.c_program(name, &["-O2", "-g"]));
    let [leaf, f] = ["leaf", "f"].map(|name| offset_of(&one, name));
    let (one, other) = (open(&one), open(&other));
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &one, leaf).as_deref(),
        Some("leaf")
    );
    symbolizer.begin_window(Duration::from_secs(4));
    signal(worker(), Signal::STOP);
    let begin = Instant::now();
    assert_eq!(name_at(&mut symbolizer, &one, f), None);
    assert_eq!(
        name_at(&mut symbolizer, &other, leaf).as_deref(),
        Some("leaf")
    );
    assert!(begin.elapsed() < Duration::from_secs(4));
    // It is left alone now, but what was said of it before stays.
    assert_eq!(name_at(&mut symbolizer, &one, f), None);
    assert_eq!(
        name_at(&mut symbolizer, &one, leaf).as_deref(),
        Some("leaf")
    );
    assert_blamed(&mut symbolizer, &one, WorkerFault::Hung);
    let expected = stats(|stats| {
        stats.started = 2;
        stats.hung = 1;
        stats.late_names = 1;
    });
    assert_eq!(symbolizer.worker_stats(), expected);
}

/// A program in the place of the worker that says anything at all names nothing, takes no memory, and is done with.
#[test]
fn lies_are_no_answers() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let leaf = offset_of(&program, "leaf");
    let module = open(&program);
    for (script, fault) in [
        ("printf x >&0; sleep 100", WorkerFault::Lied),
        // Longer than a message.
        (
            "dd if=/dev/zero bs=100000 count=1 status=none >&0; sleep 100",
            WorkerFault::Lied,
        ),
        (
            "while dd if=/dev/urandom bs=1000 count=1 status=none >&0; do :; done",
            WorkerFault::Lied,
        ),
        ("exit 0", WorkerFault::Died),
        ("kill -SEGV $$", WorkerFault::Died),
    ] {
        let mut symbolizer = Symbolizer::in_worker(8 << 20, launch("/bin/sh", &["-c", script]));
        let before = symbolizer.cached_bytes();
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None, "{script}");
        assert_eq!(symbolizer.cached_bytes(), before);
        let failures = symbolizer.take_failures();
        assert_eq!(failures[0].error, FileError::Worker(fault), "{script}");
    }
}

/// Without a worker places are called by their addresses, and it is said once why.
#[test]
fn without_a_worker_nothing_breaks() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let leaf = offset_of(&program, "leaf");
    let module = open(&program);
    let mut symbolizer = Symbolizer::in_worker(8 << 20, launch("/nowhere/at/all", &[]));
    for _ in 0..3 {
        symbolizer.begin_window(Duration::from_secs(4));
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None);
    }
    assert!(symbolizer.take_start_error().is_some());
    assert!(symbolizer.take_start_error().is_none());
    assert_eq!(
        symbolizer.worker_stats(),
        stats(|stats| {
            stats.not_started = 1;
            stats.late_names = 3;
        })
    );
}
