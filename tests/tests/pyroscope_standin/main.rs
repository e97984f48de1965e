//! The stand-in against what a real Pyroscope 2.2 was seen to answer: each documented refusal has its documented status,
//! each silent loss is named, and what is stored comes back from a query.

mod http;
mod losses;
mod queries;
mod refusals;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof_proto::pprof::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use pprof_proto::push::{LabelPair, PushRequest, RawProfileSeries, RawSample};
use prost::Message;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};
use tests::pyroscope::query::SelectMergeProfileRequest;
use tests::pyroscope::{Fault, Limits, Pyroscope};

const PUSH: &str = "/push.v1.PusherService/Push";
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn message(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["message"].as_str().unwrap_or_default().to_owned()
    }

    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One request on a connection of its own, with exactly these headers: a client library would not send some of them.
fn send(server: &Pyroscope, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply
        .windows(4)
        .position(|at| at == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(reply[..end].to_vec())
        .unwrap()
        .to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply {
        status,
        head,
        body: reply[end + 4..].to_vec(),
    }
}

fn push_body(server: &Pyroscope, body: &[u8]) -> Reply {
    send(
        server,
        "POST",
        PUSH,
        "content-type: application/proto\r\n",
        body,
    )
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs
        .iter()
        .map(|&(name, value)| LabelPair {
            name: name.into(),
            value: value.into(),
        })
        .collect()
}

fn plain_labels() -> Vec<LabelPair> {
    labels(&[("__name__", "process_cpu"), ("service_name", "app")])
}

fn series(labels: Vec<LabelPair>, raw_profile: Vec<u8>) -> RawProfileSeries {
    RawProfileSeries {
        labels,
        samples: vec![RawSample {
            raw_profile: raw_profile.into(),
            id: String::new(),
        }],
    }
}

fn request(series: Vec<RawProfileSeries>) -> Vec<u8> {
    PushRequest { series }.encode_to_vec()
}

fn push(server: &Pyroscope, labels: Vec<LabelPair>, profile: &Profile) -> Reply {
    push_body(
        server,
        &request(vec![series(labels, gzip(&profile.encode_to_vec()))]),
    )
}

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn now_nanos() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64
}

fn seconds(seconds: i64) -> i64 {
    seconds * 1_000_000_000
}

/// A sound profile of these folded stacks that began a minute ago.
fn profile(stacks: &[(&str, i64)]) -> Profile {
    let strings = [
        "",
        "cpu",
        "nanoseconds",
        "thermograph src/main.rs",
        "/usr/bin/app",
    ];
    let mut profile = Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        mapping: vec![Mapping {
            id: 1,
            filename: 4,
            has_functions: true,
            ..Mapping::default()
        }],
        string_table: strings.map(str::to_owned).to_vec(),
        time_nanos: now_nanos() - seconds(60),
        period_type: Some(ValueType { r#type: 1, unit: 2 }),
        period: 10_000_000,
        comment: vec![3],
        ..Profile::default()
    };
    for (folded, value) in stacks {
        let location_id = folded
            .rsplit(';')
            .map(|name| location(&mut profile, name))
            .collect();
        profile.sample.push(Sample {
            location_id,
            value: vec![*value],
            label: vec![],
        });
    }
    profile
}

/// A new location in a new function.
fn location(profile: &mut Profile, name: &str) -> u64 {
    let id = profile.location.len() as u64 + 1;
    let text = string(profile, name);
    profile.function.push(Function {
        id,
        name: text,
        ..Function::default()
    });
    let line = vec![Line {
        function_id: id,
        ..Line::default()
    }];
    profile.location.push(Location {
        id,
        mapping_id: 1,
        address: 0x1000 + id,
        line,
        is_folded: false,
    });
    id
}

fn string(profile: &mut Profile, text: &str) -> i64 {
    profile.string_table.push(text.to_owned());
    profile.string_table.len() as i64 - 1
}
