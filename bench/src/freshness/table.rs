//! How long walks had to wait, as a table in Markdown.

use super::Beside;
use super::delays::Delays;

pub(crate) const HEAD: &str = "\
| what happens | until walks go by | beside | times | measured | p50, ms | p90, ms | p99, ms |
|---|---|---|--:|--:|--:|--:|--:|";

/// What the columns mean.
pub(crate) const LEGEND: &str = "\
Each time begins with the kernel's record of the exec or of the mapping and ends when the agent has told the kernel programs; it is the upper bound of one of \
the agent's buckets, whose bounds grow by 1.41. `program` is the first list of mappings after an exec, `mapping` a later one, `table` the unwind table of the \
file. Known: the file is, and its table is in the kernel. New: a copy that is a file of its own, with a content of its own, in the page cache. What else begins \
on the host is in the figures.\n";

/// One row.
pub(crate) fn row(
    label: &str,
    waited_for: &str,
    beside: Beside,
    times: usize,
    delays: &Delays,
) -> String {
    let quantile = |part| milliseconds(delays.quantile(part));
    format!(
        "| {label} | {waited_for} | {} | {times} | {} | {} | {} | {} |",
        beside.label(),
        delays.count(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99)
    )
}

fn milliseconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds.is_nan() => "-".to_owned(),
        seconds if seconds.is_infinite() => "more".to_owned(),
        seconds => format!("{:.2}", seconds * 1e3),
    }
}
