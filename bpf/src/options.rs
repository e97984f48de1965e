//! What to sample, and how.

use crate::skeleton::types;
use std::time::Duration;

/// What to sample, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples a second on each CPU.
    pub frequency: u32,
    /// Length of a window: maps and ring are made for twice as many samples as fit into one.
    pub window: Duration,
    /// Sample the idle task too.
    pub idle: bool,
    /// Whom to sample.
    pub filter: Filter,
    /// Which of a task's cgroups is read.
    pub cgroups: CgroupSource,
    /// Keys the hash of stacks; any number nobody else knows.
    pub seed: u64,
    /// Bytes of kernel memory that unwind tables may take.
    pub table_memory: u64,
}

/// Nanoseconds of CPU time that one sample stands for, at so many samples a second.
pub fn period(frequency: u32) -> u64 {
    1_000_000_000 / u64::from(frequency.max(1))
}

/// Whom to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All that runs.
    Everything,
    /// The threads of one process.
    Process(u32),
    /// The programs that children of a process exec from now on, and all their descendants.
    DescendantsOf(u32),
}

/// Which of a task's cgroups is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupSource {
    /// By which hierarchy.
    pub controller: CgroupController,
    /// The hierarchy's number, the first field of /proc/PID/cgroup; 0 for the unified one.
    pub hierarchy: u32,
}

/// A hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupController {
    /// The v2 hierarchy.
    Unified,
    /// The v1 hierarchy of the controller `memory`.
    Memory,
    /// Of `cpu`.
    Cpu,
    /// Of `pids`.
    Pids,
    /// There are no cgroups.
    None,
}

/// As the kernel programs have it.
pub(crate) fn config(options: &Options, ring_bytes: u64) -> types::config {
    types::config {
        seed: options.seed,
        period: period(options.frequency),
        ring_watermark: ring_bytes / 2,
        filter: match options.filter {
            Filter::Everything => types::filter::FILTER_NONE,
            Filter::Process(_) => types::filter::FILTER_PROCESS,
            Filter::DescendantsOf(_) => types::filter::FILTER_DESCENDANTS,
        },
        target_tgid: match options.filter {
            Filter::Everything => 0,
            Filter::Process(tgid) | Filter::DescendantsOf(tgid) => tgid,
        },
        cgroup_source: match options.cgroups.controller {
            CgroupController::Unified => types::cgroup_source::CGROUP_UNIFIED,
            CgroupController::Memory => types::cgroup_source::CGROUP_V1_MEMORY,
            CgroupController::Cpu => types::cgroup_source::CGROUP_V1_CPU,
            CgroupController::Pids => types::cgroup_source::CGROUP_V1_PIDS,
            CgroupController::None => types::cgroup_source::CGROUP_NONE,
        },
        cgroup_hierarchy: options.cgroups.hierarchy,
        idle: options.idle.into(),
        ..Default::default()
    }
}
