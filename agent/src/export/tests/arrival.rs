//! What arrives, and how it is sent.

use super::*;
use crate::secret::Secret;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Three intervals of 40 owners arrive whole, each once, as one series a request over connections that are kept, though
/// each answer takes 50 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_owners_arrive_in_parallel_over_kept_connections() {
    let server = Pyroscope::start_with(Limits {
        acknowledge_after: Duration::from_millis(50),
        ..Limits::default()
    });
    let rig = Rig::new(&config(&server.url()));
    for _ in 0..3 {
        rig.exporter.submit(
            (0..40)
                .map(|at| profile(&format!("service-{at}")))
                .collect(),
        );
    }
    let counts = rig.finish().await;
    server.assert_nothing_lost();
    let stored = server.stored();
    assert_eq!(
        (stored.len(), counts.pushes("200"), counts.fates()),
        (120, 120, 120)
    );
    let services: BTreeSet<_> = stored
        .iter()
        .map(|stored| stored.labels["service_name"].clone())
        .collect();
    assert_eq!(services.len(), 40);
    assert!(
        server.connections() <= 40,
        "{} connections for 120 pushes",
        server.connections()
    );
    assert!(counts.of_server("thermograph_push_bytes_total") > 0);
    assert_eq!(
        counts.of_server("thermograph_push_duration_seconds_count"),
        120
    );
}

/// Method, path, headers, labels and the profile itself are what the server wants, byte for byte.
#[tokio::test]
async fn the_request_is_as_documented() {
    let (server, _) = push_through(&[]).await;
    let [request] = &server.requests()[..] else {
        panic!("one request")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/push.v1.PusherService/Push")
    );
    assert_eq!(request.headers["content-type"], "application/proto");
    assert_eq!(
        request.headers["user-agent"],
        concat!("thermograph/", env!("CARGO_PKG_VERSION"))
    );
    for absent in [
        "content-encoding",
        "authorization",
        "x-scope-orgid",
        "connect-timeout-ms",
    ] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
    let [stored] = &server.stored()[..] else {
        panic!("one profile")
    };
    let labels: Vec<_> = stored
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        labels,
        [
            "__name__=process_cpu",
            "node=node-1",
            "profiler=thermograph",
            "service_name=app"
        ]
    );
    assert_eq!(stored.profile.sample[0].value, [10_101_010]);
    server.assert_nothing_lost();
}

/// Each way to say who one is reaches a server that demands it, and a wrong one is a counted rejection.
#[tokio::test]
async fn credentials_are_sent() {
    let demands = |authorization: &str| {
        let authorization = Some(authorization.to_owned());
        Pyroscope::start_with(Limits {
            authorization,
            multitenancy: true,
            ..Limits::default()
        })
    };
    // base64 of `me:s3cret`
    let basic = demands("Basic bWU6czNjcmV0");
    let mut with_password = config(&basic.url());
    with_password.tenant_id = Some("team-a".into());
    with_password.credentials = Credentials::Basic("me".into(), "s3cret".to_owned().into());
    let bearer = demands("Bearer t0ken");
    let mut with_token = config(&bearer.url());
    with_token.tenant_id = Some("team-b".into());
    with_token.credentials = Credentials::Bearer("t0ken".to_owned().into());
    for (server, config, tenant) in [
        (&basic, with_password, "team-a"),
        (&bearer, with_token, "team-b"),
    ] {
        let rig = Rig::new(&config);
        rig.exporter.submit(vec![profile("app")]);
        rig.finish().await;
        assert_eq!(server.stored()[0].headers["x-scope-orgid"], tenant);
    }
    let mut wrong = config(&basic.url());
    wrong.tenant_id = Some("team-a".into());
    let rig = Rig::new(&wrong);
    rig.exporter.submit(vec![profile("app")]);
    let counts = rig.finish().await;
    assert_eq!(
        (counts.dropped("unauthorized"), counts.pushes("401")),
        (1, 1)
    );
}

/// A redirect is an answer, not a way: nothing is sent where it points.
#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Pyroscope::start();
    for status in [301, 302, 307, 308] {
        let location = (
            "location",
            format!("{}/push.v1.PusherService/Push", elsewhere.url()),
        );
        let fault = Fault::Answer {
            status,
            headers: vec![location],
            body: String::new(),
        };
        let (server, counts) = push_through(&[(fault, 99)]).await;
        assert_eq!(
            (server.requests().len(), counts.dropped("redirected")),
            (1, 1),
            "{status}"
        );
    }
    assert!(elsewhere.requests().is_empty());
}

/// A server that is started after the agent gets what was kept for it, once.
#[tokio::test]
async fn profiles_wait_for_a_server_that_is_down() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rig = Rig::new(&config(&format!("http://{address}")));
    rig.exporter.submit(vec![profile("app")]);
    while Counts::of(&rig.registry).pushes("connect") < 20 {
        tokio::task::yield_now().await;
    }
    let server = Pyroscope::start_at(address, Limits::default());
    let counts = rig.finish().await;
    assert_eq!(
        (server.stored().len(), counts.pushes("200"), counts.fates()),
        (1, 1, 1)
    );
}

/// A server that answers in half a second, as the real one does.
fn half_a_second() -> Pyroscope {
    Pyroscope::start_with(Limits {
        acknowledge_after: Duration::from_millis(500),
        ..Limits::default()
    })
}

/// From the first push to the last answer, by the server's clock.
fn took(server: &Pyroscope) -> Duration {
    let stored = server.stored();
    assert_eq!(stored.len(), 200);
    server.assert_nothing_lost();
    let first = stored.iter().map(|stored| stored.received).min().unwrap();
    let requests = server.requests();
    let last = requests.iter().map(|request| request.at).max().unwrap();
    last.duration_since(first).unwrap()
}

/// Pushes the same as others do who know nothing but that there may be 32 at a time: seven rounds.
async fn push_seven_rounds(server: &Pyroscope) {
    let client = Arc::new(client::PushClient::new(&config(&server.url())).unwrap());
    let places = Arc::new(Semaphore::new(32));
    let mut pushes = JoinSet::new();
    for at in 0..200 {
        let profile = profile(&format!("service-{at}"));
        let (client, places) = (Arc::clone(&client), Arc::clone(&places));
        pushes.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let request = request::Request::new(&profile, "node-1", now_nanos()).unwrap();
            client.push(request.body).await
        });
    }
    pushes.join_all().await;
}

/// 200 owners at once and a server that answers in half a second: the last answer comes within 4 s of the first push. What this machine adds to
/// that is known from a plain client that does the same at the same time, and needs 3.5 s where it has no other work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_owners_arrive() {
    let (server, of_plain) = (half_a_second(), half_a_second());
    let mut config = config(&server.url());
    config.limits = PushLimits::default();
    let rig = Rig::new(&config);
    let owners = (0..200).map(|at| profile(&format!("service-{at}")));
    rig.exporter.submit(owners.collect());
    let (counts, ()) = tokio::join!(rig.finish(), push_seven_rounds(&of_plain));
    assert_eq!(counts.pushes("200"), 200);
    let (took, plain) = (took(&server), took(&of_plain));
    eprintln!("200 pushes answered in 0.5 s each: {took:.2?}; of a plain client {plain:.2?}");
    let added = plain.saturating_sub(Duration::from_millis(3500));
    assert!(took <= Duration::from_secs(4) + 2 * added);
}

/// Headers of one's own arrive with every push.
#[tokio::test]
async fn own_headers_arrive() {
    let server = Pyroscope::start();
    let mut config = config(&server.url());
    let key = Secret::from("sesame".to_owned());
    config.headers.insert("X-Key".to_owned(), key);
    let rig = Rig::new(&config);
    rig.exporter.submit(vec![profile("app")]);
    rig.finish().await;
    assert_eq!(server.stored()[0].headers["x-key"], "sesame");
}

/// A token that was replaced while the agent runs: the push that the old one is refused for is repeated with the new one, and nothing is lost.
#[tokio::test]
async fn tokens_rotate() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let server = Pyroscope::start_with(Limits {
        authorization: Some("Bearer new".to_owned()),
        ..Limits::default()
    });
    let mut config = config(&server.url());
    config.credentials = Credentials::BearerFile(file.clone());
    let rig = Rig::new(&config);
    rig.exporter.submit(vec![profile("before")]);
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(&file, "new").unwrap();
    rig.exporter.submit(vec![profile("after")]);
    let counts = rig.finish().await;
    assert_eq!(counts.fates(), 2);
    let services: Vec<String> = server
        .stored()
        .iter()
        .map(|stored| stored.labels["service_name"].clone())
        .collect();
    assert!(services.contains(&"after".to_owned()), "{services:?}");
}

/// Two servers get everything, whatever becomes of one of them.
#[tokio::test]
async fn destinations_are_independent() {
    let (well, ill) = (Pyroscope::start(), Pyroscope::start());
    ill.play(Fault::Hang, usize::MAX);
    let (of_well, of_ill) = (
        Rig::new(&config(&well.url())),
        Rig::new(&config(&ill.url())),
    );
    let batch: Vec<_> = (0..40)
        .map(|at| profile(&format!("service-{at}")))
        .collect();
    of_ill.exporter.submit(batch.clone());
    of_well.exporter.submit(batch);
    assert_eq!(of_well.finish().await.pushes("200"), 40);
    assert_eq!(well.stored().len(), 40);
    assert!(ill.stored().is_empty());
    assert_eq!(of_ill.exporter.flush(Duration::ZERO).await, 40);
}
