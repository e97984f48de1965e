//! How stacks were walked: by what, how that ended, and how soon new programs were known.

use super::{counter, counters_by, encode_family, gauge, gauges_by};
use crate::sampling::{Collector, Status};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use std::fmt;

pub(super) fn walks(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
    collector: &Collector,
) -> fmt::Result {
    ends(encoder, status, collector)?;
    tables(encoder, status)?;
    memory(encoder, status)?;
    delays(encoder, collector)
}

fn ends(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
    collector: &Collector,
) -> fmt::Result {
    let walks = collector.walks();
    let help = "Samples whose stack is whole, by where it ends.";
    counters_by(
        encoder,
        "thermograph_samples_whole",
        help,
        "end",
        walks.whole,
    )?;
    let help = "Samples that are counted but incomplete, by what is wrong with their stack.";
    let collisions = [("hash_collision", status.counters.hash_collisions)];
    let incomplete = walks.incomplete.into_iter().chain(collisions);
    counters_by(
        encoder,
        "thermograph_samples_incomplete",
        help,
        "reason",
        incomplete,
    )?;
    let name = "thermograph_samples_incomplete_by_binary";
    let help =
        "Samples whose stack is incomplete, by the file in which it ends and by what it lacks.";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (binary, reasons) in &walks.by_binary {
        for (reason, count) in reasons {
            let labels = [("binary", binary.as_str()), ("reason", reason)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn tables(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let tables = &status.tables;
    let help = "Distinct contents of mapped files that have an unwind table or should have one, by its state.";
    let states = [
        ("ready", tables.ready),
        ("pending", tables.pending),
        ("unreadable", tables.unreadable),
        ("over_budget", tables.over_budget),
    ];
    gauges_by(encoder, "thermograph_unwind_tables", help, "state", states)?;
    let help = "Unwind tables that became ready, by where they came from.";
    let sources = [("file", tables.built), ("cache", tables.cached)];
    counters_by(
        encoder,
        "thermograph_unwind_tables_loaded",
        help,
        "source",
        sources,
    )?;
    let help = "Mapped files that have no unwind table because there are too many files.";
    gauge(
        encoder,
        "thermograph_unwind_files_without_slot",
        help,
        tables.without_slot,
    )?;
    let help = "Time spent to build unwind tables, in seconds.";
    let seconds = ConstCounter::new(tables.build_time.as_secs_f64());
    super::encode(encoder, "thermograph_unwind_build_seconds", help, &seconds)?;
    let help = "Unwind tables that found no room in kernel memory when they were ready.";
    counter(
        encoder,
        "thermograph_unwind_tables_refused",
        help,
        tables.refused,
    )?;
    let help = "Unwind tables that were taken out of kernel memory to make room.";
    counter(
        encoder,
        "thermograph_unwind_tables_evicted",
        help,
        tables.evicted,
    )
}

fn memory(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let memory = &status.unwind_memory;
    let help = "Kernel memory of the walk in bytes: for tables, of that filled, for lists of mappings, and what tables may take.";
    let uses = [
        ("tables", memory.tables),
        ("filled", memory.images),
        ("lists", memory.lists),
        ("budget", memory.budget),
    ];
    gauges_by(
        encoder,
        "thermograph_unwind_memory_bytes",
        help,
        "use",
        uses,
    )
}

fn delays(encoder: &mut DescriptorEncoder<'_>, collector: &Collector) -> fmt::Result {
    let delays = collector.publish_delays();
    let help = "Time from the kernel's record of a new program or a new mapping until walks go by it, and from a file's first mapping until they go by its table.";
    let all = [
        ("program", delays.program.clone()),
        ("mapping", delays.mapping.clone()),
        ("table", delays.table.clone()),
    ];
    let name = "thermograph_publish_delay_seconds";
    encode_family(encoder, name, help, "of", all.into_iter())
}
