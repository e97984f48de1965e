//! Our answers beside the tool's, address by address.

use std::collections::BTreeMap;
use std::path::Path;

use symbolizer::{Module, Options, Symbolized, Symbolizer};

use crate::classes::{Class, explain};
use crate::support::{Function, file_offset, functions};
use crate::tool::{Said, llvm_symbolizer};

/// All of a program's functions are asked about at every address up to this size; of a larger one its own are.
const SMALL: u64 = 128 << 10;

/// What a comparison has seen; if it comes back, there was no other difference.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Addresses at which all was the same.
    pub(crate) equal: usize,
    /// Of them, those with a line.
    pub(crate) with_line: usize,
    /// Of them, those with inlined functions.
    pub(crate) with_inlined: usize,
    /// Addresses with a difference that is explained.
    pub(crate) explained: BTreeMap<Class, usize>,
}

/// Asks us about a program, opened by its path, and the tool about `truth`, which has the same code at the same addresses and hides nothing from
/// the tool. Every address of the functions that are `own` is compared, and of others at least three each.
pub(crate) fn compare(module: &Module, truth: &Path, own: impl Fn(&str) -> bool) -> Compared {
    let image = std::fs::read(truth).unwrap();
    let functions = functions(&image);
    let addresses = addresses(&functions, own);
    assert!(
        addresses.len() > 100,
        "{} has no functions",
        truth.display()
    );
    let program = Path::new(&**module.name());
    let asked = std::fs::read(program).unwrap();
    let offsets: Vec<u64> = addresses
        .iter()
        .map(|&address| file_offset(&asked, address))
        .collect();
    let mut symbolizer = Symbolizer::new(Options::default());
    let answers = symbolizer.user(module, &offsets);
    assert_eq!(symbolizer.take_failures(), [], "{}", program.display());
    let truths = llvm_symbolizer(truth, &addresses);
    let mut compared = Compared::default();
    let mut wrong = Vec::new();
    for ((&address, answer), theirs) in addresses.iter().zip(&answers).zip(truths) {
        assert_eq!(answer.address, address);
        let (outermost, inner) = answer.frames.split_last().unwrap();
        assert!(!outermost.inlined && inner.iter().all(|frame| frame.inlined));
        let ours = said(answer);
        if ours == theirs {
            compared.equal += 1;
            compared.with_line += usize::from(ours.iter().any(|frame| frame.line > 0));
            compared.with_inlined += usize::from(ours.len() > 1);
        } else if let Some(class) = explain(&covering(&functions, address), &ours, &theirs) {
            *compared.explained.entry(class).or_default() += 1;
        } else {
            wrong.push((address, ours, theirs));
        }
    }
    wrong.dedup_by(|one, other| (&one.1, &one.2) == (&other.1, &other.2));
    let shown: String = wrong
        .iter()
        .take(20)
        .map(|(address, ours, theirs)| {
            format!("{address:#x}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n")
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{}: {} of {} addresses differ, {compared:?}:\n{shown}",
        program.display(),
        wrong.len(),
        addresses.len()
    );
    compared
}

fn covering(functions: &[Function], address: u64) -> Vec<&Function> {
    let covers = |function: &&Function| {
        (function.address..function.address + function.size).contains(&address)
    };
    functions.iter().filter(covers).collect()
}

fn said(answer: &Symbolized) -> Vec<Said> {
    if !answer.named {
        return Vec::new();
    }
    let frame = |frame: &symbolizer::Frame| Said {
        name: frame.system_name.to_string(),
        file: frame.file.as_deref().unwrap_or_default().to_owned(),
        line: frame.line,
    };
    answer.frames.iter().map(frame).collect()
}

fn addresses(functions: &[Function], own: impl Fn(&str) -> bool) -> Vec<u64> {
    let is_small = functions.iter().map(|function| function.size).sum::<u64>() <= SMALL;
    let of_function = |function: &Function| {
        let (first, size) = (function.address, function.size);
        if is_small || own(&function.name) {
            (first..first + size).collect()
        } else {
            vec![first, first + size / 2, first + size - 1]
        }
    };
    let mut addresses: Vec<u64> = functions.iter().flat_map(of_function).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
