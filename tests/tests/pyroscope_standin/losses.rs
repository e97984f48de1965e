//! What is lost behind a 200.

use super::*;
use pprof_proto::labels::validate_labels;
use pprof_proto::validate::{Verdict, validate};

/// Text that names the loss, and how to bring it about.
type Loss = (&'static str, fn(&mut Profile, &mut Vec<LabelPair>));

/// What `pprof-proto` lets pass: legal and odd, or seen only in profile and labels together.
const NOT_FORETOLD: [&str; 4] = [
    "string labels",
    "future",
    "no period type",
    "looks like Go's",
];

/// Each thing the real server loses or changes behind a 200 is answered 200 here too, and named; `pprof-proto` foretells it,
/// from another reading of the same rules.
#[test]
fn silent_losses_are_named() {
    let swallowed: &[Loss] = &[
        ("only zeros", |p, _| p.sample[0].value[0] = 0),
        ("negative", |p, _| p.sample[0].value[0] = -1),
        ("no samples", |p, _| p.sample.clear()),
        ("does not resolve", |p, _| p.sample[0].location_id.push(99)),
        ("does not resolve", |p, _| p.sample[0].location_id.push(0)),
        ("does not resolve", |p, _| {
            p.location[0].line[0].function_id = 99
        }),
        ("does not resolve", |p, _| p.location[0].mapping_id = 99),
        ("does not resolve", |p, _| p.mapping[0].id = 0),
        ("no line", |p, _| p.location[0].line.clear()),
        ("no location", |p, _| p.sample[0].location_id.clear()),
        ("too deep", |p, _| p.sample[0].location_id = vec![1; 1001]),
        ("string labels", |p, _| {
            p.sample[0].label = vec![Label {
                key: 1,
                str: 2,
                ..Label::default()
            }]
        }),
        ("number labels", |p, _| {
            p.sample[0].label = vec![Label {
                key: 1,
                num: 2,
                ..Label::default()
            }]
        }),
        ("future", |p, _| p.time_nanos += seconds(120)),
        ("no time", |p, _| p.time_nanos = 0),
        ("summed", |p, _| {
            p.sample_type.push(p.sample_type[0]);
            p.sample[0].value.push(1);
        }),
        ("no period type", |p, _| p.period_type = None),
        ("`:`", |p, _| p.string_table[1] = "a:b".into()),
        ("their begin is cut", |p, _| {
            p.string_table.push("x".repeat(65_536))
        }),
        ("go.shape", |p, _| {
            p.string_table[3] = "main.go".into();
            p.string_table.push("f[go.shape.int]".into());
        }),
        ("guessed roots", |p, _| {
            p.string_table[3] = "/usr/local/go/src/runtime/proc.go".into();
            p.sample[0].location_id = vec![1; 60];
        }),
        ("looks like Go's", |p, l| {
            p.sample[0].location_id = vec![1; 60];
            l.extend(labels(&[("pyroscope_spy", "gospy")]));
        }),
        ("empty value", |_, l| l.extend(labels(&[("pod", "")]))),
        ("hidden", |_, l| l.extend(labels(&[("a.b", "x")]))),
        ("hidden", |_, l| l.extend(labels(&[("1a", "x")]))),
        ("server's own", |_, l| {
            l.extend(labels(&[("__unit__", "x")]))
        }),
        ("build id", |_, l| {
            l.extend(labels(&[("service_git_ref", "x")]))
        }),
        ("unknown_service", |_, l| {
            l.retain(|label| label.name != "service_name")
        }),
    ];
    for (loss, change) in swallowed {
        let server = Pyroscope::start();
        let (mut profile, mut labels) = (profile(&[("main;f", 1)]), plain_labels());
        change(&mut profile, &mut labels);
        let verdict = validate(&profile, now_nanos()).map_err(|invalid| invalid.verdict());
        let of_labels = validate_labels(&labels).map_err(|invalid| invalid.verdict());
        let foretold = verdict.and(of_labels) == Err(Verdict::SilentlyDropped);
        assert_eq!(foretold, !NOT_FORETOLD.contains(loss), "{loss}");
        let reply = push(&server, labels, &profile);
        assert_eq!(reply.status, 200, "{loss}: {}", reply.message());
        assert!(
            server.losses().iter().any(|line| line.contains(loss)),
            "{loss}: {:?}",
            server.losses()
        );
    }
}

/// A deep Go stack is safe when a string that ends in `main.rs` comes first.
#[test]
fn an_early_rust_path_prevents_the_go_repair() {
    let server = Pyroscope::start();
    let mut profile = profile(&[("main", 1)]);
    profile
        .string_table
        .push("/usr/local/go/src/runtime/proc.go".into());
    profile.sample[0].location_id = vec![1; 60];
    assert_eq!(push(&server, plain_labels(), &profile).status, 200);
    server.assert_nothing_lost();
}
