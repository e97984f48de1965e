//! A flame graph as the query API lays it out.

use super::merge::NamedStack;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// A function under its callers. Siblings are in the order of their names.
#[derive(Default)]
struct Node {
    total: i64,
    own: i64,
    children: BTreeMap<String, Node>,
}

/// `{"names":…,"levels":…,"total":…,"maxSelf":…}`, integers as strings, zeros left out at the top.
///
/// Four numbers a bar: the gap to the end of the bar before it on its level, total, self, index of its name. Level 0 is
/// the bar "total"; a bar's own part is at its left, its children follow.
pub(super) fn flamegraph(stacks: &[NamedStack]) -> Value {
    let mut root = Node::default();
    for (stack, value) in stacks.iter().filter(|(stack, _)| !stack.is_empty()) {
        let mut node = &mut root;
        node.total += value;
        for name in stack {
            node = node.children.entry(name.clone()).or_default();
            node.total += value;
        }
        node.own += value;
    }
    let mut names = Names::default();
    let mut levels: Vec<Vec<[i64; 4]>> = Vec::new();
    let mut most_own = 0;
    // The last sibling first, as the server goes: that gives the names their numbers.
    let mut waiting = vec![("total", &root, 0usize, 0i64)];
    while let Some((name, node, depth, begin)) = waiting.pop() {
        if levels.len() == depth {
            levels.push(Vec::new());
        }
        levels[depth].push([begin, node.total, node.own, names.index(name)]);
        most_own = most_own.max(node.own);
        let mut begin = begin + node.own;
        for (name, child) in &node.children {
            waiting.push((name, child, depth + 1, begin));
            begin += child.total;
        }
    }
    let levels: Vec<Value> = levels.into_iter().map(level).collect();
    let mut graph = json!({ "names": names.list, "levels": levels });
    if root.total != 0 {
        graph["total"] = json!(root.total.to_string());
        graph["maxSelf"] = json!(most_own.to_string());
    }
    graph
}

/// Bars came right to left, with their begin; they go out left to right, with the gap before them.
fn level(bars: Vec<[i64; 4]>) -> Value {
    let mut end = 0;
    let mut values = Vec::new();
    for [begin, total, own, name] in bars.into_iter().rev() {
        values.extend([begin - end, total, own, name].map(|value| value.to_string()));
        end = begin + total;
    }
    json!({ "values": values })
}

#[derive(Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, usize>,
}

impl Names {
    fn index(&mut self, name: &str) -> i64 {
        let next = self.list.len();
        let index = *self.index.entry(name.to_owned()).or_insert(next);
        if index == next {
            self.list.push(name.to_owned());
        }
        index as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(folded: &str, value: i64) -> NamedStack {
        (folded.split(';').map(str::to_owned).collect(), value)
    }

    /// The answer of a real server to these three stacks, byte for byte.
    #[test]
    fn the_layout_is_the_servers() {
        let stacks = [
            stack("root;mid", 300),
            stack("root;mid;leaf", 750),
            stack("root;other_leaf", 75),
        ];
        let real = r#"{"names":["total","root","other_leaf","mid","leaf"],"levels":[{"values":["0","1125","0","0"]},{"values":["0","1125","0","1"]},{"values":["0","1050","300","3","0","75","75","2"]},{"values":["300","750","750","4"]}],"total":"1125","maxSelf":"750"}"#;
        assert_eq!(
            flamegraph(&stacks),
            serde_json::from_str::<Value>(real).unwrap()
        );
    }

    /// The answer of a real server that has no data.
    #[test]
    fn an_empty_graph_is_the_servers() {
        let real = r#"{"names":["total"],"levels":[{"values":["0","0","0","0"]}]}"#;
        assert_eq!(
            flamegraph(&[]),
            serde_json::from_str::<Value>(real).unwrap()
        );
    }
}
