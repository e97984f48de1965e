//! Many processes that do next to nothing.

use crate::scene;
use fixtures::Program;
use std::time::Duration;
use tests::cpu_time::of_process;
use tests::machine::{Machine, say, skipped};

const SECONDS: u64 = 20;

/// 200 execs a second for 20 s, with nothing else to do: the agent goes on, no record of a process is lost, and what it costs
/// is said.
#[test]
fn a_storm_of_execs_is_weathered() {
    if skipped("a_storm_of_execs_is_weathered") {
        return;
    }
    let _machine = Machine::alone();
    let agent = &scene().agent;
    let cpu = || of_process(agent.running().pid()).unwrap();
    let lost = || agent.metric("thermograph_sideband_lost_total");
    let (cpu_before, lost_before) = (cpu(), lost());
    let quit = Program::Quit.path();
    let storm = Program::Storm
        .start([
            SECONDS.to_string().as_ref(),
            "200".as_ref(),
            quit.as_os_str(),
        ])
        .unwrap();
    let report = storm.finish().unwrap().reports.remove(0);
    let used: Duration = cpu() - cpu_before;
    say(&format!(
        "{} execs in {SECONDS} s: the agent used {used:?}, {:.2} % of a CPU, with {:.0} MB resident; {} records lost",
        report.count,
        100.0 * used.as_secs_f64() / SECONDS as f64,
        agent.metric("process_resident_memory_bytes") / 1e6,
        lost() - lost_before
    ));
    assert!(report.count > 50 * SECONDS, "{report:?}");
    assert_eq!(lost(), lost_before);
    assert_eq!(agent.get("/healthz").text(), "ok\n");
}
