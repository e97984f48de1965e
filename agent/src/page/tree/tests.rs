use super::pruned::FlatNode;
use super::*;
use pprof_proto::builder::{Line, Mapping, ProfileBuilder};
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::pprof;

/// Frames as `module!function:line`, root first.
fn profile(stacks: &[(&[&str], i64)]) -> Profile {
    let mut builder = ProfileBuilder::new(&PROCESS_CPU, 10, 1, 1);
    for (stack, value) in stacks {
        let mut locations = Vec::new();
        for frame in stack.iter().rev() {
            let (module, rest) = frame.split_once('!').unwrap_or(("/bin/app", frame));
            let (name, line) = rest.split_once(':').unwrap_or((rest, "0"));
            let mapping = builder.mapping(&Mapping {
                filename: module,
                ..Mapping::default()
            });
            let function = builder.function(name, "", "app.c", 0);
            let line = Line {
                function,
                line: line.parse().unwrap(),
            };
            locations.push(builder.location(mapping, 0, &[line]));
        }
        builder.sample(&locations, &[*value], &[]);
    }
    builder.finish()
}

fn graph(profiles: &[Profile]) -> FlameGraph {
    let mut tree = Tree::new();
    for profile in profiles {
        tree.add(profile);
    }
    tree.finish()
}

/// Each node as `root;...;name own total`.
fn lines(graph: &FlameGraph) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for (position, FlatNode(parent, frame, own, total)) in graph.nodes.iter().enumerate() {
        let name = &graph.frames[*frame].name;
        let path = match position {
            0 => name.to_string(),
            _ => format!("{};{name}", paths[*parent]),
        };
        lines.push(format!("{path} {own} {total}"));
        paths.push(path);
    }
    lines
}

/// Worked out by hand: two profiles, a shared prefix, a leaf that is a caller elsewhere; children by name.
#[test]
fn stacks_become_a_tree() {
    let first = profile(&[(&["main", "work", "hash"], 10), (&["main", "work"], 5)]);
    let second = profile(&[(&["main", "idle"], 3), (&["main", "work", "hash"], 20)]);
    assert_eq!(
        lines(&graph(&[first, second])),
        [
            "total 0 38",
            "total;main 0 38",
            "total;main;idle 3 3",
            "total;main;work 5 35",
            "total;main;work;hash 30 30",
        ]
    );
}

/// One name in two modules is two functions; two lines of one function are one, shown with the hotter line.
#[test]
fn merged_by_name_and_module() {
    let graph = graph(&[profile(&[
        (&["/bin/a!f:7"], 10),
        (&["/bin/a!f:9"], 30),
        (&["/bin/b!f:1"], 5),
    ])]);
    let FlatNode(_, a, _, total) = graph.nodes[1];
    assert_eq!((&*graph.frames[a].module, total), ("/bin/a", 40));
    assert_eq!(graph.frames[a].line, Some(9));
    assert_eq!(&*graph.frames[a].file, "app.c");
    assert_eq!(graph.nodes.len(), 3);
}

/// Inlined functions of one location are nodes of their own, the outermost above.
#[test]
fn inlined_functions_are_callees() {
    let mut builder = ProfileBuilder::new(&PROCESS_CPU, 10, 1, 1);
    let mapping = builder.mapping(&Mapping::default());
    let mut line = |name| Line {
        function: builder.function(name, "", "", 0),
        line: 1,
    };
    let inlined = [line("inner"), line("outer")];
    let location = builder.location(mapping, 0, &inlined);
    builder.sample(&[location], &[4], &[]);
    assert_eq!(
        lines(&graph(&[builder.finish()])),
        ["total 0 4", "total;outer 0 4", "total;outer;inner 4 4"]
    );
}

/// What is below a twenty-thousandth is one child per parent, and no time is lost by it.
#[test]
fn small_nodes_are_folded() {
    let graph = graph(&[profile(&[
        (&["main"], 19_000),
        (&["main", "large"], 1_001),
        (&["main", "large", "tiny"], 1),
        (&["small1"], 1),
        (&["small2"], 1),
    ])]);
    assert_eq!(
        lines(&graph),
        [
            "total 0 20004",
            "total;(2 small) 2 2",
            "total;main 19000 20002",
            "total;main;large 1001 1002",
            "total;main;large;(1 small) 1 1",
        ]
    );
}

/// A profile of millions of distinct paths stays within bounds, and its total is the sum of its samples.
#[test]
fn bounded_whatever_comes() {
    let names: Vec<String> = (0..700).map(|n| format!("f{n}")).collect();
    let pairs = names
        .iter()
        .flat_map(|a| names.iter().map(move |b| [a.as_str(), b.as_str()]));
    let stacks: Vec<[&str; 2]> = pairs.collect();
    let stacks: Vec<(&[&str], i64)> = stacks.iter().map(|stack| (&stack[..], 1)).collect();
    let mut tree = Tree::new();
    tree.add(&profile(&stacks));
    assert!(tree.nodes.len() <= MAX_HELD);
    let graph = tree.finish();
    assert_eq!(graph.total, 490_000);
    assert!(graph.nodes.len() <= 100_000);
    let own: u64 = graph.nodes.iter().map(|node| node.2).sum();
    assert_eq!(own, 490_000);
}

/// Ids and indexes that point nowhere, negative and enormous values: names for what is missing, no panic, no loss.
#[test]
fn lying_profiles() {
    let sample = |location_id: Vec<u64>, value| pprof::Sample {
        location_id,
        value: vec![value],
        label: vec![],
    };
    let location = |id, function_id| pprof::Location {
        id,
        mapping_id: 99,
        address: 0x10,
        line: vec![pprof::Line {
            function_id,
            line: -5,
            column: 0,
        }],
        is_folded: false,
    };
    let lying = Profile {
        sample: vec![
            sample(vec![77], 5),
            sample(vec![1], 6),
            sample(vec![2], 7),
            sample(vec![], 8),
            sample(vec![1], -9),
            pprof::Sample::default(),
        ],
        location: vec![
            location(1, 98),
            location(2, 3),
            pprof::Location {
                line: vec![],
                ..location(4, 0)
            },
        ],
        function: vec![pprof::Function {
            id: 3,
            name: -1,
            ..Default::default()
        }],
        sample_type: vec![pprof::ValueType {
            r#type: i64::MAX,
            unit: i64::MIN,
        }],
        ..Profile::default()
    };
    let enormous = Profile {
        sample: vec![sample(vec![1], i64::MAX); 3],
        ..lying.clone()
    };
    assert_eq!(graph(&[enormous]).total, u64::MAX);
    let graph = graph(&[lying]);
    assert_eq!(graph.total, 5 + 6 + 7 + 8);
    let names: Vec<&str> = graph.frames.iter().map(|frame| &*frame.name).collect();
    assert!(names.contains(&"[unknown]") && names.contains(&"[unnamed]"));
}

/// A stack of a thousand frames is an array like any other.
#[test]
fn deep_stacks_are_flat() {
    let names: Vec<String> = (0..1000).map(|n| format!("f{n}")).collect();
    let stack: Vec<&str> = names.iter().map(String::as_str).collect();
    let json = serde_json::to_string(&graph(&[profile(&[(&stack, 1)])])).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["nodes"].as_array().unwrap().len(), 1001);
    assert_eq!(value["nodes"][1000], serde_json::json!([999, 1000, 1, 1]));
}
