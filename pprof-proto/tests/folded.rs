//! Folded stacks, line for line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{PERIOD, Random, Truth, add_random, builder, read};
use pprof_proto::Malformed;
use pprof_proto::builder::{LabelValue, Line, Mapping, ProfileBuilder};
use pprof_proto::folded::{Count, FoldedError, write_folded};
use pprof_proto::pprof::Profile;

fn folded(profile: &Profile, count: Count) -> String {
    let mut out = Vec::new();
    write_folded(profile, count, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Adds a sample whose frames, root first, have these names.
fn add(
    builder: &mut ProfileBuilder,
    names: &[&str],
    value: i64,
    labels: &[(&str, LabelValue<'_>)],
) {
    let mapping = builder.mapping(&Mapping {
        filename: "/lib/x.so",
        ..Mapping::default()
    });
    let mut stack: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, address)| {
            let function = builder.function(name, "", "", 0);
            builder.location(mapping, address, &[Line { function, line: 0 }])
        })
        .collect();
    stack.reverse();
    builder.sample(&stack, &[value], labels);
}

/// Root first, sorted, equal texts merged over threads, the command before the root if there is one.
#[test]
fn lines_are_sorted_and_merged() {
    let mut builder = builder();
    let thread = |tid| {
        [
            ("comm", LabelValue::Text("web")),
            ("tid", LabelValue::Number(tid)),
        ]
    };
    add(
        &mut builder,
        &["main", "b c", "leaf"],
        2 * PERIOD,
        &thread(1),
    );
    add(
        &mut builder,
        &["main", "b c", "leaf"],
        3 * PERIOD,
        &thread(2),
    );
    add(&mut builder, &["main", "b c"], PERIOD, &thread(1));
    add(&mut builder, &["a"], PERIOD, &[]);
    let profile = builder.finish();
    assert_eq!(
        folded(&profile, Count::Periods),
        "a 1\nweb;main;b c 1\nweb;main;b c;leaf 5\n"
    );
    let values = format!(
        "a {PERIOD}\nweb;main;b c {PERIOD}\nweb;main;b c;leaf {}\n",
        5 * PERIOD
    );
    assert_eq!(folded(&profile, Count::Value), values);
}

/// What would break a line or a frame in two is replaced, in names and commands; nothing of the text reaches a terminal raw.
#[test]
fn separators_inside_names_are_replaced() {
    let mut builder = builder();
    let comm = [("comm", LabelValue::Text("sh;x"))];
    add(&mut builder, &["operator;()", "", "tail 7"], PERIOD, &comm);
    let mut profile = builder.finish();
    assert_eq!(
        folded(&profile, Count::Periods),
        "sh:x;operator:();[unnamed];tail 7 1\n"
    );
    // A profile of another writer, with what the builder would not let in.
    for string in &mut profile.string_table {
        *string = string.replace("tail 7", "a\nb\r\x1b[2J\0");
    }
    let text = folded(&profile, Count::Periods);
    assert_eq!(
        text,
        "sh:x;operator:();[unnamed];a\u{fffd}b\u{fffd}\u{fffd}[2J\u{fffd} 1\n"
    );
}

/// Inlined functions come after the one they are inlined into; a place without lines is named by file and address.
#[test]
fn inlined_and_unnamed_frames() {
    let mut builder = builder();
    let mapping = builder.mapping(&Mapping {
        filename: "/lib/x.so",
        ..Mapping::default()
    });
    let [outer, inner] = ["outer", "inner"].map(|name| builder.function(name, "", "", 0));
    let lines = [
        Line {
            function: inner,
            line: 1,
        },
        Line {
            function: outer,
            line: 2,
        },
    ];
    let leaf = builder.location(mapping, 1, &lines);
    let root = builder.location(mapping, 0x20, &[]);
    builder.sample(&[leaf, root], &[PERIOD], &[]);
    let mut profile = builder.finish();
    assert_eq!(
        folded(&profile, Count::Periods),
        "x.so+0x20;outer;inner 1\n"
    );
    profile.location[1].line.clear();
    assert_eq!(
        folded(&profile, Count::Periods),
        "x.so+0x20;outer;inner 1\n"
    );
    profile.location[1].mapping_id = 0;
    assert_eq!(
        folded(&profile, Count::Periods),
        "[unknown]+0x20;outer;inner 1\n"
    );
}

/// Values to sample counts: to the nearest, never to nothing, after lines are merged; without a period, the value.
#[test]
fn values_become_counts() {
    let count = |values: &[i64], period| {
        let mut builder = builder();
        for (tid, value) in (0..).zip(values) {
            add(
                &mut builder,
                &["f"],
                *value,
                &[("tid", LabelValue::Number(tid))],
            );
        }
        let profile = Profile {
            period,
            ..builder.finish()
        };
        folded(&profile, Count::Periods)
    };
    assert_eq!(count(&[14], 10), "f 1\n");
    assert_eq!(count(&[15], 10), "f 2\n");
    assert_eq!(count(&[3], 10), "f 1\n");
    assert_eq!(count(&[4, 4, 4], 10), "f 1\n");
    assert_eq!(count(&[7], 0), "f 7\n");
    assert_eq!(count(&[i64::MAX, i64::MAX], 1), format!("f {}\n", i64::MAX));
}

/// Random stacks: the folded lines hold what the second reader finds, labels aside.
#[test]
fn random_stacks_are_all_there() {
    let mut builder = builder();
    add_random(&mut Random::new(7), 1000, &mut builder, &mut Truth::new());
    let profile = builder.finish();
    let mut truth = Truth::new();
    for (stack, value) in read(&profile) {
        let stack = match stack.split_once("comm=worker tid=") {
            Some((_, rest)) => format!("worker;{}", rest.split_once(' ').unwrap().1),
            None => stack,
        };
        *truth.entry(stack).or_default() += value / PERIOD;
    }
    let lines: Vec<_> = truth
        .iter()
        .map(|(stack, count)| format!("{stack} {count}\n"))
        .collect();
    assert_eq!(folded(&profile, Count::Periods), lines.concat());
}

/// A dangling reference is an error.
#[test]
fn dangling_references_are_errors() {
    let mut builder = builder();
    add(&mut builder, &["f"], 1, &[]);
    let mut profile = builder.finish();
    profile.sample[0].location_id[0] = 2;
    let error = write_folded(&profile, Count::Value, std::io::sink()).unwrap_err();
    assert!(matches!(
        error,
        FoldedError::Malformed(Malformed::NoLocation(2))
    ));
}
