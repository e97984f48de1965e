//! What a recording has caught and lost, in one line.

use crate::naming::Captured;
use std::fmt::Write;

/// Samples lost on their way, by reason; those that cost nothing are left out.
pub(crate) fn losses(captured: &Captured) -> Vec<(&'static str, u64)> {
    let counters = &captured.counters;
    [
        (
            "ticks of the whole host that the kernel did not deliver",
            counters.ticks_lost,
        ),
        ("map of counts full", counters.counts_full),
        ("beyond what is kept of one recording", captured.left_out),
    ]
    .into_iter()
    .filter(|(_, lost)| *lost > 0)
    .collect()
}

/// `1,234 samples, none lost`.
pub(crate) fn summary(captured: &Captured) -> String {
    let mut line = format!("{} samples", captured.samples);
    let losses = losses(captured);
    if losses.is_empty() {
        line += ", none lost";
    }
    for (reason, lost) in losses {
        // Writing to a string cannot fail.
        let _ = write!(line, ", {lost} lost ({reason})");
    }
    if captured.too_deep > 0 {
        let _ = write!(
            line,
            ", {} with their roots cut off (stack too deep)",
            captured.too_deep
        );
    }
    line
}
