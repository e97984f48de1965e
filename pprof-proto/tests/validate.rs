//! Each thing that Pyroscope refuses, drops or rewrites is found, under the name and with the verdict it has there.

mod common;

use common::{NOW, SECOND, builder};
use pprof_proto::builder::{Line, Mapping};
use pprof_proto::pprof::{
    Function, Label, Line as WireLine, Location, Mapping as WireMapping, Profile, ValueType,
};
use pprof_proto::validate::{Invalid, Verdict, validate};

/// Two stacks: `f` and `f` called by `g`. Strings: 1 cpu, 2 nanoseconds, 3 the comment, 4 /bin/p, 5 f, 6 g.
fn sound() -> Profile {
    let mut builder = builder();
    let mapping = builder.mapping(&Mapping {
        filename: "/bin/p",
        ..Mapping::default()
    });
    let [f, g] = ["f", "g"].map(|name| builder.function(name, "", "", 0));
    let f = builder.location(
        mapping,
        1,
        &[Line {
            function: f,
            line: 0,
        }],
    );
    let g = builder.location(
        mapping,
        2,
        &[Line {
            function: g,
            line: 0,
        }],
    );
    builder.sample(&[f], &[1], &[]);
    builder.sample(&[f, g], &[2], &[]);
    builder.finish()
}

fn add_string(profile: &mut Profile, text: &str) -> i64 {
    profile.string_table.push(text.to_owned());
    profile.string_table.len() as i64 - 1
}

type Flaw = (Invalid, fn(&mut Profile));

fn assert_found(verdict: Verdict, flaws: &[Flaw]) {
    for (expected, flaw) in flaws {
        let mut profile = sound();
        flaw(&mut profile);
        assert_eq!(validate(&profile, NOW).as_ref(), Err(expected));
        assert_eq!(expected.verdict(), verdict, "{expected}");
    }
}

/// A profile of the builder's has no flaw, and neither have those that the server normalizes without a loss.
#[test]
fn sound_profiles_pass() {
    assert_eq!(validate(&sound(), NOW), Ok(()));
    let harmless: [fn(&mut Profile); 10] = [
        // For the server's symbolizer to name.
        |p| {
            p.mapping[0].build_id = p.mapping[0].filename;
            p.mapping[0].has_functions = false;
            p.location[0].line.clear();
        },
        |p| p.period_type = None,
        |p| p.comment.push(99),
        |p| p.drop_frames = 99,
        |p| p.default_sample_type = -7,
        |p| {
            p.period_type = Some(ValueType {
                r#type: 77,
                unit: 77,
            })
        },
        |p| p.sample_type[0].unit = 99,
        |p| p.sample.push(p.sample[0].clone()),
        |p| {
            p.function.push(Function {
                id: 70,
                ..Function::default()
            })
        },
        |p| {
            p.sample[0].label.push(Label {
                key: 5,
                str: 6,
                ..Label::default()
            })
        },
    ];
    for change in harmless {
        let mut profile = sound();
        change(&mut profile);
        assert_eq!(validate(&profile, NOW), Ok(()));
    }
}

/// What is answered 400.
#[test]
fn refused_with_400() {
    let flaws: [Flaw; 18] = [
        (Invalid::NoSampleType, |p| p.sample_type.clear()),
        (Invalid::NoEmptyString, |p| p.string_table.clear()),
        (Invalid::NoEmptyString, |p| p.string_table[0] = "x".into()),
        (
            Invalid::NoString {
                field: "sample type",
                index: 7,
            },
            |p| p.sample_type[0].r#type = 7,
        ),
        (
            Invalid::NoString {
                field: "function",
                index: 7,
            },
            |p| p.function[1].system_name = 7,
        ),
        (
            Invalid::NoString {
                field: "mapping",
                index: i64::MAX,
            },
            |p| p.mapping[0].build_id = i64::MAX,
        ),
        (
            Invalid::NoString {
                field: "label",
                index: 8,
            },
            |p| {
                p.sample[0].label.push(Label {
                    key: 1,
                    str: 8,
                    ..Label::default()
                });
            },
        ),
        (Invalid::ZeroId("location"), |p| {
            p.location.push(Location::default())
        }),
        (Invalid::ZeroId("function"), |p| {
            p.function.push(Function::default())
        }),
        (
            Invalid::ValueCount {
                values: 2,
                sample_types: 1,
            },
            |p| p.sample[1].value.push(1),
        ),
        (
            Invalid::ValueCount {
                values: 0,
                sample_types: 1,
            },
            |p| p.sample[1].value.clear(),
        ),
        (Invalid::DashInSampleType("off-cpu".into()), |p| {
            p.sample_type[0].r#type = add_string(p, "off-cpu")
        }),
        (Invalid::TooManySamples(16_001), |p| {
            p.sample = vec![p.sample[0].clone(); 16_001]
        }),
        (Invalid::TooManySampleLabels(101), |p| {
            p.sample[0].label = vec![
                Label {
                    key: 1,
                    str: 1,
                    ..Label::default()
                };
                101
            ];
        }),
        (Invalid::CutInsideCharacter(65_536), |p| {
            add_string(p, &format!("é{}", "x".repeat(65_534)));
        }),
        (Invalid::TooOld(3601 * SECOND), |p| {
            p.time_nanos = NOW - 3601 * SECOND
        }),
        (Invalid::TooNew(601 * SECOND), |p| {
            p.time_nanos = NOW + 601 * SECOND
        }),
        // Seconds where nanoseconds are asked for.
        (Invalid::TooOld(NOW - NOW / SECOND), |p| {
            p.time_nanos = NOW / SECOND
        }),
    ];
    assert_found(Verdict::Rejected { status: 400 }, &flaws);
}

/// What is answered 500, as the server fails over it.
#[test]
fn refused_with_500() {
    let flaws: [Flaw; 5] = [
        (
            Invalid::NegativeString {
                field: "sample type",
                index: -1,
            },
            |p| p.sample_type[0].r#type = -1,
        ),
        (Invalid::NoLabelUnit(9), |p| {
            p.sample[0].label.push(Label {
                key: 1,
                str: 1,
                num_unit: 9,
                ..Label::default()
            });
        }),
        (Invalid::NoPeriodType(Box::new(Invalid::AllZero)), |p| {
            p.period_type = None;
            p.sample[0].value[0] = 0;
        }),
        (
            Invalid::NoPeriodType(Box::new(Invalid::NoLocation(3))),
            |p| {
                p.period_type = None;
                p.sample[0].location_id[0] = 3;
            },
        ),
        (
            Invalid::NegativeString {
                field: "mapping",
                index: i64::MIN,
            },
            |p| p.mapping[0].filename = i64::MIN,
        ),
    ];
    assert_found(Verdict::Rejected { status: 500 }, &flaws);
}

/// Sizes: above the burst the rate limiter never lets it through (429), above 4 MiB it is refused (400).
#[test]
fn sizes_are_checked_before_anything_else() {
    let with_ballast = |bytes: usize| {
        let mut profile = sound();
        let strings = bytes / 1000;
        profile
            .string_table
            .extend((0..strings).map(|_| "x".repeat(1000)));
        validate(&profile, NOW).map_err(|invalid| invalid.verdict())
    };
    assert_eq!(with_ballast(2_080_000), Ok(()));
    assert_eq!(
        with_ballast(2_110_000),
        Err(Verdict::Rejected { status: 429 })
    );
    assert_eq!(
        with_ballast(4_160_000),
        Err(Verdict::Rejected { status: 429 })
    );
    assert_eq!(
        with_ballast(4_200_000),
        Err(Verdict::Rejected { status: 400 })
    );
}

/// What is answered 200 and not kept, or not kept as it was.
#[test]
fn silently_dropped() {
    let flaws: [Flaw; 25] = [
        (Invalid::NoSamples, |p| p.sample.clear()),
        (Invalid::NoStack, |p| p.sample[0].location_id.clear()),
        (Invalid::NoLocation(0), |p| p.sample[0].location_id[0] = 0),
        (Invalid::NoLocation(3), |p| p.sample[0].location_id[0] = 3),
        (
            Invalid::NoMapping {
                location: 1,
                mapping: 2,
            },
            |p| p.location[0].mapping_id = 2,
        ),
        (
            Invalid::NoMapping {
                location: 1,
                mapping: 0,
            },
            |p| {
                p.mapping.push(WireMapping::default());
                p.location[0].mapping_id = 0;
            },
        ),
        (Invalid::MappingInvented(2), |p| {
            p.location[1].mapping_id = 0
        }),
        (
            Invalid::NoFunction {
                location: 2,
                function: 3,
            },
            |p| p.location[1].line[0].function_id = 3,
        ),
        (
            Invalid::NoFunction {
                location: 2,
                function: 0,
            },
            |p| p.location[1].line.push(WireLine::default()),
        ),
        (Invalid::NoLine(1), |p| p.location[0].line.clear()),
        (Invalid::NoLine(1), |p| {
            p.mapping[0].has_functions = false;
            p.location[0].line.clear();
        }),
        (
            Invalid::DuplicateId {
                table: "location",
                id: 1,
            },
            |p| p.location[1].id = 1,
        ),
        (
            Invalid::DuplicateId {
                table: "function",
                id: 1,
            },
            |p| p.function[1].id = 1,
        ),
        (
            Invalid::DuplicateId {
                table: "mapping",
                id: 1,
            },
            |p| p.mapping.push(p.mapping[0]),
        ),
        (Invalid::NegativeValue(-1), |p| p.sample[1].value[0] = -1),
        (Invalid::AllZero, |p| p.sample[1].value[0] = 0),
        (Invalid::TooDeep(1001), |p| {
            p.sample[1].location_id = vec![1; 1001]
        }),
        (Invalid::NumberLabel("f".into()), |p| {
            p.sample[0].label.push(Label {
                key: 5,
                num: 3,
                ..Label::default()
            });
        }),
        (Invalid::LongString(65_536), |p| {
            add_string(p, &"x".repeat(65_536));
        }),
        (Invalid::NoTime(0), |p| p.time_nanos = 0),
        (Invalid::NoTime(i64::MIN), |p| p.time_nanos = i64::MIN),
        (Invalid::DuplicateSampleType("cpu".into()), |p| {
            p.sample_type.push(p.sample_type[0]);
            p.sample.iter_mut().for_each(|sample| sample.value.push(1));
        }),
        (Invalid::ColonInSampleType("a:b".into()), |p| {
            p.sample_type[0].r#type = add_string(p, "a:b")
        }),
        (Invalid::TakenForGo("x.go".into()), |p| {
            p.string_table.insert(3, "x.go".into())
        }),
        (Invalid::TakenForGo("/usr/local/go/".into()), |p| {
            p.string_table[3] = "/usr/local/go/".into()
        }),
    ];
    assert_found(Verdict::SilentlyDropped, &flaws);
}

/// The limits themselves are allowed.
#[test]
fn limits_are_allowed() {
    let changes: [fn(&mut Profile); 6] = [
        |p| p.time_nanos = NOW - 3600 * SECOND,
        |p| p.time_nanos = NOW + 600 * SECOND,
        |p| p.sample = vec![p.sample[0].clone(); 16_000],
        |p| {
            p.sample[0].label = vec![
                Label {
                    key: 1,
                    str: 1,
                    ..Label::default()
                };
                100
            ]
        },
        |p| p.sample[0].location_id = vec![1; 1000],
        |p| {
            add_string(p, &"x".repeat(65_535));
        },
    ];
    for change in changes {
        let mut profile = sound();
        change(&mut profile);
        assert_eq!(validate(&profile, NOW), Ok(()));
    }
}

/// A refusal comes before a loss: the server never gets as far as losing something.
#[test]
fn refusals_come_first() {
    let mut profile = sound();
    profile.sample[0].location_id[0] = 99;
    profile.sample[1].value.clear();
    assert_eq!(
        validate(&profile, NOW),
        Err(Invalid::ValueCount {
            values: 0,
            sample_types: 1
        })
    );
}
