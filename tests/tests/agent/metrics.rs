//! What the agent says of itself.

use crate::{busy, scene};
use tests::machine::{Machine, skipped};

/// Samples are as many as there was CPU time to sample: a busy program's at least, at most what the CPUs have; hardly any
/// is lost; and the agent's own CPU time and memory are there.
#[test]
fn samples_are_counted() {
    if skipped("samples_are_counted") {
        return;
    }
    let _machine = Machine::shared();
    let agent = &scene().agent;
    let samples = || {
        let lost = ["tick", "counts_full"]
            .map(|why| format!("thermograph_samples_lost_total{{reason=\"{why}\"}}"));
        (
            agent.metric("thermograph_samples_total"),
            lost.iter().map(|name| agent.metric(name)).sum::<f64>(),
        )
    };
    let before = samples();
    let begin = std::time::Instant::now();
    let report = busy("3").finish().unwrap().reports.remove(0);
    // Counters are read once a second.
    let windows = agent.metric("thermograph_windows_total");
    tests::condition::wait_for("a window", || {
        (agent.metric("thermograph_windows_total") > windows).then_some(())
    });
    let after = samples();
    let (counted, lost) = (after.0 - before.0, after.1 - before.1);
    let least = 99.0 * report.total_cpu_ns as f64 / 1e9;
    let cpus = std::thread::available_parallelism().unwrap().get() as f64;
    // The first reading may have been a second old.
    let most = 99.0 * cpus * (begin.elapsed().as_secs_f64() + 1.0);
    assert!(
        counted >= 0.95 * least && counted <= 1.05 * most + 10.0,
        "{least} <= {counted} <= {most}"
    );
    assert!(lost <= 0.02 * counted + 5.0, "{lost} of {counted} are lost");
    assert!(agent.metric("process_cpu_seconds_total") > 0.0);
    let resident = agent.metric("process_resident_memory_bytes");
    assert!((1e6..500e6).contains(&resident), "{resident}");
    assert!(agent.metric("thermograph_map_capacity") >= agent.metric("thermograph_map_elements"));
}
