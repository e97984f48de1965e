//! Processes that are gone before anyone looks.

use crate::verdict::{Judged, allowed, is_cut, none};
use crate::{quoted, record};
use fixtures::unwind::Case;
use tests::machine::{Machine, skipped};

/// 60 processes of 100 ms, two at a time: 99 % of their stacks are whole, from the first instruction on, those in the program
/// are exact, and all their time is seen.
#[test]
fn short_processes_have_whole_stacks() {
    if skipped("short_processes_have_whole_stacks") {
        return;
    }
    let _machine = Machine::alone();
    let calls = quoted("calls");
    let script = format!(
        "WARM {calls}; ln -s {calls} short; for i in $(seq 30); do ./short 0.1 & ./short 0.1 & wait; done; rm short"
    );
    let stacks = record(997, &script).only(|stack| stack.comm() == "short");
    assert_eq!(stacks.pids().len(), 60);
    let judged = Judged::of(Case::named("calls").unwrap(), stacks.clone());
    // Six seconds, and what it takes to start and end, less four standard deviations of chance.
    none(&judged.faults(5700.0, 0.99));
    let cut = stacks.only(is_cut);
    assert!(
        cut.samples() <= allowed(0.01, stacks.samples()),
        "{}",
        cut.listing()
    );
}
