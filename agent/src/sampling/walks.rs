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
            let of_binary = self.by_binary.entry(binary).or_default();
            *of_binary.entry(outcome.name()).or_default() += sample.events;
        }
        self.fold();
    }

    /// Counts the binaries with the fewest samples among the others until there are few enough.
    fn fold(&mut self) {
        let surplus = self.by_binary.len().saturating_sub(BINARIES);
        if surplus == 0 {
            return;
        }
        let mut binaries: Vec<(u64, String)> = self
            .by_binary
            .iter()
            .filter(|(binary, _)| *binary != OTHERS)
            .map(|(binary, reasons)| (reasons.values().sum(), binary.clone()))
            .collect();
        binaries.sort_unstable();
        // One more, for the others take a place.
        for (_, binary) in binaries.into_iter().take(surplus + 1) {
            let folded = self.by_binary.remove(&binary).unwrap_or_default();
            let others = self.by_binary.entry(OTHERS.to_owned()).or_default();
            for (reason, count) in folded {
                *others.entry(reason).or_default() += count;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of more binaries than are told apart the smallest are counted together, and no sample is lost.
    #[test]
    fn small_binaries_are_folded() {
        let mut walks = Walks::default();
        for number in 0..1000u64 {
            let reasons = BTreeMap::from([("too_deep", number), ("astray", 1)]);
            walks.by_binary.insert(format!("{number}"), reasons);
            walks.fold();
            assert!(walks.by_binary.len() <= BINARIES);
        }
        assert!(walks.by_binary.contains_key("999") && !walks.by_binary.contains_key("1"));
        let counts = walks.by_binary.values().flat_map(BTreeMap::values);
        assert_eq!(counts.sum::<u64>(), 999 * 1000 / 2 + 1000);
    }
}
