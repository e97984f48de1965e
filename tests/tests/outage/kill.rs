//! An agent that is killed in an outage.

use crate::{INTERVAL, agent, agent_with, counter, nobody, spooled, stored};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::SystemTime;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};
use tests::pyroscope::{Fault, Limits, Pyroscope};

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_nanos() as i64
}

/// Killed by SIGKILL after some intervals without a server, it loses the one in progress: the next agent sends the others with their times,
/// each once, and is killed in its turn, and the one after that sends nothing again.
#[test]
fn a_killed_agent_loses_the_interval_in_progress() {
    if skipped("a_killed_agent_loses_the_interval_in_progress") {
        return;
    }
    let _machine = Machine::shared();
    let data = tempfile::tempdir().unwrap();
    let address = nobody();
    let first = agent(address, data.path());
    let mut seen = BTreeSet::new();
    let mut on_disk = BTreeMap::new();
    let last = wait_for("four intervals on disk", || {
        let now = now();
        if spooled(address, data.path())
            .into_iter()
            .any(|file| seen.insert(file))
        {
            // The first file after the end of an interval holds it.
            let lag = now % INTERVAL / 1_000_000;
            on_disk.entry(now / INTERVAL).or_insert(lag);
        }
        (on_disk.len() >= 4).then_some(now / INTERVAL)
    });
    first.running().signal(Signal::KILL);
    drop(first);
    let mut lags: Vec<i64> = on_disk.into_values().collect();
    say(&format!(
        "on disk after the end of their intervals: {lags:?} ms"
    ));
    // When the first one ended, nobody knew of an outage, and it had no names yet. A busy machine may hold up all but one of the others.
    lags.remove(0);
    assert!(lags.iter().any(|lag| *lag < 1000), "{lags:?} ms");

    let server = Pyroscope::start_at(address, Limits::default());
    let second = agent(address, data.path());
    wait_for("the backlog is stored", || {
        (counter(&second, address, "thermograph_spool_bytes") == 0.0).then_some(())
    });
    second.running().signal(Signal::KILL);
    drop(second);
    let intervals = |stored: Vec<&(String, i64)>| -> BTreeSet<i64> {
        stored.iter().map(|(_, interval)| *interval).collect()
    };
    let before = stored(&server);
    let old = intervals(
        before
            .keys()
            .filter(|(_, interval)| *interval < last)
            .collect(),
    );
    // No gap up to the interval that ended before the last file was written.
    let first_interval = *old.first().unwrap();
    assert_eq!(old, (first_interval..last).collect());
    assert!(old.len() >= 3);

    let third = agent(address, data.path());
    wait_for("an interval of the third agent", || {
        let newer = server.stored();
        let newer = newer
            .iter()
            .filter(|stored| stored.profile.time_nanos / INTERVAL > last + 1);
        (newer.count() > 0).then_some(())
    });
    drop(third);
    let twice: Vec<_> = stored(&server)
        .into_iter()
        .filter(|((_, interval), times)| *interval < last && *times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    server.assert_nothing_lost();
}

/// The same with a server that lets pushes hang, which is seen when the first of them has waited: what hangs is on disk too.
#[test]
fn what_hangs_is_on_disk() {
    if skipped("what_hangs_is_on_disk") {
        return;
    }
    let _machine = Machine::shared();
    let data = tempfile::tempdir().unwrap();
    let address = nobody();
    let hangs = Pyroscope::start_at(address, Limits::default());
    hangs.play(Fault::Hang, usize::MAX);
    let first = agent(address, data.path());
    wait_for("two intervals on disk", || {
        (spooled(address, data.path()).len() >= 2).then_some(())
    });
    let hung = hangs.requests().len();
    assert!(hung > 0);
    first.running().signal(Signal::KILL);
    drop(first);
    drop(hangs);
    let server = Pyroscope::start_at(address, Limits::default());
    let second = agent(address, data.path());
    wait_for("the backlog is stored", || {
        (counter(&second, address, "thermograph_spool_bytes") == 0.0).then_some(())
    });
    assert!(counter(&second, address, "thermograph_push_repeated_unknown_total") >= 1.0);
    let times = stored(&server);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let intervals: BTreeSet<i64> = times.keys().map(|(_, interval)| *interval).collect();
    assert!(intervals.len() >= 2, "{intervals:?}");
}

/// A container whose engine does not answer has no name when its first interval is over: killed then, the agent leaves that interval on disk as
/// it is, and the next one sends it, once.
#[test]
fn what_waits_for_its_name_is_on_disk() {
    if skipped("what_waits_for_its_name_is_on_disk") {
        return;
    }
    let _machine = Machine::shared();
    let data = tempfile::tempdir().unwrap();
    let socket = data.path().join("docker.sock");
    // Connections are made, and nobody reads.
    let _docker = UnixListener::bind(&socket).unwrap();
    let hangs = ["--docker-socket", socket.to_str().unwrap()];
    let address = nobody();
    let first = agent_with(address, data.path(), &hangs);
    wait_for("an interval on disk", || {
        (!spooled(address, data.path()).is_empty()).then_some(())
    });
    // So that it runs for most of its first interval.
    let begun = wait_for("the begin of an interval", || {
        let now = now();
        (now % INTERVAL < INTERVAL / 10).then_some(now / INTERVAL)
    });
    let id = format!("{:0<64x}", 0xbeef_0000_0000 + u64::from(std::process::id()));
    let container = Busy::in_cgroup(&format!("docker/{id}"));
    let name = format!("docker-{}", &id[..12]);
    let holds_it = |path: PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes
            .windows(name.len())
            .any(|text| text == name.as_bytes())
    };
    let on_disk = wait_for("the container on disk", || {
        let is_there = spooled(address, data.path()).into_iter().any(holds_it);
        is_there.then(|| now() / INTERVAL)
    });
    first.running().signal(Signal::KILL);
    drop(first);
    drop(container);
    assert_eq!(on_disk, begun + 1, "it was there when it had a name only");

    let server = Pyroscope::start_at(address, Limits::default());
    let second = agent_with(address, data.path(), &hangs);
    wait_for("the backlog is stored", || {
        (counter(&second, address, "thermograph_spool_bytes") == 0.0).then_some(())
    });
    let times = stored(&server).into_iter();
    let of_it: Vec<_> = times
        .filter(|((labels, _), _)| labels.contains(&name))
        .collect();
    assert!(of_it.iter().all(|(_, times)| *times == 1), "{of_it:?}");
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    server.assert_nothing_lost();
}

/// A program that uses up a CPU in a cgroup of its own.
struct Busy {
    child: Child,
    _cgroup: Cgroup,
}

impl Busy {
    fn in_cgroup(path: &str) -> Busy {
        let cgroup = Cgroup::make(path);
        let script = format!("{} && while :; do :; done", cgroup.enter());
        let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        Busy {
            child,
            _cgroup: cgroup,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Two agents cannot share a spool: the second says so, works without, and leaves the first alone.
#[test]
fn the_second_agent_notices() {
    if skipped("the_second_agent_notices") {
        return;
    }
    let _machine = Machine::shared();
    let data = tempfile::tempdir().unwrap();
    let address = nobody();
    let first = agent(address, data.path());
    let second = agent(address, data.path());
    assert!(
        second
            .running()
            .stderr()
            .contains("another agent keeps its profiles there")
    );
    assert!(!first.running().stderr().contains("another agent"));
    assert_eq!(
        counter(&second, address, "thermograph_spool_profiles_total"),
        0.0
    );
}
