//! The process that reads symbols for the agent.

use fixtures::Program;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::cpu_time::children;
use tests::fuse::{FileSystem, Mode};
use tests::machine::{Machine, skipped};
use tests::pyroscope::Pyroscope;

/// A running program, killed when this is dropped.
struct Runs(Child);

impl Runs {
    fn start(program: &Path) -> Self {
        Self(Command::new(program).arg("100").spawn().unwrap())
    }

    /// Its functions so far, as the page's store has them.
    fn names(&self, agent: &Agent) -> Vec<String> {
        let path = format!("/api/profile?seconds=1&pid={}", self.0.id());
        let stacks = agent.stacks(&path).stacks.into_iter();
        stacks
            .flat_map(|stack| stack.frames)
            .map(|frame| frame.name)
            .collect()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        // Not waited for: it may itself wait for a server.
        let _ = self.0.kill();
    }
}

/// A program of a name that no other has, so that nobody has named it before.
fn copy(directory: &Path, name: &str) -> PathBuf {
    let to = directory.join(name);
    fs::copy(Program::SharesC.path(), &to).unwrap();
    to
}

fn worker(agent: &Agent) -> Option<u32> {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut children = children(agent.running().pid()).into_iter();
    children.find(|pid| name(pid) == "symbolizer\n")
}

/// Waits until the end of a window, at which names are asked for, is some seconds away: windows end with five seconds of the wall clock.
fn early_in_a_window() {
    wait_for("the begin of a window", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let into_it = now.as_millis() % 5000;
        (500..2000).contains(&into_it).then_some(())
    });
}

/// What is new is named by a process of nobody's; one that is killed is replaced when it is needed again.
#[test]
fn a_worker_reads_symbols() {
    if skipped("a_worker_reads_symbols") {
        return;
    }
    let _machine = Machine::alone();
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    for name in ["one", "other"] {
        let program = Runs::start(&copy(directory.path(), name));
        let names = program.names(&agent);
        assert!(names.iter().any(|name| name == "hot_a"), "{names:?}");
        let worker = worker(&agent).unwrap();
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        assert!(
            status.contains("\nUid:\t65534\t65534\t65534\t65534\n"),
            "{status}"
        );
        kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL).unwrap();
    }
    assert!(agent.metric("thermograph_workers_started_total") >= 2.0);
    for reason in ["hung", "died", "lied", "not_started"] {
        let name = format!("thermograph_workers_failed_total{{reason=\"{reason}\"}}");
        assert_eq!(agent.metric(&name), 0.0, "{reason}");
    }
}

/// A program on a server that stops answering has addresses for names, which are counted, and its profile is pushed with them when its interval is
/// over. It costs nothing else: windows end, and other new programs are named.
#[test]
fn a_dead_server_costs_its_own_names() {
    if skipped("a_dead_server_costs_its_own_names") {
        return;
    }
    let _machine = Machine::alone();
    let directory = tempfile::tempdir().unwrap();
    let pyroscope = Pyroscope::start();
    let interval = Duration::from_secs(5);
    let push = ["--pyroscope-url", &pyroscope.url(), "--push-interval", "5s"];
    let agent = Agent::start(&push);
    let server = FileSystem::mount(fs::read(Program::SharesC.path()).unwrap(), true);
    early_in_a_window();
    // Before its symbols are read: it runs by what is mapped.
    let remote = Runs::start(&server.path());
    wait_for("its first second", || {
        let time = tests::cpu_time::of_process(remote.0.id())?;
        (time > Duration::from_millis(100)).then_some(())
    });
    server.set(Mode::Never);
    let of_remote = remote.names(&agent);
    assert!(
        of_remote.iter().any(|name| name.starts_with("file+0x")),
        "{of_remote:?}"
    );
    assert!(
        !of_remote.iter().any(|name| name == "hot_a"),
        "{of_remote:?}"
    );
    let pushed = wait_for("what has no names is pushed", || {
        let mut stored = pyroscope.stored().into_iter();
        stored.find(|stored| {
            let mut texts = stored.profile.string_table.iter();
            texts.any(|text| text.starts_with("file+0x"))
        })
    });
    let end = pushed.profile.time_nanos + pushed.profile.duration_nanos;
    let end = UNIX_EPOCH + Duration::from_nanos(end as u64);
    let waited = pushed.received.duration_since(end).unwrap_or_default();
    // Names may take an interval, and a busy machine has another for all the rest.
    assert!(waited < 2 * interval, "{waited:?}");
    assert!(agent.metric("thermograph_places_late_total{part=\"name\"}") > 0.0);
    let hung = "thermograph_workers_failed_total{reason=\"hung\"}";
    assert_eq!(agent.metric(hung), 1.0);
    let local = Runs::start(&copy(directory.path(), "local"));
    let names = local.names(&agent);
    assert!(names.iter().any(|name| name == "hot_a"), "{names:?}");
    // It is not asked about again.
    assert_eq!(agent.metric(hung), 1.0);
    assert_eq!(
        agent.metric("thermograph_places_late_total{part=\"line\"}"),
        0.0
    );
}
