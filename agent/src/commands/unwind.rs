//! `thermograph unwind`: what the walk does at every place of a file.

use crate::cli::UnwindArgs;
use anyhow::{Context, Result, bail};
use bpf::unwind::{BuildError, Cfa, Code, Limits, Machine, Rule, Saved, Segment, Table, build};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// A table is of 4 GiB of a file.
const PIECE_BITS: u32 = 32;

/// Prints rows or statistics and returns the exit status.
pub(crate) fn unwind(args: &UnwindArgs) -> Result<ExitCode> {
    let path = args.file.display();
    let file = open(&args.file)?;
    let begin = Instant::now();
    let (code, tables) = read(&file).map_err(|error| match error {
        BuildError::Io(error) => anyhow::Error::new(error).context(format!("cannot read {path}")),
        BuildError::NotElf | BuildError::Machine => {
            anyhow::anyhow!("{path} {error}: give a program or a shared library")
        }
        _ => anyhow::anyhow!("{path} {error}: `readelf -lS {path}` shows what it says of itself"),
    })?;
    let elapsed = begin.elapsed();
    if tables.values().all(Table::is_empty) {
        eprintln!(
            "thermograph: {path} has no call frame information: stacks through it are walked by frame pointer"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.stats {
        let sum = |of: fn(&Table) -> usize| tables.values().map(of).sum::<usize>();
        let rows = sum(|table| table.rows().count());
        let rules = sum(|table| table.geometry().rule_count as usize);
        let bytes = sum(|table| table.image().len());
        let each = bytes as f64 / rows as f64;
        let milliseconds = elapsed.as_secs_f64() * 1e3;
        writeln!(
            out,
            "{rows} rows, {rules} distinct rules, {bytes} bytes ({each:.2} a row), built in {milliseconds:.2} ms"
        )
    } else {
        print_rows(&mut out, &code, &tables)
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => {
            written.context("cannot write to stdout")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot read {}", path.display()))?;
    if !metadata.is_file() {
        bail!(
            "{} is no file: give a program or a shared library",
            path.display()
        );
    }
    Ok(file)
}

/// The tables of all pieces of a file that have code.
fn read(file: &File) -> Result<(Code, BTreeMap<u32, Table>), BuildError> {
    let code = Code::read(file)?;
    let mut tables = BTreeMap::new();
    let file_size = file.metadata()?.len();
    for Segment { offset, size, .. } in &code.segments {
        // No more pieces than there are, whatever the header says.
        let last = offset
            .saturating_add(*size)
            .min(file_size)
            .saturating_sub(1);
        for piece in offset >> PIECE_BITS..=last >> PIECE_BITS {
            // A file has fewer than 2^63 bytes.
            let piece = piece as u32;
            if let Entry::Vacant(vacant) = tables.entry(piece) {
                vacant.insert(build(file, piece, &Limits::default())?);
            }
        }
    }
    Ok((code, tables))
}

/// Prints the rows of all segments by their ELF addresses.
fn print_rows(out: &mut impl Write, code: &Code, tables: &BTreeMap<u32, Table>) -> io::Result<()> {
    let machine = code.machine;
    let spell = |rule| Spelled { machine, rule }.to_string();
    let mut before = spell(Rule::None);
    let mut segments = code.segments.iter().peekable();
    while let Some(segment) = segments.next() {
        // What holds where a segment ends does not hold behind it.
        let end = segment.address + segment.size;
        let ends = segments.peek().is_none_or(|next| next.address > end);
        let rows = rows_in(segment, tables).chain(ends.then_some((end, Rule::None)));
        for (address, rule) in rows {
            let spelled = spell(rule);
            // Rules that differ in where rbx is look the same.
            if spelled != before {
                writeln!(out, "{address:016x} {spelled}")?;
            }
            before = spelled;
        }
    }
    Ok(())
}

/// The rows in a segment, the first where it begins.
fn rows_in(segment: &Segment, tables: &BTreeMap<u32, Table>) -> impl Iterator<Item = (u64, Rule)> {
    let rows = tables.iter().flat_map(|(piece, table)| {
        let base = u64::from(*piece) << PIECE_BITS;
        table
            .rows()
            .map(move |(offset, rule)| (base + offset, rule))
    });
    let mut rows = rows.peekable();
    let mut first = Rule::None;
    while let Some((_, rule)) = rows.next_if(|(offset, _)| *offset <= segment.offset) {
        first = rule;
    }
    // A segment whose end wraps is none.
    let end = segment.offset + segment.size;
    std::iter::once((segment.offset, first))
        .chain(rows.take_while(move |(offset, _)| *offset < end))
        .map(move |(offset, rule)| (offset - segment.offset + segment.address, rule))
}

/// A rule in the spelling of `readelf --debug-dump=frames-interp`: CFA, frame pointer, return address.
struct Spelled {
    machine: Machine,
    rule: Rule,
}

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cfa, saved) = match self.rule {
            Rule::None | Rule::End => return f.write_str("end u u"),
            Rule::Signal => return f.write_str("signal exp exp"),
            Rule::Switch => return f.write_str("switch u u"),
            Rule::Unsupported(why) => return write!(f, "unsupported:{why} u u"),
            Rule::Frame { cfa, saved, .. } => (cfa, saved),
        };
        match cfa {
            Cfa::Register { register, offset } => {
                // A table has no other registers.
                let name = self.machine.register_name(register).unwrap_or("?");
                write!(f, "{name}{offset:+} ")?;
            }
            Cfa::Deref { .. } => f.write_str("exp ")?,
            Cfa::Plt { .. } => f.write_str("plt ")?,
        }
        let place = |slot: i16| Place(i32::from(slot) * 8);
        match (saved, self.machine) {
            (Saved::Nothing, Machine::Aarch64) => f.write_str("u u"),
            (Saved::Nothing, Machine::X86_64) => f.write_str("u c-8"),
            (Saved::FramePointer(slot), _) => write!(f, "{} c-8", place(slot)),
            (Saved::AtFramePointer, _) => f.write_str("exp c-8"),
            (Saved::Pair(slot), _) => {
                write!(f, "{} {}", place(slot), Place(i32::from(slot) * 8 + 8))
            }
            (Saved::Link(slot), _) => write!(f, "u {}", place(slot)),
        }
    }
}

/// A distance from the canonical frame address.
struct Place(i32);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:+}", self.0)
    }
}
