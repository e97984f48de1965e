//! Memory that a worker takes.

use crate::support::open;
use crate::{alone, offsets_of, stats, symbolizer, worker};
use std::fs;
use std::time::Duration;
use symbolizer::FileError;

/// A program whose debug information is larger than what is read of any takes as little memory as one without, however much of
/// it is asked about; and it is said once.
#[test]
fn a_large_file_takes_little_memory() {
    let _alone = alone();
    let program = tests::thermograph::binary();
    let image = fs::read(&program).unwrap();
    let offsets = offsets_of(&image);
    let module = open(&program);
    assert!(module.bytes_of_names() > 48 << 20);
    let mut symbolizer = symbolizer();
    for offsets in offsets.chunks(4096) {
        symbolizer.begin_window(Duration::from_secs(4));
        let answers = symbolizer.user(&module, offsets);
        assert!(answers.iter().all(|answer| answer.named));
    }
    let failures = symbolizer.take_failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0].error, FileError::TooMuchDebugInfo);
    let status = fs::read_to_string(format!("/proc/{}/status", worker())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < 40 << 10, "{peak} kB");
    assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 1));
}
