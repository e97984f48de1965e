//! What the kernel itself measures of BPF programs.

use anyhow::Context;
use libbpf_rs::libbpf_sys;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};

/// The kernel measures BPF programs while this lives; the file descriptor ends that with this process, however it ends.
pub(crate) struct Measuring {
    _file: OwnedFd,
}

/// Has the kernel measure every run of every BPF program, which costs each run two readings of a clock.
pub(crate) fn measure() -> anyhow::Result<Measuring> {
    // SAFETY: takes a number and gives a new file descriptor or a negative error.
    let file = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
    if file < 0 {
        return Err(std::io::Error::from_raw_os_error(-file))
            .context("cannot turn on the kernel's BPF statistics");
    }
    // SAFETY: the file descriptor is new and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    Ok(Measuring { _file: file })
}

/// Runs of BPF programs and the time they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Number of runs.
    pub(crate) count: u64,
    /// Nanoseconds they took.
    pub(crate) nanos: u64,
}

impl Runs {
    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Runs) -> Runs {
        Runs {
            count: self.count.saturating_sub(earlier.count),
            nanos: self.nanos.saturating_sub(earlier.nanos),
        }
    }
}

/// Sum over the perf_event programs that process `pid` holds open: those that take samples. Nothing if there is none,
/// or no such process.
pub(crate) fn sampling_runs(pid: u32) -> Runs {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        // By id: several descriptors may be of one program.
        if let Some((id, runs)) = perf_event_program(&text) {
            programs.insert(id, runs);
        }
    }
    programs.values().fold(Runs::default(), |sum, runs| Runs {
        count: sum.count + runs.count,
        nanos: sum.nanos + runs.nanos,
    })
}

/// Reads /proc/PID/fdinfo/N: the program's id and its runs, if it is a perf_event program.
fn perf_event_program(fdinfo: &str) -> Option<(u64, Runs)> {
    let field = |name: &str| -> Option<u64> {
        let value = fdinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        value?.trim().parse().ok()
    };
    if field("prog_type")? != u64::from(libbpf_sys::BPF_PROG_TYPE_PERF_EVENT) {
        return None;
    }
    Some((
        field("prog_id")?,
        Runs {
            count: field("run_cnt")?,
            nanos: field("run_time_ns")?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a perf_event program counts, and its numbers are the kernel's.
    #[test]
    fn fdinfo_of_programs() {
        let fdinfo = |kind: u32| {
            format!(
                "pos:\t0\nprog_type:\t{kind}\nprog_id:\t206\nrun_time_ns:\t5000\nrun_cnt:\t7\nverified_insns:\t52\n"
            )
        };
        assert_eq!(
            perf_event_program(&fdinfo(7)),
            Some((
                206,
                Runs {
                    count: 7,
                    nanos: 5000
                }
            ))
        );
        assert_eq!(perf_event_program(&fdinfo(5)), None);
        assert_eq!(perf_event_program("pos:\t0\nflags:\t02\n"), None);
    }
}
