//! The profilers: how each is started, when it is ready, and how many samples of the load it has.

use super::load;
use crate::agent::{Agent, Binary};
use crate::bpf_stats;
use crate::launched::Launched;
use anyhow::ensure;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A profiler and how it is set.
#[derive(Clone, Debug)]
pub(crate) enum Contestant {
    /// The agent with its page, pushing nowhere, at so many samples a second on each CPU.
    Thermograph(Binary, u32),
    /// `perf record -g` at 99 Hz on all CPUs: frame pointers, no names until somebody asks for a report.
    Perf,
    /// A bpftrace program that counts stacks at 99 Hz in a kernel map: no names until its end.
    Bpftrace,
}

/// A profiler that is ready.
pub(crate) enum Started {
    Thermograph(Agent),
    Perf(Launched),
    Bpftrace(Launched),
}

impl Contestant {
    /// What the table calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Contestant::Thermograph(_, hertz) => format!("thermograph agent, {hertz} Hz"),
            Contestant::Perf => "perf record -g, 99 Hz".to_owned(),
            Contestant::Bpftrace => "bpftrace, ustack and kstack, 99 Hz".to_owned(),
        }
    }

    /// Starts it; `None` where it is not installed.
    pub(crate) fn start(&self) -> anyhow::Result<Option<Started>> {
        let launched = match self {
            Contestant::Thermograph(binary, hertz) => {
                return Ok(Agent::start(binary, *hertz)?.map(Started::Thermograph));
            }
            Contestant::Perf => Launched::start(self.label(), |files| {
                let mut command = Command::new("perf");
                command
                    .args(["record", "-a", "-g", "-F", "99", "-o"])
                    .arg(files.join("perf.data"));
                command
            })?,
            Contestant::Bpftrace => Launched::start(self.label(), |_| {
                let mut command = Command::new("bpftrace");
                command.args(["-e", "profile:hz:99 { @[ustack, kstack, comm] = count(); }"]);
                command
            })?,
        };
        let Some(mut launched) = launched else {
            return Ok(None);
        };
        Ok(Some(match self {
            Contestant::Bpftrace => {
                launched.wait_until_ready(|launched| {
                    bpf_stats::sampling_runs(launched.pid()).count > 0
                })?;
                Started::Bpftrace(launched)
            }
            _ => {
                // It writes its file's head before it turns its events on, and what they mapped after.
                launched.wait_until_ready(|launched| {
                    fs::metadata(launched.files().join("perf.data"))
                        .is_ok_and(|file| file.len() > 4096)
                })?;
                Started::Perf(launched)
            }
        }))
    }
}

impl Started {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Started::Thermograph(agent) => agent.pid(),
            Started::Perf(launched) | Started::Bpftrace(launched) => launched.pid(),
        }
    }

    /// Samples that it has counted until now, where it can be asked while it runs.
    pub(crate) fn samples_until_now(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Started::Thermograph(agent) => agent.samples_until_now().map(Some),
            Started::Perf(_) | Started::Bpftrace(_) => Ok(None),
        }
    }

    /// Ends it; gives the samples it has of the load, where that is known from what it wrote.
    pub(crate) fn finish(self) -> anyhow::Result<Option<u64>> {
        match self {
            Started::Thermograph(_) => Ok(None),
            Started::Perf(mut launched) => {
                launched.interrupt()?;
                perf_samples(&launched.files().join("perf.data")).map(Some)
            }
            Started::Bpftrace(mut launched) => {
                launched.interrupt()?;
                let counts = fs::read(launched.files().join("out"))?;
                Ok(Some(bpftrace_samples(&String::from_utf8_lossy(&counts))))
            }
        }
    }
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
