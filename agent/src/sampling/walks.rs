//! How walks ended since the start, in all and by the binary they ended in.

use super::window::{Sample, Window};
use bpf::{Outcome, Place};
use std::collections::BTreeMap;

/// Binaries told apart: all on most hosts, and a bound where someone makes them up.
const BINARIES: usize = 200;
/// Stands for all others.
const OTHERS: &str = "other";

/// Samples by how their walk ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walks {
    /// Of whole stacks, by where they end.
    pub(crate) whole: BTreeMap<&'static str, u64>,
    /// Of the others, by what they lack.
    pub(crate) incomplete: BTreeMap<&'static str, u64>,
    /// The same by the name of the file that the walk ended in.
    pub(crate) by_binary: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Walks {
    /// Adds the samples of a window.
    pub(super) fn add(&mut self, window: &Window) {
        for sample in &window.samples {
            let outcome = sample.outcome();
            if outcome.is_whole() {
                *self.whole.entry(outcome.name()).or_default() += sample.events;
                continue;
            }
            *self.incomplete.entry(outcome.name()).or_default() += sample.events;
            let binary = binary(window, sample, outcome);
            let is_known = self.by_binary.contains_key(&binary);
            let binary = match is_known || self.by_binary.len() < BINARIES {
                true => binary,
                false => OTHERS.to_owned(),
            };
            let of_binary = self.by_binary.entry(binary).or_default();
            *of_binary.entry(outcome.name()).or_default() += sample.events;
        }
    }
}

/// The file whose table was missing, or that of the last place the walk was at, or else the executable.
fn binary(window: &Window, sample: &Sample, outcome: Outcome) -> String {
    let of_word = |place| match place {
        Place::File { file, .. } => Some(file),
        _ => None,
    };
    let mut places = sample.stack.iter().rev().map(|word| word.place());
    let file = outcome.file().or_else(|| places.find_map(of_word));
    match file.and_then(|file| window.files.get(&file)) {
        Some(file) => file.name(),
        None => String::from_utf8_lossy(&sample.names.exe).into_owned(),
    }
}
