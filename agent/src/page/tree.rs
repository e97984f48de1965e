//! Stacks merged into a tree of calls, as a flame graph draws it.

mod functions;
mod pruned;
#[cfg(test)]
mod tests;

pub(super) use pruned::FlameGraph;

use functions::{Functions, Names};
use pprof_proto::pprof::Profile;
use std::collections::HashMap;

/// Most nodes held while merging: programs choose their stacks, not the memory of the agent.
const MAX_HELD: usize = 200_000;

const ROOT: u32 = 0;

/// A tree in the making.
#[derive(Debug)]
pub(super) struct Tree {
    functions: Functions,
    nodes: Vec<Node>,
    /// By parent and function.
    children: HashMap<(u32, u32), u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    parent: u32,
    function: u32,
    /// Value of the samples that end here.
    own: u64,
    /// With all below.
    total: u64,
}

impl Tree {
    /// Of nothing.
    pub(super) fn new() -> Self {
        let mut functions = Functions::default();
        let root = Node {
            function: functions.id("total", "", ""),
            ..Node::default()
        };
        Self {
            functions,
            nodes: vec![root],
            children: HashMap::new(),
        }
    }

    /// Adds the samples of `profile`. What it refers to and does not have is called `[unknown]`.
    pub(super) fn add(&mut self, profile: &Profile) {
        let names = Names::new(profile);
        let value = names.nanoseconds();
        let mut frames: HashMap<u64, Vec<(u32, i64)>> = HashMap::new();
        for location in &profile.location {
            frames.insert(location.id, names.frames(location, &mut self.functions));
        }
        let unknown = [(self.functions.id("[unknown]", "", ""), 0)];
        for sample in &profile.sample {
            let value = sample.value.get(value).copied().unwrap_or_default();
            let value = u64::try_from(value).unwrap_or_default();
            // Leaf first, and at one location the innermost function first: from the root it is the other way round.
            let path = sample.location_id.iter().rev().flat_map(|id| {
                let frames = frames.get(id).map_or(&unknown[..], Vec::as_slice);
                frames.iter().rev().copied()
            });
            self.add_path(path, value);
        }
    }

    fn add_path(&mut self, path: impl Iterator<Item = (u32, i64)>, value: u64) {
        let mut at = ROOT;
        self.count(at, value);
        for (function, line) in path {
            let Some(child) = self.child(at, function) else {
                // Without room the rest of the path is left out: what it took stays with its callers' totals, and is
                // folded like all that is small.
                return;
            };
            self.functions.count_line(function, line, value);
            self.count(child, value);
            at = child;
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.own = node.own.saturating_add(value);
        }
    }

    fn count(&mut self, node: u32, value: u64) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.total = node.total.saturating_add(value);
        }
    }

    fn child(&mut self, parent: u32, function: u32) -> Option<u32> {
        if let Some(known) = self.children.get(&(parent, function)) {
            return Some(*known);
        }
        if self.nodes.len() >= MAX_HELD {
            return None;
        }
        let child = u32::try_from(self.nodes.len()).ok()?;
        self.nodes.push(Node {
            parent,
            function,
            ..Node::default()
        });
        self.children.insert((parent, function), child);
        Some(child)
    }
}
