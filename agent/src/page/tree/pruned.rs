//! The tree as it is sent: in order, and without what is too small to see.

use super::functions::Frame;
use super::{Node, ROOT, Tree};
use serde::Serialize;
use std::collections::HashMap;

/// Parts of the total below which a node is too narrow to see on any screen.
const PARTS: u64 = 20_000;

/// Most nodes sent: a browser draws this many without a pause.
const MAX_NODES: usize = 50_000;

/// Flat, because a stack of a thousand frames is deeper than most parsers of nested JSON go.
#[derive(Debug, PartialEq, Serialize)]
pub(in crate::page) struct FlameGraph {
    /// Unit of all values.
    pub(super) unit: &'static str,
    /// Value of the root.
    pub(super) total: u64,
    /// What nodes are named by.
    pub(super) frames: Vec<Frame>,
    /// Depth first, children of one parent by name.
    pub(super) nodes: Vec<FlatNode>,
}

/// Position of the parent among the nodes (the root's is its own), index into the frames, value of its own, value with all
/// below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct FlatNode(
    pub(super) usize,
    pub(super) usize,
    pub(super) u64,
    pub(super) u64,
);

impl Tree {
    /// The tree without its small nodes: per parent they are one child `(n small)`.
    pub(in crate::page) fn finish(self) -> FlameGraph {
        let total = self.nodes.first().map_or(0, |root| root.total);
        let smallest = smallest(&self.nodes, total);
        let frames = self.functions.into_frames();
        let children = children_by_name(&self.nodes, &frames);
        let mut names = Shown::new(frames);
        let mut nodes = Vec::new();
        let mut ahead = vec![(0, ROOT)];
        while let Some((parent, at)) = ahead.pop() {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            let position = nodes.len();
            nodes.push(FlatNode(
                parent,
                names.function(node.function),
                node.own,
                node.total,
            ));
            let children = children.get(at as usize).map_or(&[][..], Vec::as_slice);
            let (shown, folded): (Vec<u32>, Vec<u32>) = children.iter().partition(|child| {
                let child = self.nodes.get(**child as usize);
                child.is_some_and(|child| child.total >= smallest)
            });
            let below: u64 = shown
                .iter()
                .filter_map(|child| Some(self.nodes.get(*child as usize)?.total))
                .fold(node.own, u64::saturating_add);
            let left = node.total.saturating_sub(below);
            if left > 0 {
                let frame = names.small(folded.len());
                nodes.push(FlatNode(position, frame, left, left));
            }
            // The last one pushed is the first one out.
            ahead.extend(shown.into_iter().rev().map(|child| (position, child)));
        }
        FlameGraph {
            unit: "nanoseconds",
            total,
            frames: names.frames,
            nodes,
        }
    }
}

/// Smallest value a node is shown with, so that not more than [`MAX_NODES`] are.
fn smallest(nodes: &[Node], total: u64) -> u64 {
    let mut smallest = total.div_ceil(PARTS).max(1);
    while nodes.iter().filter(|node| node.total >= smallest).count() > MAX_NODES {
        smallest = smallest.saturating_mul(2);
    }
    smallest
}

/// For each node its children.
fn children_by_name(nodes: &[Node], frames: &[Frame]) -> Vec<Vec<u32>> {
    let mut children = vec![Vec::new(); nodes.len()];
    for (child, node) in (0..).zip(nodes).skip(1) {
        if let Some(siblings) = children.get_mut(node.parent as usize) {
            siblings.push(child);
        }
    }
    let name = |child: &u32| {
        let node = nodes.get(*child as usize)?;
        let frame = frames.get(node.function as usize)?;
        Some((&*frame.name, &*frame.module))
    };
    for siblings in &mut children {
        siblings.sort_by(|a, b| name(a).cmp(&name(b)));
    }
    children
}

/// The frames that nodes are left of, and those of what was folded: each once.
struct Shown {
    all: Vec<Frame>,
    frames: Vec<Frame>,
    by_function: HashMap<u32, usize>,
    by_count: HashMap<usize, usize>,
}

impl Shown {
    fn new(all: Vec<Frame>) -> Self {
        Self {
            all,
            frames: Vec::new(),
            by_function: HashMap::new(),
            by_count: HashMap::new(),
        }
    }

    fn function(&mut self, function: u32) -> usize {
        *self.by_function.entry(function).or_insert_with(|| {
            let frame = self.all.get(function as usize).cloned();
            self.frames
                .push(frame.unwrap_or_else(|| Frame::named("[unknown]")));
            self.frames.len() - 1
        })
    }

    /// For `count` children, or for what the tree had no room for.
    fn small(&mut self, count: usize) -> usize {
        *self.by_count.entry(count).or_insert_with(|| {
            self.frames.push(Frame::named(&match count {
                0 => "(left out)".to_owned(),
                count => format!("({count} small)"),
            }));
            self.frames.len() - 1
        })
    }
}
