//! Clients that mean no good, or are not what they seem.

use super::server::Server;
use super::synthetic::store;
use std::io::{Read, Write};
use std::net::TcpStream;

const TOKEN: &str = "0123456789abcdef";

/// Queries that are not what they should be are refused in a sentence, and the server goes on.
#[test]
fn nonsense_queries() {
    let server = Server::start(store(&[1_700_000_000]));
    for (path, status) in [
        ("/api/owners?from=x", 400),
        ("/api/owners?from=", 400),
        ("/api/owners?from=99999999999999999999", 400),
        ("/api/owners?from=2&to=1", 400),
        ("/api/owners?from=1&from=2", 400),
        ("/api/owners?form=1", 400),
        ("/api/timeline?to=%ff%fe", 400),
        ("/api/flamegraph?owner=0000000000000000", 404),
        ("/api/flamegraph?owner=%00%ff%3Cscript%3E", 404),
        ("/api/flamegraph?owner=../../etc/passwd", 404),
        ("/api/pprof?from=5&to=-5", 400),
        ("/api/", 404),
        ("/api/nothing", 404),
        ("/api/../metrics", 404),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        if path != "/api/" {
            assert!(!answer.error().is_empty());
        }
    }
    // The ends of time are a range like any other.
    let all = format!("/api/owners?from={}&to={}", i64::MIN, i64::MAX);
    assert_eq!(server.get(&all).json().as_array().unwrap().len(), 5);
    assert_eq!(
        server.get("/nothing").text(),
        "there is nothing here: the page is at /\n"
    );
    assert_eq!(server.get("/..%2f..%2fetc/passwd").status, 404);
}

/// Requests that are no HTTP, or too much of it, get an answer or a closed connection; the server goes on.
#[test]
fn broken_requests() {
    let server = Server::start(store(&[]));
    let long_query = format!(
        "GET /api/owners?from={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "1".repeat(100_000)
    );
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let many_headers = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(500)
    );
    for (request, allowed) in [
        (long_query.as_bytes(), &[414, 431][..]),
        (long_header.as_bytes(), &[431]),
        (many_headers.as_bytes(), &[431]),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &[400, 404]),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n", &[400, 421]),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &[421]),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", &[400]),
        (b"POST /api/owners HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", &[405]),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &[405]),
    ] {
        let answer = server.send(request);
        assert!(allowed.contains(&answer.status), "{}: {}", answer.status, String::from_utf8_lossy(&request[..40.min(request.len())]));
    }
    assert_eq!(server.get("/healthz").status, 200);
}

/// More silent connections than there are places keep nobody out for good: those that end make room.
#[test]
fn silent_connections() {
    let server = Server::start(store(&[]));
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    drop(silent);
    assert_eq!(server.get("/healthz").status, 200);
}

/// A rebound name is refused on every path with the reason; a foreign site's request to the API too.
#[test]
fn browsers_as_accomplices() {
    let server = Server::start(store(&[]));
    for path in ["/", "/metrics", "/healthz"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = server.send(request.as_bytes());
        assert_eq!(answer.status, 421);
        assert!(answer.text().contains("DNS rebinding"));
    }
    let cross = server.get_with("/api/owners", "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(cross.status, 403);
    assert!(cross.error().contains("another web site"));
    assert!(!cross.headers.contains_key("access-control-allow-origin"));
}

/// Beyond loopback: scrapers by any name, page and API by token, once in the address and from then on in a cookie.
#[test]
fn beyond_loopback() {
    let server = Server::start_on("0.0.0.0:0", Some(TOKEN), store(&[1_700_000_000]));
    let scrape = b"GET /metrics HTTP/1.1\r\nHost: node7.cluster:4041\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(scrape).status, 200);
    assert_eq!(server.get("/healthz").status, 200);
    for path in [
        "/",
        "/app.js",
        "/api/owners",
        "/api/profile?seconds=1",
        "/?token=wrong",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 403, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains("token"));
    }
    let kept = server.get(&format!("/?token={TOKEN}"));
    assert_eq!((kept.status, kept.headers["location"].as_str()), (303, "/"));
    let cookie = kept.headers["set-cookie"]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        server
            .get_with("/", &format!("Cookie: {cookie}\r\n"))
            .status,
        200
    );
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(server.get_with("/api/owners", &bearer).status, 200);
    let owners = server.get(&format!("/api/owners?token={TOKEN}&from=1"));
    assert_eq!(owners.json().as_array().unwrap().len(), 5);

    let closed = Server::start_on("0.0.0.0:0", None, store(&[]));
    let answer = closed.get("/");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("--page-token"));
}

/// A client that stops in the middle of its request is cut off some time, and holds up nobody until then.
#[test]
fn half_a_request() {
    let server = Server::start(store(&[]));
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    slow.write_all(b"host\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    slow.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"));
}
