//! The result as a table in Markdown.

use super::measure::{Cost, Row};
use std::fmt::Write;

/// The whole text: where it was measured, the table, and what its columns mean.
pub(crate) fn markdown(machine: &str, seconds: u64, rows: &[Row]) -> String {
    let mut text = format!(
        "Measured {machine}, {seconds} s each, on three busy processes with stacks of 30, 45 and 60 frames.\n\n"
    );
    text.push_str("| profiler | CPU, % of a core | peak RSS, MB | samples | samples per CPU second | in the kernel, us a sample | load's speed, % of alone |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for row in rows {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} |",
            row.label,
            row.cost.as_ref().map_or_else(absent, cells)
        );
    }
    text.push_str(
        "\nCPU and memory are those of the profiler's processes while the load ran; perf and bpftrace name nothing in that \
         time. CPU seconds are the load's; samples are too, but for the agent's, which are all it took. Time in the kernel is from the kernel's own BPF statistics, which were on in every measurement; perf takes its \
         samples without BPF. The load's speed is its work by its own CPU time, in which samples are taken, so it holds the \
         cost of sampling, and noise.\n",
    );
    text
}

fn absent() -> String {
    "not installed | | | | |".to_owned()
}

fn cells(cost: &Cost) -> String {
    let kernel = match cost.runs.count {
        0 => "-".to_owned(),
        count => format!("{:.2}", cost.runs.nanos as f64 / count as f64 / 1e3),
    };
    let (cpu, rss) = (cost.cores * 100.0, cost.peak_rss as f64 / 1e6);
    format!(
        "{cpu:.2} | {rss:.1} | {} | {:.1} | {kernel} | {:.1}",
        cost.samples,
        cost.samples as f64 / cost.load_cpu_seconds,
        cost.load_speed * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf_stats::Runs;

    /// Every row has as many cells as the head, whether its profiler ran, ran without BPF, or is not there.
    #[test]
    fn rows_are_as_wide_as_the_head() {
        let cost = |count| Cost {
            cores: 0.0123,
            peak_rss: 31_400_000,
            samples: 11_880,
            load_cpu_seconds: 120.0,
            runs: Runs {
                count,
                nanos: count * 2_500,
            },
            load_speed: 0.998,
        };
        let row = |label: &str, cost| Row {
            label: label.to_owned(),
            cost,
        };
        let rows = [
            row("a", Some(cost(100))),
            row("b", Some(cost(0))),
            row("c", None),
        ];
        let text = markdown("today, here", 60, &rows);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(
            lines.iter().all(|line| line.matches('|').count() == 8),
            "{text}"
        );
        assert_eq!(lines[2], "| a | 1.23 | 31.4 | 11880 | 99.0 | 2.50 | 99.8 |");
        assert_eq!(lines[3], "| b | 1.23 | 31.4 | 11880 | 99.0 | - | 99.8 |");
    }
}
