//! What becomes of a profile for each thing that can go wrong with its push.

use super::*;

/// What says "not stored, later" is tried until it is stored, and stored once.
#[tokio::test]
async fn passing_troubles_are_waited_out() {
    for fault in [
        error(
            429,
            "resource_exhausted",
            "push rate limit (4.0 MiB) exceeded while adding 2.9 MiB",
        ),
        error(
            500,
            "unknown",
            "rpc error: code = Unavailable desc = connection refused",
        ),
        error(503, "unavailable", "no instances"),
        Fault::Answer {
            status: 502,
            headers: vec![],
            body: "bad gateway".into(),
        },
        Fault::Answer {
            status: 408,
            headers: vec![],
            body: String::new(),
        },
    ] {
        let (server, counts) = push_through(&[(fault.clone(), 4)]).await;
        assert_eq!(
            (server.stored().len(), server.requests().len()),
            (1, 5),
            "{fault:?}"
        );
        assert_eq!(
            (counts.retries(), counts.pushes("200")),
            (4, 1),
            "{fault:?}"
        );
    }
}

/// The bound on rate limited tries counts those only: after a long outage all hosts come back at once.
#[tokio::test]
async fn a_rate_limit_after_an_outage_is_waited_out() {
    let down = error(503, "unavailable", "no instances");
    let limited = error(
        429,
        "resource_exhausted",
        "push rate limit (4.0 MiB) exceeded",
    );
    let (server, counts) = push_through(&[(down, 12), (limited, 9)]).await;
    assert_eq!((server.stored().len(), counts.retries()), (1, 21));
}

/// What never changes by waiting is sent once, and counted under its reason.
#[tokio::test]
async fn rejections_are_dropped_at_once() {
    for (fault, reason) in [
        (
            error(400, "invalid_argument", "profile series has 31 label names"),
            "rejected",
        ),
        (error(401, "unauthenticated", "no org id"), "unauthorized"),
        (error(403, "permission_denied", "no"), "unauthorized"),
        (error(404, "not_found", "no"), "not_found"),
        (
            Fault::Answer {
                status: 413,
                headers: vec![],
                body: "too large".into(),
            },
            "too_large",
        ),
        (
            Fault::Answer {
                status: 415,
                headers: vec![],
                body: String::new(),
            },
            "rejected",
        ),
        (error(422, "invalid_argument", "no"), "rejected"),
        (
            error(
                429,
                "resource_exhausted",
                "message size 3 is larger than configured max 2",
            ),
            "too_large",
        ),
        (
            error(501, "unimplemented", "unknown compression"),
            "server_error",
        ),
        (
            Fault::Answer {
                status: 200,
                headers: vec![("content-type", "text/html".into())],
                body: "<html>".into(),
            },
            "not_pyroscope",
        ),
    ] {
        let (server, counts) = push_through(&[(fault.clone(), 99)]).await;
        assert_eq!(server.requests().len(), 1, "{fault:?}");
        assert_eq!(counts.dropped(reason), 1, "{fault:?}\n{}", counts.0);
    }
}

/// A payload the server chokes on is sent twice, not for ever.
#[tokio::test]
async fn a_bad_payload_is_tried_once_more() {
    let (server, counts) = push_through(&[(error(500, "unknown", "unexpected EOF"), 99)]).await;
    assert_eq!(
        (server.requests().len(), counts.dropped("server_error")),
        (2, 1)
    );
}

/// No answer, twice: whether it is stored is unknown, and counted as that; there is no third push.
#[tokio::test]
async fn a_hanging_server_leaves_an_unknown() {
    let (server, counts) = push_through(&[(Fault::Hang, 99)]).await;
    assert_eq!((server.requests().len(), counts.pushes("timeout")), (2, 2));
    assert_eq!((counts.unknown(), counts.retries()), (1, 1));
}

/// A reset is tried once more: a server that went away mid-push has not stored it.
#[tokio::test]
async fn a_reset_is_tried_once_more() {
    for fault in [Fault::ResetBeforeBody, Fault::ResetAfterBody] {
        let (server, counts) = push_through(&[(fault.clone(), 1)]).await;
        assert_eq!(
            (server.stored().len(), counts.pushes("200")),
            (1, 1),
            "{fault:?}"
        );
        assert_eq!(
            (counts.pushes("reset"), counts.retries()),
            (1, 1),
            "{fault:?}"
        );
    }
    let (server, counts) = push_through(&[(Fault::ResetAfterBody, 99)]).await;
    assert_eq!((server.requests().len(), counts.unknown()), (2, 1));
}

/// The price of that retry, and its bound: what was stored without an answer is stored twice, never three times.
#[tokio::test]
async fn an_unanswered_push_is_never_stored_three_times() {
    let slow = Fault::StoreAndAnswerAfter(PATIENCE);
    for fault in [
        slow,
        Fault::StoreAndReset,
        error(504, "deadline_exceeded", "context deadline exceeded"),
    ] {
        let (server, counts) = push_through(&[(fault.clone(), 99)]).await;
        assert!(server.stored().len() <= 2, "{fault:?}");
        assert_eq!((counts.unknown(), counts.retries()), (1, 1), "{fault:?}");
    }
}

/// An unanswered push followed by refusals stays unknown: the refusals are of the repeats.
#[tokio::test]
async fn a_refused_repeat_does_not_make_the_first_push_known() {
    let refused = error(400, "invalid_argument", "outside of ingestion window");
    let (server, counts) = push_through(&[(Fault::StoreAndReset, 1), (refused, 1)]).await;
    assert_eq!(
        (
            server.stored().len(),
            counts.unknown(),
            counts.dropped("rejected")
        ),
        (1, 1, 0)
    );
}

/// A proxy that asks for a second gets it, though the backoff would be shorter.
#[tokio::test]
async fn retry_after_is_waited_for() {
    let fault = Fault::Answer {
        status: 503,
        headers: vec![("retry-after", "1".into())],
        body: String::new(),
    };
    let (server, _) = push_through(&[(fault, 1)]).await;
    let requests = server.requests();
    assert!(requests[1].at.duration_since(requests[0].at).unwrap() >= Duration::from_secs(1));
    assert_eq!(server.stored().len(), 1);
}

/// A profile above the server's burst is answered like one that came too soon, for ever: it is given up after its tries.
#[tokio::test]
async fn a_profile_above_the_burst_is_given_up() {
    let server = Pyroscope::start_with(Limits {
        burst: 50_000.0,
        ..Limits::default()
    });
    let rig = Rig::new(&config(&server.url()));
    rig.exporter
        .submit(vec![padded_profile("large", 60_000), profile("small")]);
    let counts = rig.finish().await;
    assert_eq!(
        (counts.dropped("rate_limited"), counts.pushes("429")),
        (1, 10)
    );
    assert_eq!(server.stored().len(), 1);
}

/// What the server would reject for its size or its age never leaves the host.
#[tokio::test]
async fn what_the_server_would_reject_is_not_sent() {
    let server = Pyroscope::start();
    let rig = Rig::new(&config(&server.url()));
    rig.exporter.submit(vec![
        changed_profile(|profile| profile.raw_bytes = 5 << 20),
        changed_profile(|profile| profile.raw_bytes = 3 << 20),
        changed_profile(|profile| profile.start_unix_nanos -= 7_200_000_000_000),
        changed_profile(|profile| profile.start_unix_nanos += 7_200_000_000_000),
    ]);
    let counts = rig.finish().await;
    assert!(server.requests().is_empty());
    assert_eq!(
        ["would_be_rejected", "too_old"].map(|reason| counts.dropped(reason)),
        [3, 1],
        "{}",
        counts.0
    );
}

/// A sound profile after `change`.
fn changed_profile(change: fn(&mut OwnerProfile)) -> Arc<OwnerProfile> {
    let mut profile = OwnerProfile::clone(&profile("changed"));
    change(&mut profile);
    Arc::new(profile)
}
