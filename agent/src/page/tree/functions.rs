//! Functions by name and module, across profiles.

use pprof_proto::pprof::{Function, Line, Location, Mapping, Profile};
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::sync::Arc;

/// Most functions and most of their lines held: programs choose their names, not the memory of the agent.
const MAX_HELD: usize = 100_000;

/// A function of a module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::page) struct Frame {
    #[serde(serialize_with = "as_str")]
    pub(super) name: Arc<str>,
    /// Path of the file it is mapped from.
    #[serde(serialize_with = "as_str", skip_serializing_if = "is_empty")]
    pub(super) module: Arc<str>,
    /// Source file.
    #[serde(serialize_with = "as_str", skip_serializing_if = "is_empty")]
    pub(super) file: Arc<str>,
    /// The line with the most time in itself and what it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<i64>,
}

fn as_str<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

impl Frame {
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            module: "".into(),
            file: "".into(),
            line: None,
        }
    }
}

/// Every function once.
#[derive(Debug, Default)]
pub(super) struct Functions {
    ids: HashMap<(Arc<str>, Arc<str>), u32>,
    frames: Vec<Frame>,
    /// Time by function and line.
    lines: HashMap<(u32, i64), u64>,
}

impl Functions {
    /// Where it is among the frames.
    pub(super) fn id(&mut self, name: &str, module: &str, file: &str) -> u32 {
        let (name, module) = match self.frames.len() < MAX_HELD {
            true => (name, module),
            false => ("[name left out: too many functions]", ""),
        };
        let key = (Arc::from(name), Arc::from(module));
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        let (name, module) = key.clone();
        self.frames.push(Frame {
            name,
            module,
            file: file.into(),
            line: None,
        });
        self.ids.insert(key, id);
        id
    }

    /// `value` was spent in `line` of `function`, or in what it called.
    pub(super) fn count_line(&mut self, function: u32, line: i64, value: u64) {
        if line > 0 && (self.lines.len() < MAX_HELD || self.lines.contains_key(&(function, line))) {
            let sum = self.lines.entry((function, line)).or_default();
            *sum = sum.saturating_add(value);
        }
    }

    /// The frames, each with its line.
    pub(super) fn into_frames(self) -> Vec<Frame> {
        let mut frames = self.frames;
        let mut lines: Vec<((u32, i64), u64)> = self.lines.into_iter().collect();
        // The largest last, and of equal ones the first line: it overwrites the others.
        lines.sort_by_key(|((_, line), value)| (*value, std::cmp::Reverse(*line)));
        for ((function, line), _) in lines {
            if let Some(frame) = frames.get_mut(function as usize) {
                frame.line = Some(line);
            }
        }
        frames
    }
}

/// The tables of one profile, by id.
pub(super) struct Names<'p> {
    profile: &'p Profile,
    mappings: HashMap<u64, &'p Mapping>,
    functions: HashMap<u64, &'p Function>,
}

impl<'p> Names<'p> {
    pub(super) fn new(profile: &'p Profile) -> Self {
        let mappings = profile.mapping.iter();
        let functions = profile.function.iter();
        Self {
            profile,
            mappings: mappings.map(|mapping| (mapping.id, mapping)).collect(),
            functions: functions.map(|function| (function.id, function)).collect(),
        }
    }

    /// Which of a sample's values is in nanoseconds; the first, if none is.
    pub(super) fn nanoseconds(&self) -> usize {
        let mut types = self.profile.sample_type.iter();
        types
            .position(|sample_type| self.text(sample_type.unit) == "nanoseconds")
            .unwrap_or(0)
    }

    /// The functions at `location` with their lines, innermost first: at least one.
    pub(super) fn frames(&self, location: &Location, functions: &mut Functions) -> Vec<(u32, i64)> {
        let mapping = self.mappings.get(&location.mapping_id);
        let module = mapping.map_or("", |mapping| self.text(mapping.filename));
        if location.line.is_empty() {
            let base = module.rsplit('/').next().unwrap_or(module);
            let name = format!("{base}+{:#x}", location.address);
            return vec![(functions.id(&name, module, ""), 0)];
        }
        let lines = location.line.iter();
        lines
            .map(|line| self.frame(line, module, functions))
            .collect()
    }

    fn frame(&self, line: &Line, module: &str, functions: &mut Functions) -> (u32, i64) {
        let Some(function) = self.functions.get(&line.function_id) else {
            return (functions.id("[unknown]", module, ""), 0);
        };
        let name = match self.text(function.name) {
            "" => "[unnamed]",
            name => name,
        };
        let id = functions.id(name, module, self.text(function.filename));
        let line = match line.line {
            0 => function.start_line,
            line => line,
        };
        (id, line)
    }

    fn text(&self, index: i64) -> &'p str {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.profile.string_table.get(index))
            .map_or("", String::as_str)
    }
}
