//! A real exporter against the Pyroscope stand-in: what arrives, and the one fate of everything that does not.

mod arrival;
mod backlog;
mod bounds;
mod fates;
mod https;
mod outage;
mod provisional;
mod proxy;
mod stage;

use super::config::PushLimits;
use super::*;
use crate::owner::Owner;
use ::tests::pyroscope::{Fault, Limits, Pyroscope};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use pprof_proto::pprof::{Function, Line, Location, Mapping, Profile, Sample, ValueType};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

/// Longer than anything here takes: an exporter that needs it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn owner(service: &str) -> Arc<Owner> {
    Arc::new(Owner::new(service.to_owned(), vec![]))
}

/// An owner's profile of one sample that began a minute ago, with one more string of `padding` bytes that do not compress.
fn padded_profile(service: &str, padding: usize) -> Arc<OwnerProfile> {
    let start = SystemTime::UNIX_EPOCH.elapsed().unwrap() - Duration::from_secs(60);
    let noise = (0..padding as u64)
        .map(|at| char::from(b'a' + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8));
    let strings = [
        "",
        "cpu",
        "nanoseconds",
        "thermograph src/main.rs",
        "main",
        "/usr/bin/x",
    ];
    let pprof = Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        sample: vec![Sample {
            location_id: vec![1],
            value: vec![10_101_010],
            label: vec![],
        }],
        mapping: vec![Mapping {
            id: 1,
            filename: 5,
            has_functions: true,
            ..Mapping::default()
        }],
        location: vec![Location {
            id: 1,
            mapping_id: 1,
            address: 0x1000,
            line: vec![Line {
                function_id: 1,
                ..Line::default()
            }],
            is_folded: false,
        }],
        function: vec![Function {
            id: 1,
            name: 4,
            ..Function::default()
        }],
        string_table: strings
            .into_iter()
            .map(str::to_owned)
            .chain([noise.collect()])
            .collect(),
        time_nanos: start.as_nanos() as i64,
        duration_nanos: 15_000_000_000,
        period_type: Some(ValueType { r#type: 1, unit: 2 }),
        period: 10_101_010,
        comment: vec![3],
        ..Profile::default()
    };
    let raw = pprof.encode_to_vec();
    Arc::new(OwnerProfile {
        owner: owner(service),
        start_unix_nanos: pprof.time_nanos,
        duration: Duration::from_secs(15),
        samples: 1,
        cpu_nanos: 10_101_010,
        pprof: gzip(&raw),
        raw_bytes: raw.len(),
    })
}

fn profile(service: &str) -> Arc<OwnerProfile> {
    padded_profile(service, 0)
}

/// A profile that began at `start` and holds `size` bytes that are no pprof.
pub(super) fn profile_of_size(start: i64, size: usize) -> Arc<OwnerProfile> {
    Arc::new(OwnerProfile {
        owner: owner("x"),
        start_unix_nanos: start,
        duration: Duration::from_secs(15),
        samples: 1,
        cpu_nanos: 1,
        pprof: vec![0; size].into(),
        raw_bytes: size,
    })
}

fn gzip(raw: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap().into()
}

/// Times short enough for a test, no jitter.
pub(super) fn config(url: &str) -> PyroscopeConfig {
    PyroscopeConfig {
        name: "server".to_owned(),
        url: url.parse().unwrap(),
        credentials: Credentials::None,
        tenant_id: None,
        headers: BTreeMap::new(),
        tls: TlsFiles::default(),
        interval: Duration::ZERO,
        spool: SpoolConfig {
            path: PathBuf::new(),
            most_bytes: 0,
        },
        limits: PushLimits {
            timeout: Duration::from_secs(20),
            first_backoff: Duration::from_millis(5),
            longest_backoff: Duration::from_millis(50),
            late_retry: Duration::from_millis(20),
            last_try: Duration::ZERO,
            ..PushLimits::default()
        },
    }
}

impl Exporter {
    /// Hands over profiles, none of which is provisional.
    pub(super) fn submit(&self, batch: Vec<Arc<OwnerProfile>>) {
        self.hand_over(batch, vec![]);
    }
}

/// An exporter and what it counts.
struct Rig {
    exporter: Exporter,
    registry: Registry,
}

impl Rig {
    fn new(config: &PyroscopeConfig) -> Rig {
        let mut registry = Registry::default();
        let metrics = ExportMetrics::new(&mut registry);
        Rig {
            exporter: Exporter::start(config, "node-1", metrics).unwrap(),
            registry,
        }
    }

    /// Sends all of it, and returns what was counted: lines of the exposition that are not 0.
    async fn finish(self) -> Counts {
        assert_eq!(
            self.exporter.flush(PATIENCE).await,
            0,
            "everything has its fate in time"
        );
        Counts::of(&self.registry)
    }
}

struct Counts(String);

impl Counts {
    fn of(registry: &Registry) -> Counts {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        Counts(text)
    }

    fn get(&self, name: &str) -> u64 {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.get(&format!(
            "thermograph_push_dropped_total{{destination=\"server\",reason=\"{reason}\"}}"
        ))
    }

    fn pushes(&self, code: &str) -> u64 {
        self.get(&format!(
            "thermograph_push_total{{destination=\"server\",code=\"{code}\"}}"
        ))
    }

    fn unknown(&self) -> u64 {
        self.of_server("thermograph_push_unknown_total")
    }

    fn retries(&self) -> u64 {
        self.of_server("thermograph_push_retries_total")
    }

    fn of_server(&self, name: &str) -> u64 {
        self.get(&format!("{name}{{destination=\"server\"}}"))
    }

    /// Profiles that have a fate: each has one.
    fn fates(&self) -> u64 {
        let of_reasons = self
            .0
            .lines()
            .filter(|line| line.starts_with("thermograph_push_dropped_total{"));
        let dropped: u64 = of_reasons
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        self.pushes("200") + dropped + self.unknown()
    }
}

/// Pushes one profile to a server that plays `faults` (fault, times) first, and returns what both sides counted.
async fn push_through(faults: &[(Fault, usize)]) -> (Pyroscope, Counts) {
    let server = Pyroscope::start();
    for (fault, times) in faults {
        server.play(fault.clone(), *times);
    }
    let mut config = config(&server.url());
    // Short only where no answer comes: a busy machine must not time out on one that does.
    if faults
        .iter()
        .any(|(fault, _)| matches!(fault, Fault::Hang | Fault::StoreAndAnswerAfter(_)))
    {
        config.limits.timeout = Duration::from_millis(300);
    }
    let rig = Rig::new(&config);
    rig.exporter.submit(vec![profile("app")]);
    let counts = rig.finish().await;
    assert_eq!(counts.fates(), 1, "one fate:\n{}", counts.0);
    (server, counts)
}

fn error(status: u16, code: &'static str, message: &str) -> Fault {
    Fault::Error {
        status,
        code,
        message: message.to_owned(),
    }
}
