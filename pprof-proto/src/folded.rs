//! Profiles as folded stacks, the lines flame graph tools read: `comm;root;...;leaf count`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::names;
use crate::pprof::{Location, Sample};
use crate::references::{Malformed, References};

/// What the number behind a stack counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Samples: the value divided by the profile's period, to the nearest, and at least 1. Of a profile without a period,
    /// the value.
    Periods,
    /// The value itself, in the unit of the sample type.
    Value,
}

/// Why a profile cannot be written as folded stacks.
#[derive(Debug, thiserror::Error)]
pub enum FoldedError {
    /// It contradicts itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The writer failed.
    #[error("folded stacks cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes the first value of each sample of `profile`: one line for each distinct text, in byte order. A sample's label
/// `comm`, if it has one, comes before its root.
///
/// Frames are separated by `;` and lines by newlines, and the format knows no escape: a `;` inside a name becomes `:`, as
/// perf's own collapsing scripts have it, and a control character U+FFFD.
pub fn write_folded(
    profile: &crate::pprof::Profile,
    count: Count,
    mut out: impl Write,
) -> Result<(), FoldedError> {
    let references = References::new(profile)?;
    let mut totals: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.sample {
        let Some(value) = sample.value.first().filter(|value| **value != 0) else {
            continue;
        };
        let total = totals.entry(folded(&references, sample)?).or_default();
        *total = total.saturating_add(*value);
    }
    for (stack, total) in &totals {
        writeln!(out, "{stack} {}", counted(*total, count, profile.period))?;
    }
    out.flush()?;
    Ok(())
}

fn counted(total: i64, count: Count, period: i64) -> i64 {
    if count == Count::Value || period <= 0 {
        return total;
    }
    let nearest = total.saturating_add(period / 2) / period;
    nearest.max(1)
}

fn folded(references: &References<'_>, sample: &Sample) -> Result<String, Malformed> {
    let mut frames = Vec::new();
    for label in &sample.label {
        if label.str != 0 && references.string(label.key)? == "comm" {
            frames.push(frame(references.string(label.str)?));
        }
    }
    for id in sample.location_id.iter().rev() {
        let (_, location) = references.location(*id)?;
        push_location(references, location, &mut frames)?;
    }
    Ok(frames.join(";"))
}

/// Outermost function first.
fn push_location<'p>(
    references: &References<'p>,
    location: &Location,
    frames: &mut Vec<Cow<'p, str>>,
) -> Result<(), Malformed> {
    if location.line.is_empty() {
        let module = match location.mapping_id {
            0 => "[unknown]",
            id => names::base_name(references.string(references.mapping(id)?.1.filename)?),
        };
        frames.push(Cow::Owned(format!(
            "{}+{:#x}",
            frame(module),
            location.address
        )));
    }
    for line in location.line.iter().rev() {
        let (_, function) = references.function(line.function_id)?;
        frames.push(frame(references.string(function.name)?));
    }
    Ok(())
}

fn frame(name: &str) -> Cow<'_, str> {
    if name.is_empty() {
        // Two separators in a row are read as one by some tools.
        return Cow::Borrowed("[unnamed]");
    }
    let name = names::without_control_characters(name);
    if name.contains(';') {
        return Cow::Owned(name.replace(';', ":"));
    }
    name
}
