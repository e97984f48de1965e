//! Disks that do not take profiles.

use crate::{agent, counter, nobody, stored};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::SystemTime;
use tempfile::TempDir;
use tests::condition::wait_for;
use tests::machine::{Machine, skipped};
use tests::pyroscope::{Limits, Pyroscope};

/// A file system in memory; gone on drop.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new() -> Tmpfs {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
            .arg(directory.path()));
        Tmpfs(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// On a full disk and on a read-only one profiles stay in memory and arrive from there, each once; the log says why, and a counter.
#[test]
fn profiles_stay_in_memory() {
    if skipped("profiles_stay_in_memory") {
        return;
    }
    let _machine = Machine::shared();
    thread::scope(|scope| {
        scope.spawn(|| stay_in_memory("full", "No space left"));
        scope.spawn(|| stay_in_memory("ro", "Read-only"));
    });
}

fn stay_in_memory(state: &str, says: &str) {
    let disk = Tmpfs::new();
    if state == "ro" {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(disk.path()));
    } else {
        let _ = fs::write(disk.path().join("filler"), vec![1; 64 << 10]);
    }
    let address = nobody();
    let agent = agent(address, disk.path());
    wait_for("the disk fails", || {
        agent.running().stderr().contains(says).then_some(())
    });
    // By then an interval has ended.
    wait_for("a push in vain", || {
        let metrics = String::from_utf8(agent.get("/metrics").good()).unwrap();
        metrics.contains("code=\"connect\"").then_some(())
    });
    assert!(counter(&agent, address, "thermograph_spool_failures_total") >= 1.0);
    let server = Pyroscope::start_at(address, Limits::default());
    let began = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
    wait_for("an interval that ended before the server began", || {
        let stored = server.stored();
        let mut ends = stored
            .iter()
            // The first one is shorter than the others.
            .map(|stored| stored.profile.time_nanos + stored.profile.duration_nanos);
        ends.any(|end| end < began).then_some(())
    });
    assert!(stored(&server).values().all(|times| *times == 1));
    assert_eq!(
        counter(&agent, address, "thermograph_spool_profiles_total"),
        0.0
    );
    server.assert_nothing_lost();
}
