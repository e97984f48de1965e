//! How fast the parts of naming are, in one process and thread.

use super::inputs::{self, Input};
use super::namer::offsets;
use super::places::{Function, functions};
use crate::spread::Spread;
use anyhow::bail;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::path::Path;
use symbolizer::{Module, Options, Symbolizer};

/// Enough for all that is asked: what is measured is not what is let go.
const CACHE: usize = 1 << 30;
/// Functions of a file that are asked about at most: two words for each are about as much as the agent's cache keeps.
const MOST: usize = 8000;
/// How often words are asked for again in a round.
const AGAIN: usize = 20;

const HEAD: &str = "\
| file | functions | cached, M words/s | first touch of known symbols, M/s | new names, M/s | symbols read, M/s | indexed, M/s |
|---|--:|--:|--:|--:|--:|--:|";

const LEGEND: &str = "\
Of at most 8,000 functions of a file, evenly spread. Cached: a word for each function, all asked for again. First touch: another address in each function, its name known. New names: the first address of each function, \
with finding, demangling and keeping its name; in the files of C++ and Rust nearly all are mangled. Symbols read: one address alone, for which the whole table is read; indexed: the next one, for which an index of it is \
made. All of a copy without debug information.";

/// What one round has seen, in millions a second.
struct Rates {
    cached: f64,
    first_touch: f64,
    new_names: f64,
    symbols_read: f64,
    indexed: f64,
}

/// Measures all inputs of one file with many functions, and prints the table.
pub(super) fn run(inputs: &[Input], rounds: usize) -> anyhow::Result<()> {
    println!("{HEAD}");
    for input in inputs {
        let [places] = input.places.as_slice() else {
            continue;
        };
        let directory = tempfile::tempdir()?;
        let file = inputs::without_debug_information(&places.file, directory.path())?;
        let all = functions(&file)?;
        let step = all.len().div_ceil(MOST).max(1);
        let asked: Vec<&Function> = all.iter().step_by(step).collect();
        let rates = (0..rounds).map(|_| round(&file, &asked, all.len()));
        let rates: Vec<Rates> = rates.collect::<anyhow::Result<_>>()?;
        let text = |rate: fn(&Rates) -> f64| Spread::of(rates.iter().map(rate)).text(2);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            input.label,
            all.len(),
            text(|rates| rates.cached),
            text(|rates| rates.first_touch),
            text(|rates| rates.new_names),
            text(|rates| rates.symbols_read),
            text(|rates| rates.indexed),
        );
    }
    println!("\n{LEGEND}");
    Ok(())
}

/// Asks about some functions of a file that has `all` of them.
fn round(file: &Path, asked: &[&Function], all: usize) -> anyhow::Result<Rates> {
    let module = Module::open(File::open(file)?, "file")?;
    let mut symbolizer = Symbolizer::new(Options {
        cache_bytes: CACHE,
        ..Options::default()
    });
    let first: Vec<u64> = asked.iter().map(|function| function.address).collect();
    let last = asked
        .iter()
        .filter(|function| function.size > 1)
        .map(|function| function.address + function.size - 1);
    let (first, last) = (
        offsets(&module, &first),
        offsets(&module, &last.collect::<Vec<u64>>()),
    );
    let [one, next, ..] = first.as_slice() else {
        bail!("{} has no functions", file.display());
    };
    let alone = seconds(|| symbolizer.user(&module, &[*one]).len());
    let index = seconds(|| symbolizer.user(&module, &[*next]).len());
    let new = seconds(|| symbolizer.user(&module, &first).len());
    let touched = seconds(|| symbolizer.user(&module, &last).len());
    let again = seconds(|| {
        let ask = |_| symbolizer.user(&module, &first).len();
        (0..AGAIN).map(ask).sum()
    });
    let millions = |count: usize, seconds: f64| count as f64 / seconds / 1e6;
    Ok(Rates {
        cached: millions(first.len() * AGAIN, again),
        first_touch: millions(last.len(), touched),
        new_names: millions(first.len(), new),
        symbols_read: millions(all, alone),
        indexed: millions(all, index),
    })
}

/// Of this thread's CPU, so that what else the machine does counts little.
fn seconds(work: impl FnOnce() -> usize) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let begin = now();
    std::hint::black_box(work());
    now() - begin
}
