//! What the kernel itself measures of BPF programs and maps.

use anyhow::Context;
use libbpf_rs::MapHandle;
use libbpf_rs::libbpf_sys;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
    let programs = perf_event_programs(pid);
    programs.values().fold(Runs::default(), |sum, runs| Runs {
        count: sum.count + runs.count,
        nanos: sum.nanos + runs.nanos,
    })
}

/// Runs of one perf_event program, of which this process has a descriptor.
pub(crate) fn runs(program: BorrowedFd<'_>) -> Runs {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    perf_event_program(&text).map_or_else(Runs::default, |(_, runs)| runs)
}

/// The maps that process `pid` holds open.
pub(crate) fn maps(pid: u32) -> Vec<MapHandle> {
    let ids: BTreeSet<u64> = fdinfos(pid)
        .filter_map(|fdinfo| field(&fdinfo, "map_id"))
        .collect();
    let ids = ids.into_iter().filter_map(|id| u32::try_from(id).ok());
    // One may be gone by now.
    ids.filter_map(|id| MapHandle::from_map_id(id).ok())
        .collect()
}

/// Kernel memory of the maps that process `pid` holds open, bytes.
pub(crate) fn map_bytes(pid: u32) -> u64 {
    let of_map = |fdinfo: String| Some((field(&fdinfo, "map_id")?, field(&fdinfo, "memlock")?));
    let maps: BTreeMap<u64, u64> = fdinfos(pid).filter_map(of_map).collect();
    maps.values().sum()
}

/// Those that process `pid` holds open by their ids: several descriptors may be of one program.
fn perf_event_programs(pid: u32) -> BTreeMap<u64, Runs> {
    fdinfos(pid)
        .filter_map(|fdinfo| perf_event_program(&fdinfo))
        .collect()
}

/// /proc/PID/fdinfo/N of all descriptors; none of a process that is gone.
fn fdinfos(pid: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path()).ok())
}

fn field(fdinfo: &str, name: &str) -> Option<u64> {
    let value = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    value?.trim().parse().ok()
}

/// Reads /proc/PID/fdinfo/N: the program's id and its runs, if it is a perf_event program.
fn perf_event_program(fdinfo: &str) -> Option<(u64, Runs)> {
    let field = |name| field(fdinfo, name);
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
