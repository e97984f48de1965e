//! What could not be named.

use super::{counter, counters_by, gauge};
use crate::naming::{FileTroubles, NamingTrouble};
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use symbolizer::WorkerStats;

pub(super) fn naming(encoder: &mut DescriptorEncoder<'_>, naming: &NamingTrouble) -> fmt::Result {
    files(encoder, &naming.files)?;
    counter(
        encoder,
        "thermograph_places_unnamed",
        "Places in code without a symbol.",
        naming.unnamed,
    )?;
    let help =
        "Profiles that the server would have refused or changed: they were not kept or pushed.";
    counter(
        encoder,
        "thermograph_profiles_unsound",
        help,
        naming.unsound,
    )?;
    workers(encoder, &naming.worker)?;
    let help = "1 where the kernel gives no names of its functions.";
    gauge(
        encoder,
        "thermograph_kernel_unnamed",
        help,
        naming.kernel.into(),
    )
}

fn files(encoder: &mut DescriptorEncoder<'_>, files: &FileTroubles) -> fmt::Result {
    let help = "Mapped files of which names or lines are missing, by why: not opened, symbols or lines damaged, more debug \
                information than is read, or the process that reads symbols failed in them.";
    let reasons = [
        ("unopened", files.unopened),
        ("symbols", files.symbols),
        ("lines", files.lines),
        ("large", files.large),
        ("worker", files.worker),
    ];
    counters_by(
        encoder,
        "thermograph_files_incomplete",
        help,
        "reason",
        reasons,
    )
}

fn workers(encoder: &mut DescriptorEncoder<'_>, stats: &WorkerStats) -> fmt::Result {
    let help = "Processes that read symbols which were started: one at a time, and none while all is known.";
    counter(encoder, "thermograph_workers_started", help, stats.started)?;
    let help =
        "Processes that read symbols which failed, by how: each costs the file that it was at.";
    let failed = [
        ("hung", stats.hung),
        ("died", stats.died),
        ("lied", stats.lied),
        ("not_started", stats.not_started),
    ];
    counters_by(
        encoder,
        "thermograph_workers_failed",
        help,
        "reason",
        failed,
    )?;
    let help = "Processes that read symbols which cannot be ended, because a file system does not answer them.";
    gauge(encoder, "thermograph_workers_stuck", help, stats.stuck)?;
    let help = "Places in code whose names (or lines) did not come in time, or would have taken too much memory.";
    let late = [("name", stats.late_names), ("line", stats.late_lines)];
    counters_by(encoder, "thermograph_places_late", help, "part", late)
}
