//! Builds the profile of one owner and one interval from named stacks.
//!
//! What Pyroscope drops or rewrites in silence cannot be built here: every location has a mapping and a line, every sample a
//! location, ids are dense, names are short enough, and stacks no deeper than the server keeps.

use crate::kind::{ProfileKind, Quantity};
use crate::names;
use crate::pprof;
pub use crate::tables::LocationId;
use crate::tables::Tables;

/// Most locations of a stack. Of a deeper one the server cuts off the leaf side, the side that says what the program was
/// doing.
pub const MAX_DEPTH: usize = 1000;

/// Pyroscope takes a profile for Go's if the first string of the table that smells of any language ends in `.go`, and then
/// "repairs" it: deep stacks get guessed root frames, and generic functions are merged. A string that ends in `main.rs`
/// settles the question if it comes before every name that a profiled program could bring along.
const NOT_GO: &str = "thermograph src/main.rs";

/// Collects samples; equal ones, and equal entries of every table, become one.
#[derive(Debug)]
pub struct ProfileBuilder {
    tables: Tables,
    head: pprof::Profile,
    /// Kept to save an allocation a sample.
    labels: Vec<pprof::Label>,
    /// Kept to save an allocation a location.
    lines: Vec<pprof::Line>,
}

/// A mapping of the profile being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MappingId(u64);

/// A function of the profile being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionId(u64);

/// A part of a file that was mapped executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// Path of the file, or a name in brackets where there is no file, such as `[kernel.kallsyms]`.
    pub filename: &'a str,
    /// Its build id in hex, or empty.
    pub build_id: &'a str,
    /// First address, in the same terms as the addresses of locations.
    pub memory_start: u64,
    /// The address behind the last.
    pub memory_limit: u64,
    /// Where in the file `memory_start` lies, in bytes.
    pub file_offset: u64,
}

/// A function at a line of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The function.
    pub function: FunctionId,
    /// Line number, or 0.
    pub line: u32,
}

/// Value of a sample's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelValue<'a> {
    /// A text. An empty one cannot be told from the number 0 in the format.
    Text(&'a str),
    /// A number.
    Number(i64),
}

impl ProfileBuilder {
    /// For samples of `kind`, taken every `period` units of its period type, that began `time_nanos` after the Unix epoch
    /// and went on for `duration_nanos`.
    pub fn new(kind: &ProfileKind, period: i64, time_nanos: i64, duration_nanos: i64) -> Self {
        let mut tables = Tables::new(kind.sample_types.len());
        let mut value_type = |quantity: &Quantity| pprof::ValueType {
            r#type: tables.string(quantity.name),
            unit: tables.string(quantity.unit),
        };
        let sample_type = kind.sample_types.iter().map(&mut value_type).collect();
        let period_type = Some(value_type(&kind.period_type));
        let head = pprof::Profile {
            sample_type,
            period_type,
            period,
            time_nanos,
            duration_nanos,
            comment: vec![tables.string(NOT_GO)],
            ..pprof::Profile::default()
        };
        ProfileBuilder {
            tables,
            head,
            labels: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// The mapping with these properties. The first one should be the main executable: readers show it as the profile's.
    pub fn mapping(&mut self, mapping: &Mapping<'_>) -> MappingId {
        let mapping = pprof::Mapping {
            memory_start: mapping.memory_start,
            memory_limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
            filename: self.string(mapping.filename),
            build_id: self.string(mapping.build_id),
            ..pprof::Mapping::default()
        };
        MappingId(self.tables.mapping(mapping))
    }

    /// The function with this name for people, name for linkers (empty where they are the same or there is none), source
    /// file (or empty) and line its definition starts at (or 0).
    pub fn function(
        &mut self,
        name: &str,
        system_name: &str,
        filename: &str,
        start_line: u32,
    ) -> FunctionId {
        let function = pprof::Function {
            id: 0,
            name: self.string(name),
            system_name: self.string(system_name),
            filename: self.string(filename),
            start_line: i64::from(start_line),
        };
        FunctionId(self.tables.function(function))
    }

    /// The place at `address` of `mapping`: the functions there, the innermost inlined one first.
    ///
    /// Without lines it gets one that reads `file+0xaddress`, because the server drops a frame that has none.
    pub fn location(&mut self, mapping: MappingId, address: u64, lines: &[Line]) -> LocationId {
        if lines.is_empty() {
            let function = self.unnamed(mapping, address);
            return self.location(mapping, address, &[Line { function, line: 0 }]);
        }
        self.lines.clear();
        self.lines.extend(lines.iter().map(|line| pprof::Line {
            function_id: line.function.0,
            line: i64::from(line.line),
            column: 0,
        }));
        self.tables.location(mapping.0, address, &self.lines, false)
    }

    /// The place at `address` of `mapping` for a reader to name, by the mapping's build id or file. A server that does not drops the
    /// frame.
    pub fn address(&mut self, mapping: MappingId, address: u64) -> LocationId {
        self.tables.location(mapping.0, address, &[], false)
    }

    /// Adds `values`, one for each sample type and none negative, to the sample with this stack (leaf first) and these
    /// labels (in this order). Sums saturate.
    ///
    /// The middle of a stack deeper than [`MAX_DEPTH`] becomes one frame `[N frames left out]`, and an empty stack gets the
    /// frame `[empty stack]`. Ids must come from this builder.
    pub fn sample(
        &mut self,
        stack: &[LocationId],
        values: &[i64],
        labels: &[(&str, LabelValue<'_>)],
    ) {
        debug_assert_eq!(
            values.len(),
            self.head.sample_type.len(),
            "one value for each sample type"
        );
        let mut wire = std::mem::take(&mut self.labels);
        wire.clear();
        for (key, value) in labels {
            let (str, num) = match value {
                LabelValue::Text(text) => (self.string(text), 0),
                LabelValue::Number(number) => (0, *number),
            };
            wire.push(pprof::Label {
                key: self.string(key),
                str,
                num,
                num_unit: 0,
            });
        }
        match stack.len() {
            0 => {
                let stack = [self.note("[empty stack]")];
                self.tables.sample(&stack, values, &wire);
            }
            1..=MAX_DEPTH => self.tables.sample(stack, values, &wire),
            _ => {
                let stack = self.shortened(stack);
                self.tables.sample(&stack, values, &wire);
            }
        }
        self.labels = wire;
    }

    /// No sample was added yet.
    pub fn is_empty(&self) -> bool {
        !self.tables.has_samples()
    }

    /// The profile. Samples whose values are all 0 are not in it.
    pub fn finish(self) -> pprof::Profile {
        let mut profile = self.tables.into_profile_with(self.head);
        set_mapping_flags(&mut profile);
        profile
    }

    fn string(&mut self, text: &str) -> i64 {
        self.tables.string(&names::clean(text))
    }

    fn unnamed(&mut self, mapping: MappingId, address: u64) -> FunctionId {
        let position = usize::try_from(mapping.0).unwrap_or(0).wrapping_sub(1);
        let filename = self
            .tables
            .mappings()
            .get(position)
            .map_or(0, |mapping| mapping.filename);
        let module = names::base_name(self.tables.text(filename));
        let name = format!("{module}+{address:#x}");
        self.function(&name, "", "", 0)
    }

    fn shortened(&mut self, stack: &[LocationId]) -> Vec<LocationId> {
        let root_side = MAX_DEPTH / 2;
        let leaf_side = MAX_DEPTH - root_side - 1;
        let left_out = stack.len() - leaf_side - root_side;
        let note = self.note(&format!("[{left_out} frames left out]"));
        let (leaf, rest) = stack.split_at(leaf_side);
        let (_, root) = rest.split_at(left_out);
        [leaf, &[note], root].concat()
    }

    /// A frame that is no place in code but a word of ours.
    fn note(&mut self, text: &str) -> LocationId {
        let mapping = self.mapping(&Mapping {
            filename: "[thermograph]",
            ..Mapping::default()
        });
        let function = self.function(text, "", "", 0);
        self.location(mapping, 0, &[Line { function, line: 0 }])
    }
}

/// Sets what the locations of each mapping carry.
///
/// `has_functions` matters most: with it the server takes the profile for symbolized, one mapping without it sends every
/// query of the block to its slow symbolizer.
fn set_mapping_flags(profile: &mut pprof::Profile) {
    let position = |id: u64| usize::try_from(id.wrapping_sub(1)).unwrap_or(usize::MAX);
    for location in &profile.location {
        let Some(mapping) = profile.mapping.get_mut(position(location.mapping_id)) else {
            continue;
        };
        mapping.has_functions |= !location.line.is_empty();
        mapping.has_inline_frames |= location.line.len() > 1;
        for line in &location.line {
            let function = profile.function.get(position(line.function_id));
            mapping.has_filenames |= function.is_some_and(|function| function.filename != 0);
            mapping.has_line_numbers |= line.line != 0;
        }
    }
}
