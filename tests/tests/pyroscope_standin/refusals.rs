//! Pushes that are refused, each with its documented status.

use super::*;
use pprof_proto::validate::{Verdict, validate};

/// What is wrong, the status it gets, and how to make it wrong.
type Refused = (&'static str, u16, fn(&mut Profile));

/// Messages without profiles, and no messages.
#[test]
fn empty_and_malformed_messages_are_400() {
    let server = Pyroscope::start();
    let no_samples = RawProfileSeries {
        labels: plain_labels(),
        samples: vec![],
    };
    for body in [request(vec![]), request(vec![no_samples])] {
        let reply = push_body(&server, &body);
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (400, "no profiles received")
        );
    }
    let reply = push_body(&server, b"\x0a\xff\xff");
    assert_eq!(reply.status, 400);
    assert!(
        reply.message().starts_with("unmarshal message"),
        "{}",
        reply.message()
    );
}

/// Labels that are 400, and odd ones that are not.
#[test]
fn label_rules() {
    let server = Pyroscope::start();
    let status =
        |pairs: &[(&str, &str)]| push(&server, labels(pairs), &profile(&[("main", 1)])).status;
    let with =
        |pair: (&str, &str)| status(&[("__name__", "process_cpu"), ("service_name", "app"), pair]);
    assert_eq!(
        status(&[("__name__", "process_cpu"), ("service_name", "")]),
        400
    );
    assert_eq!(status(&[("service_name", "app")]), 400);
    assert_eq!(status(&[("__name__", ""), ("service_name", "app")]), 400);
    assert_eq!(with(("service_name", "app")), 400);
    assert_eq!(with(("", "x")), 400);
    assert_eq!(
        (
            with((&"n".repeat(1024), "x")),
            with((&"n".repeat(1025), "x"))
        ),
        (200, 400)
    );
    assert_eq!(
        (
            with(("n", &"v".repeat(2048))),
            with(("n", &"v".repeat(2049)))
        ),
        (200, 400)
    );
    assert_eq!(with(("n", "line\nand\0nul")), 200);
    let many = |count: usize| {
        let names: Vec<String> = (0..count - 2).map(|at| format!("l{at}")).collect();
        let pairs = names.iter().map(|name| (name.as_str(), "x"));
        status(
            &[("__name__", "process_cpu"), ("service_name", "app")]
                .into_iter()
                .chain(pairs)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!((many(30), many(31)), (200, 400));
    server.assert_nothing_lost();
}

/// Profiles that are refused, each with its status: 500 for what breaks the server, 400 for what it checks. `pprof-proto`
/// foretells the same, from another reading of the same rules.
#[test]
fn pprof_rules() {
    let server = Pyroscope::start();
    let refused: &[Refused] = &[
        ("no type", 400, |p| {
            p.sample_type.clear();
            p.sample[0].value.clear();
        }),
        ("no strings", 400, |p| p.string_table.clear()),
        ("first string", 400, |p| p.string_table[0] = "x".into()),
        ("type index", 400, |p| p.sample_type[0].r#type = 99),
        ("negative type index", 500, |p| p.sample_type[0].r#type = -1),
        ("dash in type", 400, |p| p.string_table[1] = "on-cpu".into()),
        ("label key", 400, |p| {
            p.sample[0].label = vec![Label {
                key: 99,
                ..Label::default()
            }]
        }),
        ("label unit", 500, |p| {
            p.sample[0].label = vec![Label {
                key: 1,
                num: 1,
                num_unit: 99,
                str: 0,
            }]
        }),
        ("function name", 400, |p| p.function[0].name = 99),
        ("mapping file", 400, |p| p.mapping[0].filename = 99),
        ("location 0", 400, |p| p.location[0].id = 0),
        ("function 0", 400, |p| p.function[0].id = 0),
        ("value count", 400, |p| p.sample[0].value.push(1)),
        ("too old", 400, |p| p.time_nanos -= seconds(3600)),
        ("too new", 400, |p| p.time_nanos += seconds(720)),
        ("in seconds", 400, |p| p.time_nanos /= 1_000_000_000),
        ("samples", 400, |p| {
            p.sample = vec![p.sample[0].clone(); 16_001]
        }),
        ("sample labels", 400, |p| {
            p.sample[0].label = vec![
                Label {
                    key: 1,
                    num: 1,
                    ..Label::default()
                };
                101
            ]
        }),
        ("symbol cut inside of a character", 400, |p| {
            p.string_table.push(format!("é{}", "x".repeat(65_534)))
        }),
        ("period type absent, sample dropped", 500, |p| {
            p.period_type = None;
            p.sample[0].value[0] = 0;
        }),
    ];
    for (what, status, change) in refused {
        let mut changed = profile(&[("main", 1), ("main;f", 2)]);
        change(&mut changed);
        let reply = push(&server, plain_labels(), &changed);
        assert_eq!(reply.status, *status, "{what}: {}", reply.message());
        let verdict = validate(&changed, now_nanos()).map_err(|invalid| invalid.verdict());
        assert_eq!(
            verdict,
            Err(Verdict::Rejected { status: *status }),
            "{what}"
        );
    }
    assert!(server.stored().is_empty());
    server.assert_nothing_lost();
}

/// Bytes that are no profile are 500 `unknown`, not 400; invalid UTF-8 is 400.
#[test]
fn unreadable_profiles() {
    let server = Pyroscope::start();
    let whole = profile(&[("main", 1)]).encode_to_vec();
    let packed = gzip(&whole);
    let mut not_utf8 = whole.clone();
    let at = not_utf8.windows(4).position(|at| at == b"main").unwrap();
    not_utf8[at] = 0xff;
    for (what, raw, status) in [
        ("empty", vec![], 500),
        ("truncated gzip", packed[..packed.len() / 2].to_vec(), 500),
        ("truncated pprof", whole[..whole.len() - 1].to_vec(), 500),
        ("garbage", b"hello world".to_vec(), 500),
        ("not UTF-8", not_utf8, 400),
        ("raw", whole.clone(), 200),
        (
            "two gzip members",
            [gzip(&whole[..10]), gzip(&whole[10..])].concat(),
            200,
        ),
    ] {
        let reply = push_body(&server, &request(vec![series(plain_labels(), raw)]));
        assert_eq!(reply.status, status, "{what}: {}", reply.message());
    }
}

/// One profile above the burst is 429 for ever; smaller ones are once the bucket is empty, and pass again later.
#[test]
fn rate_limit() {
    let mut large = profile(&[("main", 1)]);
    large
        .string_table
        .extend((0..40).map(|at| format!("{at:050000}")));
    let server = Pyroscope::start();
    let half = push(&server, plain_labels(), &{
        let mut half = large.clone();
        half.string_table.truncate(30);
        half
    });
    assert_eq!(half.status, 200);
    large
        .string_table
        .extend((0..5).map(|at| format!("{at:050001}")));
    assert!(large.encoded_len() > 2 << 20);
    for _ in 0..2 {
        let reply = push(&server, plain_labels(), &large);
        assert_eq!(reply.status, 429);
        assert!(
            reply
                .message()
                .starts_with("push rate limit (4.0 MiB) exceeded while adding"),
            "{}",
            reply.message()
        );
        assert!(!reply.head.contains("retry-after"));
    }
    let slow = Pyroscope::start_with(Limits {
        rate: 10_000.0,
        burst: 400.0,
        ..Limits::default()
    });
    let statuses: Vec<u16> = (0..10)
        .map(|_| push(&slow, plain_labels(), &profile(&[("main", 1)])).status)
        .collect();
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    while push(&slow, plain_labels(), &profile(&[("main", 1)])).status != 200 {}
}

/// Rejected profiles use up the budget too, and a size above the limit is 400 where the bucket would hold it.
#[test]
fn size_limits() {
    let limits = Limits {
        rate: 0.0,
        burst: 1000.0,
        profile: 600,
        ..Limits::default()
    };
    let server = Pyroscope::start_with(limits);
    let mut large = profile(&[("main", 1)]);
    large.string_table.push("x".repeat(600));
    assert_eq!(push(&server, plain_labels(), &large).status, 400);
    assert_eq!(push(&server, plain_labels(), &large).status, 429);
    let tiny = Pyroscope::start_with(Limits {
        body: 100,
        ..Limits::default()
    });
    let reply = push(&tiny, plain_labels(), &large);
    assert_eq!(reply.status, 429);
    assert!(
        reply.message().contains("message size"),
        "{}",
        reply.message()
    );
}

/// With several series the good ones stay stored, and a coded error wins over a plain one.
#[test]
fn several_series_share_one_answer() {
    let server = Pyroscope::start();
    let good = || series(plain_labels(), profile(&[("main", 1)]).encode_to_vec());
    let coded = || {
        series(
            labels(&[("service_name", "app")]),
            profile(&[("main", 1)]).encode_to_vec(),
        )
    };
    let plain = || series(plain_labels(), b"garbage".to_vec());
    assert_eq!(
        push_body(&server, &request(vec![good(), plain(), coded(), good()])).status,
        400
    );
    assert_eq!(server.stored().len(), 2);
    assert_eq!(
        push_body(&server, &request(vec![plain(), good()])).status,
        500
    );
    assert_eq!(server.stored().len(), 3);
    let two_samples = RawProfileSeries {
        samples: [good().samples, good().samples].concat(),
        ..good()
    };
    assert_eq!(push_body(&server, &request(vec![two_samples])).status, 200);
    assert_eq!(server.stored().len(), 5);
}
