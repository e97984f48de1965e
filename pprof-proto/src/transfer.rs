//! Copies samples of a profile, and only what they need of its tables, into tables of a new one.

use crate::pprof::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use crate::references::{Malformed, References};
use crate::tables::{LocationId, Tables};

/// A source profile and what of it has been copied already, by position in its tables.
pub(crate) struct Transfer<'p> {
    source: &'p References<'p>,
    strings: Vec<Option<i64>>,
    mappings: Vec<Option<u64>>,
    functions: Vec<Option<u64>>,
    locations: Vec<Option<LocationId>>,
    stack: Vec<LocationId>,
}

impl<'p> Transfer<'p> {
    /// From `source` to one set of tables; a transfer remembers what it put there.
    pub(crate) fn new(source: &'p References<'p>) -> Self {
        Transfer {
            source,
            strings: vec![None; source.profile.string_table.len()],
            mappings: vec![None; source.profile.mapping.len()],
            functions: vec![None; source.profile.function.len()],
            locations: vec![None; source.profile.location.len()],
            stack: Vec::new(),
        }
    }

    /// The source without its tables, its strings interned. Comes before any sample: the strings of sample types and
    /// comments keep their place at the head of the string table, where the builder put them on purpose.
    pub(crate) fn head(&mut self, to: &mut Tables) -> Result<Profile, Malformed> {
        let source = self.source.profile;
        let mut head = Profile {
            time_nanos: source.time_nanos,
            duration_nanos: source.duration_nanos,
            period: source.period,
            ..Profile::default()
        };
        for value_type in &source.sample_type {
            head.sample_type.push(self.value_type(value_type, to)?);
        }
        for comment in &source.comment {
            head.comment.push(self.string(*comment, to)?);
        }
        if let Some(period_type) = &source.period_type {
            head.period_type = Some(self.value_type(period_type, to)?);
        }
        head.drop_frames = self.string(source.drop_frames, to)?;
        head.keep_frames = self.string(source.keep_frames, to)?;
        head.default_sample_type = self.string(source.default_sample_type, to)?;
        Ok(head)
    }

    pub(crate) fn sample(&mut self, sample: &Sample, to: &mut Tables) -> Result<(), Malformed> {
        let mut stack = std::mem::take(&mut self.stack);
        stack.clear();
        for id in &sample.location_id {
            stack.push(self.location(*id, to)?);
        }
        let mut labels = Vec::with_capacity(sample.label.len());
        for label in &sample.label {
            labels.push(Label {
                key: self.string(label.key, to)?,
                str: self.string(label.str, to)?,
                num: label.num,
                num_unit: self.string(label.num_unit, to)?,
            });
        }
        to.sample(&stack, &sample.value, &labels);
        self.stack = stack;
        Ok(())
    }

    pub(crate) fn string(&mut self, index: i64, to: &mut Tables) -> Result<i64, Malformed> {
        let text = self.source.string(index)?;
        let copied = usize::try_from(index)
            .ok()
            .and_then(|position| self.strings.get_mut(position));
        Ok(match copied {
            Some(copied) => *copied.get_or_insert_with(|| to.string(text)),
            None => to.string(text),
        })
    }

    fn value_type(
        &mut self,
        value_type: &ValueType,
        to: &mut Tables,
    ) -> Result<ValueType, Malformed> {
        Ok(ValueType {
            r#type: self.string(value_type.r#type, to)?,
            unit: self.string(value_type.unit, to)?,
        })
    }

    fn location(&mut self, id: u64, to: &mut Tables) -> Result<LocationId, Malformed> {
        let (position, location) = self.source.location(id)?;
        if let Some(Some(copied)) = self.locations.get(position) {
            return Ok(*copied);
        }
        let Location {
            mapping_id,
            address,
            ref line,
            is_folded,
            ..
        } = *location;
        let mapping_id = match mapping_id {
            0 => 0,
            id => self.mapping(id, to)?,
        };
        let mut lines = Vec::with_capacity(line.len());
        for line in line {
            let function_id = self.function(line.function_id, to)?;
            lines.push(Line {
                function_id,
                ..*line
            });
        }
        let copied = to.location(mapping_id, address, &lines, is_folded);
        remember(&mut self.locations, position, copied);
        Ok(copied)
    }

    fn mapping(&mut self, id: u64, to: &mut Tables) -> Result<u64, Malformed> {
        let (position, mapping) = self.source.mapping(id)?;
        if let Some(Some(copied)) = self.mappings.get(position) {
            return Ok(*copied);
        }
        let copied = Mapping {
            filename: self.string(mapping.filename, to)?,
            build_id: self.string(mapping.build_id, to)?,
            ..*mapping
        };
        let copied = to.mapping(copied);
        remember(&mut self.mappings, position, copied);
        Ok(copied)
    }

    fn function(&mut self, id: u64, to: &mut Tables) -> Result<u64, Malformed> {
        let (position, function) = self.source.function(id)?;
        if let Some(Some(copied)) = self.functions.get(position) {
            return Ok(*copied);
        }
        let copied = Function {
            name: self.string(function.name, to)?,
            system_name: self.string(function.system_name, to)?,
            filename: self.string(function.filename, to)?,
            ..*function
        };
        let copied = to.function(copied);
        remember(&mut self.functions, position, copied);
        Ok(copied)
    }
}

fn remember<T>(copies: &mut [Option<T>], position: usize, copied: T) {
    if let Some(slot) = copies.get_mut(position) {
        *slot = Some(copied);
    }
}
