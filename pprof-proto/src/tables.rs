//! The tables of a profile in the making: strings, mappings, functions, locations and samples, each entry once.
//!
//! They speak the wire format's language (string indexes, ids from 1) and have no opinion on what goes in; the builder,
//! merge and split do.

use std::ops::Range;

use crate::intern::Interned;
use crate::pprof;

/// A location of the profile in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocationId(u32);

impl LocationId {
    fn wire(self) -> u64 {
        u64::from(self.0) + 1
    }
}

#[derive(Debug)]
pub(crate) struct Tables {
    strings: Interned<String>,
    mappings: Interned<pprof::Mapping>,
    functions: Interned<pprof::Function>,
    locations: Interned<pprof::Location>,
    samples: Samples,
}

impl Tables {
    /// For samples of `width` values each.
    pub(crate) fn new(width: usize) -> Self {
        let mut tables = Tables {
            strings: Interned::default(),
            mappings: Interned::default(),
            functions: Interned::default(),
            locations: Interned::default(),
            samples: Samples::new(width),
        };
        tables.string("");
        tables
    }

    pub(crate) fn string(&mut self, text: &str) -> i64 {
        let position = self
            .strings
            .intern(text, |known| known == text, || text.to_owned());
        i64::from(position)
    }

    pub(crate) fn text(&self, index: i64) -> &str {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.strings.entries().get(index))
            .map_or("", String::as_str)
    }

    /// The id of `mapping`, whose own is ignored. Flags are no part of what a mapping is: they add up.
    pub(crate) fn mapping(&mut self, mapping: pprof::Mapping) -> u64 {
        let key = |m: &pprof::Mapping| {
            (
                m.memory_start,
                m.memory_limit,
                m.file_offset,
                m.filename,
                m.build_id,
            )
        };
        let wanted = key(&mapping);
        let position = self
            .mappings
            .intern(wanted, |known| key(known) == wanted, || mapping);
        if let Some(known) = self.mappings.get_mut(position) {
            known.has_functions |= mapping.has_functions;
            known.has_filenames |= mapping.has_filenames;
            known.has_line_numbers |= mapping.has_line_numbers;
            known.has_inline_frames |= mapping.has_inline_frames;
        }
        u64::from(position) + 1
    }

    pub(crate) fn mappings(&self) -> &[pprof::Mapping] {
        self.mappings.entries()
    }

    /// The id of `function`, whose own is ignored.
    pub(crate) fn function(&mut self, function: pprof::Function) -> u64 {
        let function = pprof::Function { id: 0, ..function };
        let position = self
            .functions
            .intern(function, |known| *known == function, || function);
        u64::from(position) + 1
    }

    /// Lines are innermost first.
    pub(crate) fn location(
        &mut self,
        mapping_id: u64,
        address: u64,
        line: &[pprof::Line],
        is_folded: bool,
    ) -> LocationId {
        let same = |known: &pprof::Location| {
            known.mapping_id == mapping_id
                && known.address == address
                && known.line == line
                && known.is_folded == is_folded
        };
        let position = self
            .locations
            .intern((mapping_id, address, line, is_folded), same, || {
                pprof::Location {
                    id: 0,
                    mapping_id,
                    address,
                    line: line.to_vec(),
                    is_folded,
                }
            });
        LocationId(position)
    }

    /// Adds `values` to the sample of this stack (leaf first) with these labels in this order.
    pub(crate) fn sample(&mut self, stack: &[LocationId], values: &[i64], labels: &[pprof::Label]) {
        self.samples.add(stack, values, labels);
    }

    pub(crate) fn has_samples(&self) -> bool {
        !self.samples.rows.entries().is_empty()
    }

    /// `head` with these tables. Samples of which every value is zero are left out.
    pub(crate) fn into_profile_with(self, head: pprof::Profile) -> pprof::Profile {
        let mut profile = pprof::Profile {
            sample: self.samples.into_wire(),
            mapping: self.mappings.into_entries(),
            function: self.functions.into_entries(),
            location: self.locations.into_entries(),
            string_table: self.strings.into_entries(),
            ..head
        };
        for (id, mapping) in (1..).zip(&mut profile.mapping) {
            mapping.id = id;
        }
        for (id, function) in (1..).zip(&mut profile.function) {
            function.id = id;
        }
        for (id, location) in (1..).zip(&mut profile.location) {
            location.id = id;
        }
        profile
    }
}

/// Samples by stack and labels, in three flat vectors: a new one costs no allocation of its own.
#[derive(Debug)]
struct Samples {
    width: usize,
    rows: Interned<Row>,
    stacks: Vec<LocationId>,
    labels: Vec<pprof::Label>,
    /// `width` for each row.
    values: Vec<i64>,
}

#[derive(Debug)]
struct Row {
    stack: Range<usize>,
    labels: Range<usize>,
}

impl Samples {
    fn new(width: usize) -> Self {
        Samples {
            width,
            rows: Interned::default(),
            stacks: Vec::new(),
            labels: Vec::new(),
            values: Vec::new(),
        }
    }

    fn add(&mut self, stack: &[LocationId], values: &[i64], labels: &[pprof::Label]) {
        let (stacks, all_labels) = (&self.stacks, &self.labels);
        let rows = self.rows.entries().len();
        let row = self.rows.intern(
            (stack, labels),
            |row| {
                stacks.get(row.stack.clone()) == Some(stack)
                    && all_labels.get(row.labels.clone()) == Some(labels)
            },
            || Row {
                stack: stacks.len()..stacks.len() + stack.len(),
                labels: all_labels.len()..all_labels.len() + labels.len(),
            },
        );
        let begin = row as usize * self.width;
        if row as usize == rows {
            self.stacks.extend_from_slice(stack);
            self.labels.extend_from_slice(labels);
            self.values.resize(begin + self.width, 0);
        }
        for (sum, value) in self.values.iter_mut().skip(begin).zip(values) {
            *sum = sum.saturating_add(*value);
        }
    }

    fn into_wire(self) -> Vec<pprof::Sample> {
        // A profile without sample types has rows of no width, and no values to lose.
        let values = self.values.chunks_exact(self.width.max(1));
        self.rows
            .entries()
            .iter()
            .zip(values)
            .filter(|(_, values)| values.iter().any(|value| *value != 0))
            .map(|(row, values)| pprof::Sample {
                location_id: self
                    .stacks
                    .get(row.stack.clone())
                    .unwrap_or_default()
                    .iter()
                    .map(|id| id.wire())
                    .collect(),
                value: values.to_vec(),
                label: self
                    .labels
                    .get(row.labels.clone())
                    .unwrap_or_default()
                    .to_vec(),
            })
            .collect()
    }
}
