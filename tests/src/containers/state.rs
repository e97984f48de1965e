//! A runtime's directory and daemon, gone when the test is over, however it ends.

use crate::condition::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory that runtimes mount in, unmounted and removed on drop.
#[derive(Debug)]
pub(super) struct State(TempDir);

impl State {
    pub(super) fn new() -> State {
        State(tempfile::Builder::new().prefix("tg-").tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl State {
    /// Waits for the processes of its containers to end, or ends them.
    pub(super) fn end_processes(&self) {
        let begin = Instant::now();
        while !self.processes().is_empty() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Processes that name the directory in their arguments: monitors of containers, and what cleans up behind them.
    fn processes(&self) -> Vec<Pid> {
        let path = self.path().to_str().unwrap_or_default();
        let names_it = |entry: &fs::DirEntry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(path)
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter(names_it).map(|entry| entry.file_name());
        pids.filter_map(|pid| Pid::from_raw(pid.to_str()?.parse().ok()?))
            .collect()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end_processes();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| Path::new(path).starts_with(self.path()));
        // Those within others come later.
        let mut below: Vec<&str> = below.collect();
        below.reverse();
        for path in below {
            let _ = Command::new("umount").args(["--lazy", path]).output();
        }
    }
}

/// A daemon, ended on drop.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, which logs into `directory`, and waits until it listens on `socket`.
    pub(super) fn start(mut command: Command, directory: &Path, socket: &Path) -> Daemon {
        let log = directory.join("daemon.log");
        let file = File::create(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let process = command.spawn().unwrap();
        let mut daemon = Daemon { process, log };
        wait_for("a runtime listens on its socket", || {
            if let Some(status) = daemon.process.try_wait().unwrap() {
                panic!("{command:?} ended with {status}: {}", daemon.log());
            }
            UnixStream::connect(socket).ok()
        });
        daemon
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let begin = Instant::now();
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        while begin.elapsed() < Duration::from_secs(10) {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Removes what a runtime leaves of the cgroup `path`, and of those above it, in all hierarchies. The kernel keeps what others use.
pub(super) fn remove_cgroup(path: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let hierarchies = hierarchies.map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
        for path in Path::new(path)
            .ancestors()
            .filter(|path| *path != Path::new(""))
        {
            let _ = fs::remove_dir(hierarchy.join(path));
        }
    }
}
