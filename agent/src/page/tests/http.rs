//! What each address answers.

use super::server::{FOREVER, NO_PROCESS, Server};
use super::synthetic::{HOSTILE, TICK, checkout_nanos, interval_nanos, store};
use pprof_proto::encode::decode;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

const START: i64 = 1_700_000_000;

fn server() -> Server {
    Server::start(store(&[START, START + 15]))
}

/// The page and its scripts come with their types, may load nothing from elsewhere, and know no other place.
#[test]
fn the_page_is_embedded() {
    let server = server();
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let mut files = vec!["/".to_owned(), "/icon.svg".to_owned()];
    for part in page.text().split(['"', '\'']) {
        if part.ends_with(".js") || part.ends_with(".css") {
            files.push(format!("/{part}"));
        }
    }
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        let answer = server.get(file);
        assert_eq!(answer.status, 200, "{file}");
        for forbidden in [
            "https://",
            "//cdn",
            "innerHTML",
            "eval(",
            "document.write",
            " onclick=",
        ] {
            assert!(!answer.text().contains(forbidden), "{file}: {forbidden}");
        }
    }
}

/// Owners by CPU time, as put into the store; a range without anything is an empty list.
#[test]
fn owners_by_cpu() {
    let server = server();
    let owners = server.get("/api/owners").json();
    let name = |at: usize| {
        owners[at]["labels"]["service_name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(owners.as_array().unwrap().len(), 5);
    assert_eq!(
        [name(0), name(1), name(4)],
        ["checkout", "postgresql", HOSTILE]
    );
    assert_eq!(owners[0]["cpu_nanos"], 2 * checkout_nanos());
    assert_eq!(owners[0]["samples"], 2 * checkout_nanos() / TICK);
    assert_eq!(
        owners[1]["labels"],
        json!({"service_name": "postgresql", "unit": "postgresql.service"})
    );
    let early = format!("/api/owners?from={}&to={}", START * 1000, START * 1000 + 1);
    assert_eq!(server.get(&early).json().as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/owners?to=5").json(), json!([]));
}

/// The tree's total is what went in; of one owner it is his; a time without him is a root of nothing.
#[test]
fn flame_graph_of_owner_and_time() {
    let server = server();
    let total =
        |query: &str| server.get(&format!("/api/flamegraph{query}")).json()["total"].as_i64();
    assert_eq!(total(""), Some(checkout_nanos() + interval_nanos()));
    let owners = server.get("/api/owners").json();
    let id = |at: usize| owners[at]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        total(&format!("?owner={}", id(0))),
        Some(2 * checkout_nanos())
    );
    let (from, to) = (START * 1000, (START + 15) * 1000);
    assert_eq!(
        total(&format!("?from={from}&to={to}")),
        Some(checkout_nanos())
    );
    assert_eq!(
        total(&format!("?owner={}&from={from}&to={to}", id(1))),
        Some(0)
    );

    let graph = server
        .get(&format!("/api/flamegraph?owner={}", id(4)))
        .json();
    let names: Vec<&str> = graph["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|frame| frame["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["total", HOSTILE, "</script><script>alert(1)</script>"]
    );
    assert_eq!(graph["unit"], "nanoseconds");
}

/// The download is a gzip'd profile of exactly what was selected, under a name that says what it is.
#[test]
fn pprof_download() {
    let server = server();
    let file = server.get("/api/pprof");
    assert_eq!(file.status, 200);
    assert_eq!(
        file.headers["content-disposition"],
        "attachment; filename=\"thermograph-all-1700000000-30s.pb.gz\""
    );
    assert_eq!(file.body[..2], [0x1f, 0x8b]);
    let profile = decode(&file.body, 1 << 20).unwrap();
    let sum: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    assert_eq!(sum, checkout_nanos() + interval_nanos());
    let owners = server.get("/api/owners").json();
    let hostile = server.get(&format!(
        "/api/pprof?owner={}",
        owners[4]["id"].as_str().unwrap()
    ));
    assert_eq!(
        hostile.headers["content-disposition"],
        "attachment; filename=\"thermograph-_img_src_x_onerror_alert_document.domain__-1700000015-15s.pb.gz\""
    );
    let nothing = server.get("/api/pprof?to=5");
    assert_eq!(nothing.status, 404);
    assert!(nothing.error().contains("nothing is known of this time"));
}

/// One point an interval, with its owners' time, samples and losses.
#[test]
fn timeline_points() {
    let server = server();
    let timeline = server.get("/api/timeline").json();
    assert_eq!(timeline["reaches_back_to_ms"], START * 1000);
    assert_eq!(timeline["owners"][0]["name"], "checkout");
    let points = timeline["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    assert_eq!(
        points[0]["cpu_nanos"],
        json!([checkout_nanos(), 0, 0, 0, 0, 0])
    );
    let sum: i64 = points[1]["cpu_nanos"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_i64)
        .sum();
    assert_eq!(sum, interval_nanos());
    assert_eq!(points[1]["samples"], interval_nanos() / TICK);
    assert_eq!(
        (&points[1]["lost"], &points[1]["duration_ms"]),
        (&json!(1), &json!(15_000))
    );
}

/// A capture comes as pprof or folded stacks with its counts in the headers.
#[test]
fn capture_on_demand() {
    let server = server();
    let pprof = server.get("/api/profile?seconds=10&pid=1");
    assert_eq!(pprof.status, 200);
    assert_eq!(pprof.headers["x-thermograph-samples"], "1000");
    assert_eq!(pprof.headers["x-thermograph-lost"], "3");
    assert!(pprof.headers["content-disposition"].contains("thermograph-pid1-1700000000-15s.pb.gz"));
    assert_eq!(
        decode(&pprof.body, 1 << 20).unwrap().sample[0].value,
        [1000 * TICK]
    );
    let folded = server.get("/api/profile?seconds=300&format=folded");
    assert_eq!(folded.text(), "main 30000\n");
}

/// Each way to have no capture has its status and a sentence.
#[test]
fn captures_refused() {
    let server = server();
    for (query, status, sentence) in [
        (
            "seconds=0",
            400,
            "seconds=0 is out of range: ask for 1 to 300",
        ),
        ("seconds=301", 400, "1 to 300"),
        ("seconds=-1", 400, "seconds"),
        ("seconds=1e3", 400, "seconds"),
        ("", 400, "missing field `seconds`"),
        ("seconds=1&pid=99999999999", 400, "pid"),
        ("seconds=1&format=svg", 400, "expected `pprof` or `folded`"),
        ("second=1", 400, "unknown field `second`"),
        (
            &format!("seconds=1&pid={NO_PROCESS}"),
            404,
            "no process 4242",
        ),
    ] {
        let answer = server.get(&format!("/api/profile?{query}"));
        assert_eq!(answer.status, status, "{query}");
        assert!(
            answer.error().contains(sentence),
            "{query}: {}",
            answer.error()
        );
    }
}

/// The fifth at once is told so. Clients that hang up make room: their captures are cancelled.
#[test]
fn four_captures_at_once() {
    let server = server();
    let path = format!("/api/profile?seconds=300&pid={FOREVER}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let clients: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut client = TcpStream::connect(server.address).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            client
        })
        .collect();
    let wait_for = |status| {
        for _ in 0..1000 {
            let answer = server.get("/api/profile?seconds=1");
            if answer.status == status {
                return answer;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("never {status}");
    };
    assert!(wait_for(429).error().contains("4 captures run already"));
    drop(clients);
    assert_eq!(wait_for(200).headers["x-thermograph-samples"], "100");
}

/// OpenMetrics with its own content type, to the end marker; health in a word.
#[test]
fn metrics_and_health() {
    let server = server();
    let metrics = server.get("/metrics");
    assert_eq!(
        metrics.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(metrics.text().contains("\nthermograph_samples_total 7\n"));
    assert!(metrics.text().ends_with("# EOF\n"));
    let health = server.get("/healthz");
    assert_eq!((health.status, health.text()), (200, "ok\n"));
}

/// Stopping ends idle connections and captures that run, and gives the port back.
#[test]
fn stops_cleanly() {
    let server = server();
    let address = server.address;
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let capture =
        format!("GET /api/profile?seconds=300&pid={FOREVER} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut running = TcpStream::connect(address).unwrap();
    running.write_all(capture.as_bytes()).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    server.stop();
    assert!(TcpStream::connect(address).is_err());
}
