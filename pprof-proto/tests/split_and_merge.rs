//! Splitting and merging conserve every value of every stack.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{NOW, PERIOD, Random, SECOND, Truth, add_random, builder, read};
use pprof_proto::Malformed;
use pprof_proto::builder::{Line, Mapping, ProfileBuilder};
use pprof_proto::kind::{PROCESS_CPU, ProfileKind, Quantity};
use pprof_proto::merge::{MergeError, Merger};
use pprof_proto::pprof::{Location, Profile};
use pprof_proto::split::{MAX_BYTES, MAX_SAMPLES, split};
use pprof_proto::validate::{Invalid, validate};
use prost::Message;

fn merge<'p>(profiles: impl IntoIterator<Item = &'p Profile>) -> Profile {
    let mut merger = Merger::new();
    for profile in profiles {
        merger.add(profile).unwrap();
    }
    merger.finish().unwrap()
}

fn sum(profiles: &[Profile]) -> Truth {
    let mut sum = Truth::new();
    for (stack, value) in profiles.iter().flat_map(read) {
        *sum.entry(stack).or_default() += value;
    }
    sum
}

/// A profile whose samples have one frame each, a name of `name_bytes` bytes.
fn wide(samples: usize, name_bytes: usize) -> Profile {
    let mut builder = builder();
    let mapping = builder.mapping(&Mapping {
        filename: "/bin/wide",
        ..Mapping::default()
    });
    for n in 0..samples {
        let function = builder.function(&format!("{n:0name_bytes$}"), "", "", 0);
        let place = builder.location(mapping, n as u64, &[Line { function, line: 1 }]);
        builder.sample(&[place], &[PERIOD], &[]);
    }
    builder.finish()
}

fn assert_whole(parts: &[Profile], whole: &Profile) {
    for part in parts {
        assert_eq!(validate(part, NOW), Ok(()));
        assert!(part.sample.len() <= MAX_SAMPLES && part.encoded_len() <= MAX_BYTES);
        assert_eq!(part.string_table[..4], whole.string_table[..4]);
        assert_eq!(
            (part.time_nanos, part.duration_nanos),
            (whole.time_nanos, whole.duration_nanos)
        );
        assert_eq!(
            (part.period, part.period_type),
            (whole.period, whole.period_type)
        );
        assert_eq!(part.comment, whole.comment);
    }
}

/// A profile within the limits comes back as the same value, not even copied.
#[test]
fn small_profiles_pass() {
    let (mut builder, mut truth) = (builder(), Truth::new());
    add_random(&mut Random::new(2), 1000, &mut builder, &mut truth);
    let profile = builder.finish();
    let strings = profile.string_table.as_ptr();
    let copy = profile.clone();
    let parts = split(profile).unwrap();
    assert_eq!(parts, [copy]);
    assert_eq!(parts[0].string_table.as_ptr(), strings);
}

/// One sample more than allowed makes two parts, and every part is a profile of its own.
#[test]
fn too_many_samples_are_split() {
    let whole = wide(MAX_SAMPLES + 1, 8);
    let parts = split(whole.clone()).unwrap();
    assert_eq!(parts.len(), 2);
    assert_whole(&parts, &whole);
    assert_eq!(sum(&parts), read_wide(&whole));
}

/// Bytes count too, and a part carries only the names it uses.
#[test]
fn too_many_bytes_are_split() {
    let whole = wide(4000, 1000);
    assert!(whole.encoded_len() > 2 * MAX_BYTES);
    let parts = split(whole.clone()).unwrap();
    assert_eq!(parts.len(), 4);
    assert_whole(&parts, &whole);
    assert_eq!(sum(&parts), read_wide(&whole));
}

/// The truth of [`wide`], which the slow second reader would take long for.
fn read_wide(profile: &Profile) -> Truth {
    profile
        .function
        .iter()
        .map(|f| (profile.string_table[f.name as usize].clone(), PERIOD))
        .collect()
}

/// Random profiles with labels and shared frames, made too large by ballast: the parts add up to the whole, and merged again
/// they have each stack once.
#[test]
fn parts_add_up_and_merge_back() {
    for seed in 1..=3 {
        let (mut builder, mut truth) = (builder(), Truth::new());
        add_random(&mut Random::new(seed), 2000, &mut builder, &mut truth);
        let mapping = builder.mapping(&Mapping::default());
        for n in 0..400 {
            let names: Vec<_> = (0..10)
                .map(|part| format!("{n}-{part}{}", "x".repeat(900)))
                .collect();
            let lines: Vec<_> = names
                .iter()
                .map(|name| Line {
                    function: builder.function(name, "", "", 0),
                    line: 1,
                })
                .collect();
            let place = builder.location(mapping, n, &lines);
            builder.sample(&[place], &[1 + n as i64], &[]);
            let text: Vec<_> = names.iter().rev().map(String::as_str).collect();
            truth.insert(text.join(";"), 1 + n as i64);
        }
        let whole = builder.finish();
        let samples = whole.sample.len();
        let parts = split(whole).unwrap();
        assert!(parts.len() > 2, "{}", parts.len());
        assert_eq!(sum(&parts), truth);
        let merged = merge(&parts);
        assert_eq!(merged.sample.len(), samples);
        assert_eq!(read(&merged), truth);
    }
}

/// A sample that no split can make small enough is not lost on the way: it is refused where it can be counted.
#[test]
fn a_giant_sample_is_left_to_validation() {
    let mut builder = builder();
    let mapping = builder.mapping(&Mapping {
        filename: "/bin/giant",
        ..Mapping::default()
    });
    let lines: Vec<_> = (0..3000)
        .map(|n| Line {
            function: builder.function(&format!("{n:01000}"), "", "", 0),
            line: 1,
        })
        .collect();
    let giant = builder.location(mapping, 1, &lines);
    let small = builder.location(mapping, 2, &[]);
    builder.sample(&[giant], &[7], &[]);
    builder.sample(&[small], &[8], &[]);
    let parts = split(builder.finish()).unwrap();
    let values: Vec<_> = parts.iter().map(|part| part.sample[0].value[0]).collect();
    assert_eq!(values, [7, 8]);
    assert!(matches!(
        validate(&parts[0], NOW),
        Err(Invalid::OverBurst(_))
    ));
    assert_eq!(validate(&parts[1], NOW), Ok(()));
}

/// Random profiles, merged: values added, equal entries once, and the result is without a flaw.
#[test]
fn merged_values_are_added() {
    let mut truth = Truth::new();
    let profiles: Vec<_> = (10..15)
        .map(|seed| {
            let mut builder = builder();
            add_random(&mut Random::new(seed), 500, &mut builder, &mut truth);
            builder.finish()
        })
        .collect();
    let merged = merge(&profiles);
    assert_eq!(read(&merged), truth);
    assert_eq!(merged.sample.len(), truth.len());
    assert_eq!(merged.mapping.len(), 3);
    assert_eq!(merged.comment.len(), 1);
    let places: std::collections::HashSet<_> = merged
        .location
        .iter()
        .map(|place| (place.mapping_id, place.address))
        .collect();
    assert_eq!(places.len(), merged.location.len());
    assert!(
        merged
            .mapping
            .iter()
            .all(|mapping| mapping.has_functions && mapping.has_inline_frames)
    );
}

/// The merge of one profile holds what that profile holds, though numbered by first use.
#[test]
fn a_merge_of_one_changes_nothing() {
    let (mut builder, mut truth) = (builder(), Truth::new());
    add_random(&mut Random::new(4), 300, &mut builder, &mut truth);
    let profile = builder.finish();
    let merged = merge([&profile]);
    assert_eq!(read(&merged), truth);
    let sizes = |p: &Profile| {
        [
            p.sample.len(),
            p.location.len(),
            p.function.len(),
            p.mapping.len(),
            p.string_table.len(),
        ]
    };
    assert_eq!(sizes(&merged), sizes(&profile));
    assert_eq!(merge([&merged]), merged);
}

/// Overlaps count once, gaps not at all; the start is the earliest, the period the largest.
#[test]
fn the_duration_is_the_time_covered() {
    let profile = |start: i64, seconds: i64, period: i64| {
        let mut builder =
            ProfileBuilder::new(&PROCESS_CPU, period, start * SECOND, seconds * SECOND);
        builder.sample(&[], &[1], &[]);
        builder.finish()
    };
    let merged = merge(&[
        profile(115, 15, 5),
        profile(100, 15, 7),
        profile(100, 15, 7),
        profile(105, 5, 6),
        profile(120, 20, 5),
        profile(1000, 1, 1),
    ]);
    assert_eq!(merged.time_nanos, 100 * SECOND);
    assert_eq!(merged.duration_nanos, 41 * SECOND);
    assert_eq!(merged.period, 7);
    assert_eq!(merged.sample[0].value, [6]);
    let extreme = merge(&[
        profile(0, 1, 1),
        ProfileBuilder::new(&PROCESS_CPU, 1, i64::MIN, i64::MAX).finish(),
    ]);
    assert_eq!(
        (extreme.time_nanos, extreme.duration_nanos),
        (i64::MIN, i64::MAX)
    );
}

/// Sums stop at the largest number instead of turning negative.
#[test]
fn merged_values_saturate() {
    let mut builder = builder();
    builder.sample(&[], &[i64::MAX - 1], &[]);
    let profile = builder.finish();
    assert_eq!(merge([&profile, &profile]).sample[0].value, [i64::MAX]);
}

/// What measures something else is refused, with both named, and leaves the sum as it was.
#[test]
fn other_kinds_are_refused() {
    const OFF_CPU: ProfileKind = ProfileKind {
        name: "offcpu",
        sample_types: &[Quantity {
            name: "offcpu",
            unit: "nanoseconds",
        }],
        period_type: Quantity { name: "", unit: "" },
    };
    let cpu = wide(3, 8);
    let mut merger = Merger::new();
    merger.add(&cpu).unwrap();
    let error = merger
        .add(&ProfileBuilder::new(&OFF_CPU, 0, NOW, SECOND).finish())
        .unwrap_err();
    assert!(matches!(error, MergeError::OtherKind { .. }));
    assert!(
        error.to_string().contains("offcpu/nanoseconds")
            && error.to_string().contains("cpu/nanoseconds")
    );
    assert_eq!(merger.finish().unwrap(), merge([&cpu]));
    assert_eq!(Merger::new().finish(), None);
}

type Fault = (fn(&mut Profile), Malformed);

/// A profile that contradicts itself is an error in both, wherever the fault lies, and costs a sum nothing.
#[test]
fn dangling_references_are_errors() {
    let sound = wide(3, 8);
    let faults: [Fault; 11] = [
        (
            |p| p.sample[2].location_id = vec![99_999],
            Malformed::NoLocation(99_999),
        ),
        (
            |p| p.sample[2].location_id = vec![0],
            Malformed::NoLocation(0),
        ),
        (
            |p| p.sample[1].location_id = vec![u64::MAX],
            Malformed::NoLocation(u64::MAX),
        ),
        (|p| p.location[1].mapping_id = 9, Malformed::NoMapping(9)),
        (
            |p| p.location[1].line[0].function_id = 0,
            Malformed::NoFunction(0),
        ),
        (|p| p.function[0].name = -1, Malformed::NoString(-1)),
        (
            |p| p.mapping[0].build_id = i64::MAX,
            Malformed::NoString(i64::MAX),
        ),
        (|p| p.string_table.clear(), Malformed::NoString(1)),
        (
            |p| p.location.push(Location::default()),
            Malformed::BadId {
                table: "location",
                id: 0,
            },
        ),
        (
            |p| p.function[2].id = 1,
            Malformed::BadId {
                table: "function",
                id: 1,
            },
        ),
        (
            |p| p.sample[2].value.push(1),
            Malformed::ValueCount {
                values: 2,
                sample_types: 1,
            },
        ),
    ];
    for (break_it, expected) in faults {
        let mut broken = sound.clone();
        break_it(&mut broken);
        let mut merger = Merger::new();
        merger.add(&sound).unwrap();
        assert_eq!(merger.add(&broken), Err(MergeError::Malformed(expected)));
        assert_eq!(merger.finish().unwrap(), merge([&sound]));

        let mut large = wide(MAX_SAMPLES + 1, 8);
        break_it(&mut large);
        assert_eq!(split(large), Err(expected));
    }
}

/// Ids that are neither dense nor in order, as other writers make them, are followed.
#[test]
fn sparse_ids_are_followed() {
    let mut profile = wide(3, 8);
    let truth = read(&profile);
    for location in &mut profile.location {
        location.id = 1000 - location.id;
        location.line[0].function_id *= 7;
        location.mapping_id = u64::MAX;
    }
    profile
        .function
        .iter_mut()
        .for_each(|function| function.id *= 7);
    profile.mapping[0].id = u64::MAX;
    for sample in &mut profile.sample {
        sample.location_id[0] = 1000 - sample.location_id[0];
    }
    profile.location.reverse();
    let merged = merge([&profile]);
    assert_eq!(read(&merged), truth);
    assert_eq!(validate(&merged, NOW), Ok(()));
}
