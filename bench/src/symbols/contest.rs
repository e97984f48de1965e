//! The table of all contestants on all inputs.

use super::contestants::{Contestant, Cost};
use super::inputs::Input;
use crate::spread::Spread;

const HEAD: &str = "\
| file | addresses | by | ms | times symbolizer's | peak RSS, MB | with a name | with a line |
|---|--:|---|--:|--:|--:|--:|--:|";

const LEGEND: &str = "\
Milliseconds are CPU time, user and system, of a process that names all the addresses of the file and nothing else, its start included; of addr2line, which takes one \
file, of one process a file. Ours reads no debug information beyond 16 MiB. The last two columns are the same in each round.";

/// Has each name each input so many times, in turns, and prints what it took.
pub(super) fn run(inputs: &[Input], rounds: usize) -> anyhow::Result<()> {
    println!("{HEAD}");
    for input in inputs {
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); Contestant::ALL.len()];
        for _ in 0..rounds {
            for (contestant, costs) in Contestant::ALL.iter().zip(&mut costs) {
                costs.extend(contestant.name(input)?);
            }
        }
        let of_first = costs.first().map(|costs| milliseconds(costs).median);
        for (contestant, costs) in Contestant::ALL.iter().zip(&costs) {
            line(input, *contestant, costs, of_first.unwrap_or(f64::NAN));
        }
    }
    println!("\n{LEGEND}");
    Ok(())
}

fn milliseconds(costs: &[Cost]) -> Spread {
    Spread::of(costs.iter().map(|cost| cost.cpu.as_secs_f64() * 1e3))
}

fn line(input: &Input, contestant: Contestant, costs: &[Cost], of_first: f64) {
    let time = milliseconds(costs);
    let memory = Spread::of(costs.iter().map(|cost| cost.peak_rss as f64 / 1e6));
    let (label, addresses) = match contestant {
        Contestant::Symbolizer => (
            input.label.as_str(),
            input
                .places
                .iter()
                .map(|places| places.addresses.len())
                .sum::<usize>()
                .to_string(),
        ),
        _ => ("", String::new()),
    };
    let Some(last) = costs.last() else {
        println!(
            "| {label} | {addresses} | {} | not installed | | | | |",
            contestant.label()
        );
        return;
    };
    println!(
        "| {label} | {addresses} | {} | {} | {:.2} | {} | {} | {} |",
        contestant.label(),
        time.text(1),
        time.median / of_first,
        memory.text(1),
        last.named,
        last.with_line,
    );
}
