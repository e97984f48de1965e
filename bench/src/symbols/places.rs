//! Addresses within the functions of a file.

use anyhow::Context;
use object::{Object, ObjectSymbol, SymbolKind};
use std::fs;
use std::path::{Path, PathBuf};

/// A file, and addresses in it as its own headers count them, in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) file: PathBuf,
    pub(crate) addresses: Vec<u64>,
}

/// A function of a table of symbols.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Function {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) name: String,
}

impl Places {
    /// The middles of at most `count` of the functions, evenly spread.
    pub(crate) fn of(file: &Path, count: usize) -> anyhow::Result<Places> {
        let functions = functions(file)?;
        let step = functions.len().div_ceil(count).max(1);
        let middle = |function: &Function| function.address + function.size / 2;
        Ok(Places {
            file: file.to_owned(),
            addresses: functions.iter().step_by(step).map(middle).collect(),
        })
    }
}

/// The functions with a size of the fuller table, one for each address, in ascending order.
pub(crate) fn functions(file: &Path) -> anyhow::Result<Vec<Function>> {
    let image = fs::read(file)?;
    let elf = object::File::parse(&*image).with_context(|| file.display().to_string())?;
    let function = |symbol: object::Symbol<'_, '_>| {
        let is_function = symbol.kind() == SymbolKind::Text && symbol.is_definition();
        (is_function && symbol.size() > 0).then(|| Function {
            address: symbol.address(),
            size: symbol.size(),
            name: symbol.name().unwrap_or_default().to_owned(),
        })
    };
    let mut all: Vec<Function> = elf.symbols().filter_map(function).collect();
    if all.is_empty() {
        all = elf.dynamic_symbols().filter_map(function).collect();
    }
    all.sort();
    all.dedup_by_key(|function| function.address);
    Ok(all)
}
