//! The profilers: how each is started, when it is ready, and how many samples of the load it has.

use crate::{bpf_stats, load};
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a profiler may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The agent reads its counters once a second.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// A profiler and how it is set.
#[derive(Clone, Debug)]
pub(crate) enum Contestant {
    /// The agent with its page, pushing nowhere.
    Thermograph {
        /// The binary.
        program: PathBuf,
        /// The page's port.
        port: u16,
        /// Samples a second on each CPU.
        hertz: u32,
    },
    /// `perf record -g` at 99 Hz on all CPUs: frame pointers, no names until somebody asks for a report.
    Perf,
    /// A bpftrace program that counts stacks at 99 Hz in a kernel map: no names until its end.
    Bpftrace,
}

/// A profiler that is ready.
pub(crate) struct Started {
    contestant: Contestant,
    child: Child,
    files: TempDir,
}

impl Contestant {
    /// What the table calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Contestant::Thermograph { hertz, .. } => format!("thermograph agent, {hertz} Hz"),
            Contestant::Perf => "perf record -g, 99 Hz".to_owned(),
            Contestant::Bpftrace => "bpftrace, ustack and kstack, 99 Hz".to_owned(),
        }
    }

    /// Starts it; `None` where it is not installed.
    pub(crate) fn start(&self) -> anyhow::Result<Option<Started>> {
        let files = tempfile::Builder::new()
            .prefix("thermograph-bench-")
            .tempdir()?;
        let mut command = self.command(files.path());
        command.stdin(Stdio::null());
        command
            .stdout(File::create(files.path().join("out"))?)
            .stderr(File::create(files.path().join("err"))?);
        let child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            child => child.with_context(|| format!("cannot start {}", self.label()))?,
        };
        let mut started = Started {
            contestant: self.clone(),
            child,
            files,
        };
        started.wait_until(|started| started.is_ready())?;
        Ok(Some(started))
    }

    fn command(&self, files: &Path) -> Command {
        match self {
            Contestant::Thermograph {
                program,
                port,
                hertz,
            } => {
                let mut command = Command::new(program);
                command.args([
                    "agent",
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                    "-F",
                    &hertz.to_string(),
                ]);
                command.arg("--data-dir").arg(files);
                command
            }
            Contestant::Perf => {
                let mut command = Command::new("perf");
                command
                    .args(["record", "-a", "-g", "-F", "99", "-o"])
                    .arg(files.join("perf.data"));
                command
            }
            Contestant::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.args(["-e", "profile:hz:99 { @[ustack, kstack, comm] = count(); }"]);
                command
            }
        }
    }
}

impl Started {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Samples that it has counted until now, where it can be asked while it runs. The agent reads its counters once a
    /// second, so this waits until it has done so again: two readings would else be off by a second of samples.
    pub(crate) fn samples_until_now(&self) -> anyhow::Result<Option<u64>> {
        let Contestant::Thermograph { port, .. } = self.contestant else {
            return Ok(None);
        };
        let (begin, before) = (Instant::now(), samples_total(port)?);
        while begin.elapsed() < PUBLISHED_WITHIN {
            let now = samples_total(port)?;
            if now > before {
                return Ok(Some(now));
            }
            std::thread::sleep(PAUSE);
        }
        // Nothing ran on the whole host meanwhile.
        Ok(Some(before))
    }

    /// Ends it; gives the samples it has of the load, where that is known from what it wrote.
    pub(crate) fn finish(mut self) -> anyhow::Result<Option<u64>> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT)?;
        }
        self.wait_until(|started| Ok(started.child.try_wait()?.is_some()))?;
        match self.contestant {
            Contestant::Thermograph { .. } => Ok(None),
            Contestant::Perf => perf_samples(&self.files.path().join("perf.data")).map(Some),
            Contestant::Bpftrace => {
                let counts =
                    String::from_utf8_lossy(&fs::read(self.files.path().join("out"))?).into_owned();
                Ok(Some(bpftrace_samples(&counts)))
            }
        }
    }

    fn is_ready(&mut self) -> anyhow::Result<bool> {
        if let Some(status) = self.child.try_wait()? {
            let said = fs::read(self.files.path().join("err")).unwrap_or_default();
            bail!(
                "{} ended at once, {status}: {}",
                self.contestant.label(),
                String::from_utf8_lossy(&said).trim()
            );
        }
        Ok(match self.contestant {
            Contestant::Thermograph { port, .. } => get(port, "/healthz").is_ok(),
            // It writes its file's head before it turns its events on, and what they mapped after.
            Contestant::Perf => fs::metadata(self.files.path().join("perf.data"))
                .is_ok_and(|file| file.len() > 4096),
            Contestant::Bpftrace => bpf_stats::sampling_runs(self.pid()).count > 0,
        })
    }

    fn wait_until(
        &mut self,
        mut condition: impl FnMut(&mut Started) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !condition(self)? {
            let label = self.contestant.label();
            ensure!(
                begin.elapsed() < PATIENCE,
                "{label} was not done after {} s: run it by hand",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body that 127.0.0.1:`port` answers a GET for `path` with; an error for any status but 200.
fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer that is not HTTP")?;
    let status = head.split(' ').nth(1);
    ensure!(
        status == Some("200"),
        "{path} answered {}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}

fn samples_total(port: u16) -> anyhow::Result<u64> {
    let metrics = get(port, "/metrics").context("the agent does not answer on its port")?;
    let values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("thermograph_samples_total"));
    let samples: f64 = values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    Ok(samples as u64)
}

/// Number of samples of the load in a file of perf's.
fn perf_samples(file: &Path) -> anyhow::Result<u64> {
    // One line a sample.
    let output = Command::new("perf")
        .args(["script", "-G", "-F", "comm", "--comms", load::name(), "-i"])
        .arg(file)
        .output()?;
    ensure!(
        output.status.success(),
        "perf cannot read its own file: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Sum of the counts of the load's stacks in what bpftrace prints of its map: keys end in `, NAME]: COUNT`.
fn bpftrace_samples(printed: &str) -> u64 {
    let end = format!(", {}]", load::name());
    let counts = printed.lines().filter_map(|line| {
        line.split_once("]: ")
            .filter(|(key, _)| format!("{key}]").ends_with(&end))
    });
    counts
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of the load's process are summed, other processes' left out; the text is bpftrace 0.17's own.
    #[test]
    fn counts_of_bpftrace() {
        let printed = "Attaching 1 probe...\n\n\n@[\n    leaf+20\n    left+30\n, \n    pfn+1\n, deep]: 41\n\
                       @[\n    leaf+20\n, , deep]: 1\n@[, \n    kdamond_fn+1715\n, kdamond.0]: 1\n@[, , bash deep]: 5\n";
        assert_eq!(bpftrace_samples(printed), 42);
    }
}
