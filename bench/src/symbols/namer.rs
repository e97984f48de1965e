//! Names addresses as a process of its own, by us or by blazesym alone, and prints what llvm-symbolizer would.

use anyhow::Context;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{self, Input};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use symbolizer::{Module, Symbolizer};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Who names
    #[arg(value_enum)]
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum By {
    Symbolizer,
    Blazesym,
}

/// Names what standard input has: lines of a file and an address.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut asked: Vec<(&Path, Vec<u64>)> = Vec::new();
    for line in input.lines() {
        let (file, address) = line.rsplit_once(" 0x").context("no address")?;
        let (file, address) = (Path::new(file), u64::from_str_radix(address, 16)?);
        match asked.last_mut() {
            Some((last, addresses)) if *last == file => addresses.push(address),
            _ => asked.push((file, vec![address])),
        }
    }
    match options.by {
        By::Symbolizer => by_symbolizer(&asked, &mut out),
        By::Blazesym => by_blazesym(&asked, &mut out),
    }
}

fn by_symbolizer(asked: &[(&Path, Vec<u64>)], mut out: impl Write) -> anyhow::Result<()> {
    let mut symbolizer = Symbolizer::new(symbolizer::Options::default());
    for (file, addresses) in asked {
        let module = Module::open(File::open(file)?, file.to_string_lossy())?;
        for answer in symbolizer.user(&module, &offsets(&module, addresses)) {
            for frame in answer.frames.iter().filter(|_| answer.named) {
                let file = frame.file.as_deref().unwrap_or("??");
                writeln!(out, "{}\n{file}:{}", frame.name, frame.line)?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Where these addresses are in the file.
pub(super) fn offsets(module: &Module, addresses: &[u64]) -> Vec<u64> {
    let offset = |address: &u64| {
        let mut segments = module.segments();
        let segment = segments.find(|segment| (segment.start..segment.limit).contains(address))?;
        Some(address - segment.start + segment.file_offset)
    };
    addresses.iter().filter_map(offset).collect()
}

fn by_blazesym(asked: &[(&Path, Vec<u64>)], mut out: impl Write) -> anyhow::Result<()> {
    let symbolizer = symbolize::Symbolizer::new();
    for (file, addresses) in asked {
        let source = Source::Elf(Elf::new(file));
        for answer in symbolizer.symbolize(&source, Input::VirtOffset(addresses))? {
            if let Some(symbol) = answer.as_sym() {
                let mut line = |name: &str, place: Option<&symbolize::CodeInfo<'_>>| {
                    let file = place.map_or(Path::new("??").into(), |place| place.to_path());
                    let line = place.and_then(|place| place.line).unwrap_or(0);
                    writeln!(out, "{name}\n{}:{line}", file.display())
                };
                for function in symbol.inlined.iter().rev() {
                    line(&function.name, function.code_info.as_ref())?;
                }
                line(&symbol.name, symbol.code_info.as_deref())?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}
