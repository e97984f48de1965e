//! The unwind tables of a whole host: their size, what building them costs, and whether they say what readelf says.

mod kernel;

use crate::agent::Binary;
use crate::machine;
use crate::spread::Spread;
use anyhow::{Context, ensure};
use bpf::unwind::{Limits, Table, build, identify};
use fixtures::heap::{self, Counting};
use fixtures::{Agreement, elf_files};
use kernel::Kernel;
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often each table is built for its time.
const ROUNDS: usize = 5;
/// Files with at least so many rows are told one by one: the others are too quick to be timed.
const LARGE_ROWS: u64 = 100_000;
/// What building may take beside the table itself.
const BYTES_A_FUNCTION: u64 = 16;
const BYTES_IN_ALL: u64 = 1 << 20;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Directories and files to look at
    #[arg(default_values = ["/usr/bin", "/usr/sbin", "/usr/lib"])]
    roots: Vec<PathBuf>,
    /// Tell each file by itself, not only the large ones
    #[arg(long)]
    each: bool,
}

/// One file's table.
#[derive(Clone, Copy, Debug)]
struct Built {
    rows: u64,
    bytes: u64,
    /// In use at most while it was built, the table included.
    peak: u64,
    /// To build it with the page cache warm.
    seconds: Spread,
}

/// Sums over files.
#[derive(Clone, Debug, Default)]
struct Sums {
    files: u64,
    without_table: u64,
    rows: u64,
    bytes: u64,
    raw_rows: u64,
    seconds: f64,
    /// Files that took more memory than they may.
    too_hungry: u64,
    agreement: Agreement,
}

/// Builds and compares all, and prints what was found.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    println!(
        "Measured {}: times are medians of {ROUNDS} (least to most), page cache warm, one thread\n",
        machine::describe()
    );
    println!(
        "| file | raw rows | M raw rows/s | rows | bytes a row | peak heap, MB | allowed, MB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let mut sums = Sums::default();
    let mut storage = MaybeUninit::uninit();
    let mut kernel = Kernel::load(&mut storage)?;
    for path in elf_files::programs(&options.roots) {
        let one =
            one(binary, &path, &mut sums, &mut kernel).with_context(|| path.display().to_string());
        match one {
            Ok((built, agreement)) if options.each || agreement.rows >= LARGE_ROWS => {
                println!("{}", line(&path, built, &agreement));
            }
            Ok(_) => {}
            Err(error) => {
                sums.without_table += 1;
                eprintln!("{error:#}");
            }
        }
    }
    println!("\n{}", summary(&sums));
    let (tables, rows, bytes) = kernel.taken();
    println!(
        "\nIn the kernel {tables} distinct tables of {rows} rows take {:.1} MB: {:.3} bytes a row.",
        bytes as f64 / 1e6,
        bytes as f64 / rows.max(1) as f64
    );
    Ok(())
}

fn one(
    binary: &Binary,
    path: &Path,
    sums: &mut Sums,
    kernel: &mut Kernel<'_>,
) -> anyhow::Result<(Built, Agreement)> {
    sums.files += 1;
    let file = File::open(path)?;
    let (built, table) = built(&file)?;
    kernel.put(identify(&file, &Limits::default())?, &table)?;
    let agreement = Agreement::of(&listing(&binary.program, path)?, path)?;
    for example in &agreement.examples {
        eprintln!("{}: {example}", path.display());
    }
    sums.rows += built.rows;
    sums.bytes += built.bytes;
    sums.raw_rows += agreement.rows;
    sums.seconds += built.seconds.median;
    if built.peak > allowed(built, &agreement) {
        sums.too_hungry += 1;
        eprintln!("{}: {} bytes of heap", path.display(), built.peak);
    }
    sums.agreement.add(agreement.clone());
    Ok((built, agreement))
}

/// What `thermograph unwind` prints.
fn listing(thermograph: &Path, file: &Path) -> anyhow::Result<String> {
    let output = Command::new(thermograph).arg("unwind").arg(file).output()?;
    ensure!(
        output.status.success(),
        "thermograph unwind failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn built(file: &File) -> anyhow::Result<(Built, Table)> {
    let table = || build(file, 0, &Limits::default());
    let (first, peak): (Result<Table, _>, usize) = heap::peak_of(table);
    let first = first?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        table()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let built = Built {
        rows: first.rows().count() as u64,
        bytes: first.image().len() as u64,
        peak: peak as u64,
        seconds: Spread::of(seconds.into_iter()),
    };
    Ok((built, first))
}

fn allowed(built: Built, agreement: &Agreement) -> u64 {
    built.bytes + agreement.functions * BYTES_A_FUNCTION + BYTES_IN_ALL
}

fn line(path: &Path, built: Built, agreement: &Agreement) -> String {
    let millions = |seconds: f64| agreement.rows as f64 / seconds / 1e6;
    let Spread {
        median,
        least,
        most,
    } = built.seconds;
    format!(
        "| {} | {} | {:.1} ({:.1} to {:.1}) | {} | {:.2} | {:.2} | {:.2} |",
        path.display(),
        agreement.rows,
        millions(median),
        millions(most),
        millions(least),
        built.rows,
        built.bytes as f64 / built.rows.max(1) as f64,
        built.peak as f64 / 1e6,
        allowed(built, agreement) as f64 / 1e6
    )
}

fn summary(sums: &Sums) -> String {
    let found = &sums.agreement;
    let explained: Vec<String> = found
        .explained
        .iter()
        .map(|(reason, rows)| format!("{rows} {reason}"))
        .collect();
    format!(
        "{} files, {} of them without a table. {} rows in {:.1} MB: {:.3} bytes a row, from {} raw rows at {:.1} M/s. Heap \
         beyond table + 16 bytes a function + 1 MiB: {} files.\n\nOf readelf's {} rows of {} functions {} are the same, {} \
         are explained ({}), {} are different. Behind {} functions a rule goes on that should not.",
        sums.files,
        sums.without_table,
        sums.rows,
        sums.bytes as f64 / 1e6,
        sums.bytes as f64 / sums.rows.max(1) as f64,
        sums.raw_rows,
        sums.raw_rows as f64 / sums.seconds / 1e6,
        sums.too_hungry,
        found.rows,
        found.functions,
        found.equal,
        found.explained.values().sum::<u64>(),
        explained.join(", "),
        found.different,
        found.overrun
    )
}
