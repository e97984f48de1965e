//! Each label set that Pyroscope refuses or changes is found, with the verdict it has there.

use pprof_proto::labels::{InvalidLabels, validate_labels};
use pprof_proto::push::LabelPair;
use pprof_proto::validate::Verdict;

/// A sound set with `more` in it.
fn labels(more: &[(&str, &str)]) -> Vec<LabelPair> {
    let sound = [("__name__", "process_cpu"), ("service_name", "web")];
    let pair = |(name, value): &(&str, &str)| LabelPair {
        name: (*name).into(),
        value: (*value).into(),
    };
    sound.iter().chain(more).map(pair).collect()
}

/// Anything may be in a value, and a name may be as long as the server allows.
#[test]
fn sound_labels_pass() {
    let long = "n".repeat(1024);
    let value = "ü".repeat(1024);
    let set = labels(&[
        ("pod", "a\nb\0;c"),
        (&long, &value),
        ("_x9", " "),
        ("__x__", "kept"),
    ]);
    assert_eq!(validate_labels(&set), Ok(()));
    let many: Vec<_> = (0..28).map(|n| format!("l{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(validate_labels(&labels(&many)), Ok(()));
}

/// What is answered 400.
#[test]
fn refused() {
    let many: Vec<_> = (0..29).map(|n| format!("l{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let without_name = labels(&[])[1..].to_vec();
    let mut empty_service = labels(&[]);
    empty_service[1].value.clear();
    let mut empty_name = labels(&[]);
    empty_name[0].value.clear();
    let flaws = [
        (labels(&many), InvalidLabels::TooMany(31)),
        (labels(&[("", "x")]), InvalidLabels::EmptyName),
        (
            labels(&[(&"n".repeat(1025), "x")]),
            InvalidLabels::LongName(1025),
        ),
        (
            labels(&[("a", &"v".repeat(2049))]),
            InvalidLabels::LongValue {
                name: "a".into(),
                bytes: 2049,
            },
        ),
        (
            labels(&[("a", "x"), ("b", "x"), ("a", "x")]),
            InvalidLabels::Duplicate("a".into()),
        ),
        (
            labels(&[("service_name", "other")]),
            InvalidLabels::Duplicate("service_name".into()),
        ),
        (without_name, InvalidLabels::NoProfileName),
        (empty_name, InvalidLabels::NoProfileName),
        (empty_service, InvalidLabels::EmptyServiceName),
    ];
    for (set, expected) in flaws {
        assert_eq!(validate_labels(&set), Err(expected.clone()));
        assert_eq!(expected.verdict(), Verdict::Rejected { status: 400 });
    }
}

/// What is answered 200 and dropped, hidden or rewritten.
#[test]
fn silently_dropped() {
    let named = |name: &str| {
        let mut set = labels(&[]);
        set[0].value = name.into();
        (set, InvalidLabels::ProfileName(name.into()))
    };
    let hidden = |name: &str| {
        (
            labels(&[(name, "x")]),
            InvalidLabels::HiddenName(name.into()),
        )
    };
    let reserved = |name: &str| {
        (
            labels(&[(name, "x")]),
            InvalidLabels::ReservedName(name.into()),
        )
    };
    let flaws = [
        (labels(&[])[..1].to_vec(), InvalidLabels::NoServiceName),
        (
            labels(&[("pod", "")]),
            InvalidLabels::EmptyValue("pod".into()),
        ),
        hidden("a.b"),
        hidden("a-b"),
        hidden("9a"),
        hidden("a b"),
        hidden("größe"),
        reserved("service_git_ref"),
        reserved("__profile_type__"),
        reserved("__session_id__"),
        named("process cpu"),
        named("a:b"),
        named("godeltaprof_memory"),
    ];
    for (set, expected) in flaws {
        assert_eq!(validate_labels(&set), Err(expected.clone()));
        assert_eq!(expected.verdict(), Verdict::SilentlyDropped);
    }
}
