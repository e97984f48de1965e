//! Refusals of the HTTP layer, faults to order, and the end of the server.

use super::*;

/// The HTTP layer: method, path, content type, encoding, protocol version.
#[test]
fn http_rules() {
    let server = Pyroscope::start();
    let body = request(vec![series(
        plain_labels(),
        gzip(&profile(&[("main", 1)]).encode_to_vec()),
    )]);
    for (headers, status) in [
        ("content-type: application/proto; charset=utf-8\r\n", 415),
        ("content-type: application/x-protobuf\r\n", 415),
        ("", 415),
        (
            "content-type: application/proto\r\nconnect-protocol-version: 2\r\n",
            400,
        ),
        (
            "content-type: application/proto\r\nconnect-protocol-version: 1\r\n",
            200,
        ),
        (
            "content-type: application/proto\r\ncontent-encoding: zstd\r\n",
            501,
        ),
        (
            "content-type: application/proto\r\ncontent-encoding: GZIP\r\n",
            501,
        ),
        (
            "content-type: application/proto\r\ncontent-encoding: gzip\r\n",
            400,
        ),
        (
            "content-type: application/proto\r\ncontent-encoding: identity\r\n",
            200,
        ),
        ("content-type: application/proto\r\n", 200),
    ] {
        let reply = send(&server, "POST", PUSH, headers, &body);
        assert_eq!(reply.status, status, "{headers}");
        if status == 415 {
            assert!(
                reply.body.is_empty() && reply.head.contains("accept-post"),
                "{headers}"
            );
        }
    }
    for (method, path, status) in [
        ("GET", PUSH, 405),
        ("PUT", PUSH, 405),
        ("POST", "/push.v1.PusherService/Push/", 404),
        ("POST", "/x", 404),
    ] {
        let reply = send(
            &server,
            method,
            path,
            "content-type: application/proto\r\n",
            &body,
        );
        assert_eq!(reply.status, status, "{method} {path}");
    }
    let moved = send(
        &server,
        "POST",
        &format!("/{PUSH}"),
        "content-type: application/proto\r\n",
        &body,
    );
    assert_eq!(moved.status, 301);
    assert!(moved.head.contains("location: /push.v1"), "{}", moved.head);
    server.assert_nothing_lost();
}

/// A 200 to a gzip'd request comes back gzip'd, unasked.
#[test]
fn answers_to_gzipped_requests_are_gzipped() {
    let server = Pyroscope::start();
    let body = gzip(&request(vec![series(
        plain_labels(),
        profile(&[("main", 1)]).encode_to_vec(),
    )]));
    let headers = "content-type: application/proto\r\ncontent-encoding: gzip\r\n";
    let reply = send(&server, "POST", PUSH, headers, &body);
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-encoding: gzip") && reply.body.starts_with(&[0x1f, 0x8b]));
}

/// With multitenancy, ids that break the rules are 401.
#[test]
fn tenants() {
    let server = Pyroscope::start_with(Limits {
        multitenancy: true,
        ..Limits::default()
    });
    let body = request(vec![series(
        plain_labels(),
        profile(&[("main", 1)]).encode_to_vec(),
    )]);
    for (tenant, status) in [
        ("team-a", 200),
        ("a|b", 401),
        ("a/b", 401),
        ("..", 401),
        ("", 401),
    ] {
        let headers = format!("content-type: application/proto\r\nx-scope-orgid: {tenant}\r\n");
        assert_eq!(
            send(&server, "POST", PUSH, &headers, &body).status,
            status,
            "{tenant}"
        );
    }
    assert_eq!(push_body(&server, &body).status, 401);
}

/// Faults come in their order and number, then the server is itself again.
#[test]
fn faults_play_in_order() {
    let server = Pyroscope::start();
    server.play(
        Fault::Error {
            status: 503,
            code: "unavailable",
            message: "later".into(),
        },
        2,
    );
    let headers = vec![("retry-after", "7".to_owned())];
    server.play(
        Fault::Answer {
            status: 429,
            headers,
            body: "slow down".into(),
        },
        1,
    );
    let replies: Vec<Reply> = (0..4)
        .map(|_| push(&server, plain_labels(), &profile(&[("main", 1)])))
        .collect();
    assert_eq!(
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>(),
        [503, 503, 429, 200]
    );
    assert_eq!(replies[0].message(), "later");
    assert!(replies[2].head.contains("retry-after: 7") && replies[2].body == b"slow down");
    assert_eq!(
        (
            server.stored().len(),
            server.requests().len(),
            server.connections()
        ),
        (1, 4, 4)
    );
}

/// A server that hangs does so for the client, and stops when the test does.
#[test]
fn a_hanging_server_can_be_stopped() {
    let server = Pyroscope::start();
    server.play(Fault::Hang, 1);
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    let head = format!("POST {PUSH} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    while server.requests().is_empty() {
        std::thread::yield_now();
    }
    drop(server);
    assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0);
}
