//! The builder's profiles, read by the `pprof` crate's own types.

mod common;

use std::collections::HashSet;

use common::{NOW, PERIOD, Random, SECOND, Truth, add_random, builder, read, theirs};
use pprof_proto::builder::{LabelValue, Line, MAX_DEPTH, Mapping, ProfileBuilder};
use pprof_proto::kind::{PROCESS_CPU, ProfileKind, Quantity};
use pprof_proto::validate::validate;
use prost::Message;

const PROGRAM: Mapping<'static> = Mapping {
    filename: "/bin/p",
    build_id: "beef",
    memory_start: 0x1000,
    memory_limit: 0x2000,
    file_offset: 0x1000,
};

/// The bytes of a small profile, put together by hand from the format's definition: tags, lengths, varints.
#[test]
fn bytes_are_those_of_the_format() {
    let mut builder = ProfileBuilder::new(&PROCESS_CPU, 100, 5, 7);
    let mapping = builder.mapping(&PROGRAM);
    let function = builder.function("f", "", "a.c", 3);
    let leaf = builder.location(mapping, 0x1010, &[Line { function, line: 4 }]);
    builder.sample(&[leaf], &[300], &[("pid", LabelValue::Number(9))]);
    let golden: [&[u8]; 16] = [
        b"\x0a\x04\x08\x01\x10\x02", // sample type: name 1, unit 2
        b"\x12\x0d\x0a\x01\x01\x12\x02\xac\x02\x1a\x04\x08\x08\x18\x09", // sample: location 1, value 300, label 8 = 9
        b"\x1a\x15\x08\x01\x10\x80\x20\x18\x80\x40\x20\x80\x20", // mapping 1: start, limit, offset
        b"\x28\x04\x30\x05\x38\x01\x40\x01\x48\x01", // its file 4, build id 5, three of four flags
        b"\x22\x0d\x08\x01\x10\x01\x18\x90\x20\x22\x04\x08\x01\x10\x04", // location 1: mapping 1, 0x1010, line 4
        b"\x2a\x08\x08\x01\x10\x06\x20\x07\x28\x03", // function 1: name 6, file 7, line 3
        b"\x32\x00\x32\x03cpu",
        b"\x32\x0bnanoseconds",
        b"\x32\x17thermograph src/main.rs",
        b"\x32\x06/bin/p\x32\x04beef",
        b"\x32\x01f",
        b"\x32\x03a.c",
        b"\x32\x03pid",
        b"\x48\x05\x50\x07",                 // time, duration
        b"\x5a\x04\x08\x01\x10\x02\x60\x64", // period type, period
        b"\x6a\x01\x03",                     // comment 3
    ];
    assert_eq!(builder.finish().encode_to_vec(), golden.concat());
}

/// 3,000 random stacks come out as they went in, in a profile without a flaw: unique strings, dense ids, no sample twice,
/// nothing that the server would refuse or change but the number labels.
#[test]
fn random_stacks_survive() {
    let (mut builder, mut truth) = (builder(), Truth::new());
    add_random(&mut Random::new(1), 3000, &mut builder, &mut truth);
    let profile = builder.finish();
    assert_eq!(read(&profile), truth);
    assert_eq!(profile.sample.len(), truth.len());

    let strings: HashSet<_> = profile.string_table.iter().collect();
    assert_eq!(strings.len(), profile.string_table.len());
    assert!(
        (1..)
            .zip(&profile.location)
            .all(|(id, location): (u64, _)| location.id == id)
    );
    assert!(
        (1..)
            .zip(&profile.function)
            .all(|(id, function): (u64, _)| function.id == id)
    );
    assert!(
        (1..)
            .zip(&profile.mapping)
            .all(|(id, mapping): (u64, _)| mapping.id == id)
    );
    let functions: HashSet<_> = profile
        .function
        .iter()
        .map(|f| (f.name, f.system_name, f.start_line))
        .collect();
    assert_eq!(functions.len(), profile.function.len());
    let locations: HashSet<_> = profile
        .location
        .iter()
        .map(|l| (l.mapping_id, l.address))
        .collect();
    assert_eq!(locations.len(), profile.location.len());
    assert_eq!(profile.mapping.len(), 3);

    let mut without_labels = profile;
    without_labels
        .sample
        .iter_mut()
        .for_each(|sample| sample.label.clear());
    assert_eq!(validate(&without_labels, NOW), Ok(()));
}

/// Every field, as the `pprof` crate sees it.
#[test]
fn fields_are_where_they_belong() {
    let mut builder = builder();
    let mapping = builder.mapping(&PROGRAM);
    let outer = builder.function("outer()", "_Z5outerv", "outer.cc", 10);
    let inner = builder.function("inner()", "_Z5innerv", "inner.h", 20);
    let place = builder.location(
        mapping,
        0x1234,
        &[
            Line {
                function: inner,
                line: 21,
            },
            Line {
                function: outer,
                line: 11,
            },
        ],
    );
    let labels = [
        ("comm", LabelValue::Text("p")),
        ("pid", LabelValue::Number(42)),
    ];
    builder.sample(&[place, place], &[5], &labels);
    let profile = theirs(&builder.finish());

    let text = |index: i64| profile.string_table[index as usize].as_str();
    assert_eq!(profile.time_nanos, NOW - 15 * SECOND);
    assert_eq!(profile.duration_nanos, 15 * SECOND);
    assert_eq!(profile.period, PERIOD);
    let types = [
        &profile.sample_type[0],
        profile.period_type.as_ref().unwrap(),
    ];
    assert!(
        types
            .iter()
            .all(|t| (text(t.ty), text(t.unit)) == ("cpu", "nanoseconds"))
    );

    let sample = &profile.sample[0];
    assert_eq!(
        (&sample.location_id, &sample.value),
        (&vec![1, 1], &vec![5])
    );
    assert_eq!(
        (text(sample.label[0].key), text(sample.label[0].str)),
        ("comm", "p")
    );
    assert_eq!(
        (text(sample.label[1].key), sample.label[1].num),
        ("pid", 42)
    );

    let mapping = &profile.mapping[0];
    assert_eq!(
        (
            mapping.memory_start,
            mapping.memory_limit,
            mapping.file_offset
        ),
        (0x1000, 0x2000, 0x1000)
    );
    assert_eq!(
        (text(mapping.filename), text(mapping.build_id)),
        ("/bin/p", "beef")
    );

    let location = &profile.location[0];
    assert_eq!((location.mapping_id, location.address), (1, 0x1234));
    let lines: Vec<_> = location
        .line
        .iter()
        .map(|line| (line.function_id, line.line))
        .collect();
    assert_eq!(lines, [(2, 21), (1, 11)]);
    let function = &profile.function[1];
    assert_eq!(
        (text(function.name), text(function.system_name)),
        ("inner()", "_Z5innerv")
    );
    assert_eq!(
        (text(function.filename), function.start_line),
        ("inner.h", 20)
    );
}

/// A mapping's flags say what its locations carry, and nothing more.
#[test]
fn flags_are_true() {
    let mut builder = builder();
    let [full, bare, unused] = ["full", "bare", "unused"].map(|filename| {
        builder.mapping(&Mapping {
            filename,
            ..PROGRAM
        })
    });
    let known = builder.function("known", "", "file.c", 0);
    let unknown = builder.function("unknown", "", "", 0);
    let first = builder.location(
        full,
        1,
        &[Line {
            function: unknown,
            line: 0,
        }],
    );
    let second = builder.location(
        full,
        2,
        &[
            Line {
                function: known,
                line: 3,
            },
            Line {
                function: unknown,
                line: 0,
            },
        ],
    );
    let third = builder.location(bare, 3, &[]);
    builder.sample(&[first, second, third], &[1], &[]);
    let _ = unused;
    let profile = builder.finish();
    let flags: Vec<_> = profile
        .mapping
        .iter()
        .map(|m| {
            [
                m.has_functions,
                m.has_filenames,
                m.has_line_numbers,
                m.has_inline_frames,
            ]
        })
        .collect();
    assert_eq!(flags, [[true; 4], [true, false, false, false], [false; 4]]);
}

/// The strings begin with "", the sample types' and the comment, so that a Go program's file names come after the one that
/// says the profile is none of Go's; a kind that is not ours to know goes the same way.
#[test]
fn the_comment_comes_before_any_name() {
    const OFF_CPU: ProfileKind = ProfileKind {
        name: "offcpu",
        sample_types: &[
            Quantity {
                name: "offcpu",
                unit: "nanoseconds",
            },
            Quantity {
                name: "waits",
                unit: "count",
            },
        ],
        period_type: Quantity { name: "", unit: "" },
    };
    let mut builder = ProfileBuilder::new(&OFF_CPU, 0, NOW, SECOND);
    let mapping = builder.mapping(&PROGRAM);
    let function = builder.function("main.main", "main.main", "/src/main.go", 3);
    let main = builder.location(mapping, 1, &[Line { function, line: 4 }]);
    builder.sample(&[main], &[7, 1], &[]);
    builder.sample(&[main], &[3, 1], &[]);
    let profile = builder.finish();
    assert_eq!(validate(&profile, NOW), Ok(()));
    assert_eq!(
        profile.string_table[..6],
        [
            "",
            "offcpu",
            "nanoseconds",
            "waits",
            "count",
            "thermograph src/main.rs"
        ]
    );
    assert_eq!(profile.comment, [5]);
    assert_eq!(profile.period_type, Some(Default::default()));
    assert_eq!(profile.sample[0].value, [10, 2]);
}

/// Equal samples are one, and others are not; sums stop at the largest number; a sample of zeros is none.
#[test]
fn equal_samples_are_added() {
    let mut builder = builder();
    assert!(builder.is_empty());
    let mapping = builder.mapping(&PROGRAM);
    let [a, b] = [1, 2].map(|address| builder.location(mapping, address, &[]));
    let tid = |tid| [("tid", LabelValue::Number(tid))];
    builder.sample(&[a, b], &[3], &[]);
    builder.sample(&[a, b], &[4], &[]);
    builder.sample(&[b, a], &[1], &[]);
    builder.sample(&[a], &[2], &[]);
    builder.sample(&[a, b], &[5], &tid(1));
    builder.sample(&[a, b], &[6], &tid(2));
    builder.sample(&[a, b], &[7], &tid(1));
    builder.sample(&[b], &[i64::MAX - 1], &[]);
    builder.sample(&[b], &[5], &[]);
    builder.sample(&[a, a], &[0], &[]);
    assert!(!builder.is_empty());
    let values: Vec<_> = builder
        .finish()
        .sample
        .iter()
        .map(|sample| sample.value[0])
        .collect();
    assert_eq!(values, [7, 1, 2, 12, 6, i64::MAX]);
}

/// A deep stack keeps both its ends and says how much is missing between them; one at the limit keeps all.
#[test]
fn deep_stacks_are_cut_in_the_middle() {
    let mut builder = builder();
    let mapping = builder.mapping(&PROGRAM);
    let stack: Vec<_> = (0..5000)
        .map(|address| builder.location(mapping, address, &[]))
        .collect();
    builder.sample(&stack, &[1], &[]);
    builder.sample(&stack[..MAX_DEPTH], &[1], &[]);
    builder.sample(&stack[..MAX_DEPTH + 1], &[1], &[]);
    let profile = builder.finish();
    assert_eq!(validate(&profile, NOW), Ok(()));
    let names = |sample: usize| -> Vec<&str> {
        let ids = profile.sample[sample].location_id.iter();
        ids.map(|id| {
            let function = profile.location[*id as usize - 1].line[0].function_id;
            profile.string_table[profile.function[function as usize - 1].name as usize].as_str()
        })
        .collect()
    };
    let deep = names(0);
    assert_eq!(deep.len(), MAX_DEPTH);
    assert_eq!(
        (deep[0], deep[498], deep[499]),
        ("p+0x0", "p+0x1f2", "[4001 frames left out]")
    );
    assert_eq!((deep[500], deep[999]), ("p+0x1194", "p+0x1387"));
    assert_eq!((names(1).len(), names(1)[499]), (MAX_DEPTH, "p+0x1f3"));
    assert_eq!(names(2)[499], "[2 frames left out]");
}

/// A stack without frames gets one, for the server would show it nowhere.
#[test]
fn empty_stacks_are_kept() {
    let mut builder = builder();
    builder.sample(&[], &[3], &[]);
    let profile = builder.finish();
    assert_eq!(validate(&profile, NOW), Ok(()));
    assert_eq!(
        read(&profile),
        Truth::from([("[empty stack]".to_owned(), 3)])
    );
}

/// Names of any content and length make a profile the server keeps as it is.
#[test]
fn hostile_names_are_tamed() {
    let long = "é".repeat(100_000);
    let mut builder = builder();
    for name in [
        long.as_str(),
        "",
        "\0",
        "a\nb",
        "\u{1b}[31m",
        "🦀".repeat(400).as_str(),
        "/usr/local/go/x.go",
    ] {
        let mapping = builder.mapping(&Mapping {
            filename: name,
            build_id: name,
            ..PROGRAM
        });
        let function = builder.function(name, name, name, u32::MAX);
        let place = builder.location(
            mapping,
            u64::MAX,
            &[Line {
                function,
                line: u32::MAX,
            }],
        );
        let unnamed = builder.location(mapping, 0, &[]);
        builder.sample(&[place, unnamed], &[1], &[(name, LabelValue::Text("x"))]);
    }
    let profile = builder.finish();
    assert_eq!(validate(&profile, NOW), Ok(()));
    assert!(
        profile
            .string_table
            .iter()
            .all(|string| string.len() <= 1024)
    );
    assert_eq!(profile.sample.len(), 7);
}
