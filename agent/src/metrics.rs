//! What the agent says of itself, for Prometheus: counted where it happens, read when it is asked for.

mod naming;
mod owners;
mod runtimes;
mod walks;

use crate::container::Runtimes;
use crate::naming::NamingTrouble;
use crate::sampling::{Collector, Status};
use crate::store::Store;
use prometheus_client::collector::Collector as MetricsCollector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads the state of the sampling and naming threads, and of this process.
pub(crate) struct SelfMetrics {
    pub(crate) collector: Arc<Collector>,
    pub(crate) naming: Arc<Mutex<NamingTrouble>>,
    pub(crate) store: Arc<Store>,
    pub(crate) runtimes: Arc<Runtimes>,
}

impl fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelfMetrics")
    }
}

impl MetricsCollector for SelfMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.collector.status();
        samples(&mut encoder, &status)?;
        ticks_by_cpu(&mut encoder, &self.collector.lost_by_cpu())?;
        windows(&mut encoder, &status)?;
        walks::walks(&mut encoder, &status, &self.collector)?;
        let naming = *self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        mappings(&mut encoder, &status)?;
        naming::naming(&mut encoder, &naming)?;
        owners::owners(&mut encoder, &status, &naming.owners)?;
        runtimes::runtimes(&mut encoder, &self.runtimes.trouble())?;
        let help = "Bytes of profiles kept for the page.";
        gauge(
            &mut encoder,
            "thermograph_store_bytes",
            help,
            self.store.bytes() as u64,
        )?;
        process(&mut encoder)
    }
}

fn samples(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let counters = &status.counters;
    counter(
        encoder,
        "thermograph_samples",
        "Samples counted.",
        counters.counted,
    )?;
    let help =
        "Samples lost, by where: ticks that the kernel did not deliver, or a full map of counts.";
    let lost = [
        ("tick", counters.ticks_lost),
        ("counts_full", counters.counts_full),
    ];
    counters_by(encoder, "thermograph_samples_lost", help, "reason", lost)?;
    counter(
        encoder,
        "thermograph_idle_ticks",
        "Ticks on the idle task.",
        counters.idle,
    )?;
    let help = "Tries to send a new stack that found the ring full; it goes with its next sample.";
    counter(
        encoder,
        "thermograph_stack_ring_full",
        help,
        counters.ring_full,
    )
}

fn ticks_by_cpu(encoder: &mut DescriptorEncoder<'_>, lost: &[(u32, u64)]) -> fmt::Result {
    let help = "Ticks lost by CPU: the event's clock divided by the period, less program runs and unanswered idle time.";
    let lost: Vec<(String, u64)> = lost
        .iter()
        .map(|(cpu, lost)| (cpu.to_string(), *lost))
        .collect();
    let by_cpu = lost.iter().map(|(cpu, lost)| (cpu.as_str(), *lost));
    counters_by(encoder, "thermograph_ticks_lost", help, "cpu", by_cpu)
}

fn windows(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    counter(
        encoder,
        "thermograph_windows",
        "Windows ended.",
        status.windows,
    )?;
    let help = "Counts in the kernel's map when the last window ended.";
    gauge(
        encoder,
        "thermograph_map_elements",
        help,
        status.map_elements,
    )?;
    gauge(
        encoder,
        "thermograph_map_capacity",
        "Counts that fit into the kernel's map.",
        status.map_capacity,
    )
}

fn mappings(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let help = "Records of processes and mappings that found their ring full.";
    counter(
        encoder,
        "thermograph_sideband_lost",
        help,
        status.trouble.records_lost,
    )?;
    let help = "Mappings beyond what is kept of one process.";
    counter(
        encoder,
        "thermograph_mappings_dropped",
        help,
        status.trouble.mappings_dropped,
    )?;
    let help = "Lists of mappings that the walk could not be told of at once, for want of memory or because they change too often.";
    counter(
        encoder,
        "thermograph_lists_refused",
        help,
        status.trouble.lists_refused,
    )?;
    let help = "Processes whose mappings were read again because of an address in none of them.";
    counter(
        encoder,
        "thermograph_mapping_repairs",
        help,
        status.trouble.repairs,
    )?;
    let help = "Functions of code made at run time that have no name for want of memory.";
    counter(
        encoder,
        "thermograph_run_time_functions_dropped",
        help,
        status.trouble.functions_dropped,
    )
}

/// By the names that every Prometheus client library gives to these.
fn process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = ConstCounter::new(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
    encode(
        encoder,
        "process_cpu_seconds",
        "CPU time of the agent, user and system, in seconds.",
        &cpu,
    )?;
    let help = "Resident memory of the agent in bytes.";
    gauge(
        encoder,
        "process_resident_memory_bytes",
        help,
        resident_bytes().unwrap_or(0),
    )
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encode(encoder, name, help, &ConstCounter::new(value))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encode(
        encoder,
        name,
        help,
        &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)),
    )
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &(impl EncodeMetric + ?Sized),
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counters_by<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let values = values
        .into_iter()
        .map(|(value, count)| (value, ConstCounter::new(count)));
    encode_family(encoder, name, help, label, values)
}

fn gauges_by<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let gauge = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let values = values
        .into_iter()
        .map(|(label, value)| (label, gauge(value)));
    encode_family(encoder, name, help, label, values)
}

/// Metrics of one kind, told apart by a label.
fn encode_family<'a, M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'a str, M)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, M::TYPE)?;
    for (value, metric) in values {
        metric.encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
