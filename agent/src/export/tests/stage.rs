//! A server and an exporter in simulated time, with a real spool.

use super::*;
use crate::export::retry::{Answer, Outcome};
use crate::export::sender::{Clock, Push, Reach, Server};
use pprof_proto::push::PushRequest;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(super) const OWNERS: i64 = 4;
pub(super) const INTERVAL: Duration = Duration::from_secs(15);
pub(super) const SECOND: i64 = 1_000_000_000;
/// When the simulation begins, nanoseconds since the Unix epoch.
pub(super) const BEGIN: i64 = 1_800_000_000 * SECOND;

/// What a server does with pushes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    /// Stores, and says so after this time.
    Takes(Duration),
    /// Cannot be reached.
    Refuses,
    /// Answers this, stores nothing.
    Answers(u16, &'static str),
    /// Reads, stores nothing, never answers.
    Hangs,
    /// Reads, stores nothing, resets the connection.
    Resets,
    /// Stores, and resets the connection.
    StoresAndResets,
}

pub(super) const WELL: Mood = Mood::Takes(Duration::from_millis(500));

/// A server without sockets, whose time can be simulated.
pub(super) struct Stage {
    pub(super) mood: Mutex<Mood>,
    /// How often each profile is stored.
    pub(super) stored: Mutex<BTreeMap<(String, i64), usize>>,
    /// Pushes that have begun and, if they have, ended.
    pub(super) pushes: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Stage {
    pub(super) fn new(mood: Mood) -> Arc<Stage> {
        Arc::new(Stage {
            mood: Mutex::new(mood),
            stored: Mutex::default(),
            pushes: Mutex::default(),
        })
    }

    pub(super) fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn push(self: &Arc<Self>) -> Push {
        let stage = Arc::clone(self);
        Box::new(move |body| {
            let stage = Arc::clone(&stage);
            Box::pin(async move { stage.play(body).await })
        })
    }

    /// As far as can be seen without a push.
    pub(super) fn reach(self: &Arc<Self>) -> Reach {
        let stage = Arc::clone(self);
        Box::new(move || {
            let stage = Arc::clone(&stage);
            Box::pin(async move {
                let mood = *stage.mood.lock().unwrap();
                match mood {
                    Mood::Refuses => Some(Outcome::NotSent("connection refused".into())),
                    Mood::Hangs => {
                        sleep(Duration::from_secs(30)).await;
                        Some(Outcome::TimedOut)
                    }
                    _ => None,
                }
            })
        })
    }

    pub(super) fn server(self: &Arc<Self>, clock: Clock) -> Server {
        Server {
            push: self.push(),
            reach: self.reach(),
            clock,
        }
    }

    pub(super) async fn play(&self, body: Bytes) -> Outcome {
        let number = {
            let mut pushes = self.pushes.lock().unwrap();
            pushes.push((Instant::now(), None));
            pushes.len() - 1
        };
        let mood = *self.mood.lock().unwrap();
        let outcome = match mood {
            Mood::Takes(after) => {
                self.store(&body);
                sleep(after).await;
                answer(200, "")
            }
            Mood::Refuses => Outcome::NotSent("connection refused".into()),
            Mood::Answers(status, message) => answer(status, message),
            Mood::Hangs => {
                sleep(Duration::from_secs(30)).await;
                Outcome::TimedOut
            }
            Mood::Resets => Outcome::Broken("reset by peer".into()),
            Mood::StoresAndResets => {
                self.store(&body);
                Outcome::Broken("reset by peer".into())
            }
        };
        self.pushes.lock().unwrap()[number].1 = Some(Instant::now());
        outcome
    }

    pub(super) fn store(&self, body: &Bytes) {
        let mut request = PushRequest::decode(body.clone()).unwrap();
        let series = request.series.remove(0);
        let service = series
            .labels
            .iter()
            .find(|label| label.name == "service_name");
        let profile = pprof_proto::encode::decode(&series.samples[0].raw_profile, 4 << 20).unwrap();
        let key = (service.unwrap().value.clone(), profile.time_nanos);
        *self.stored.lock().unwrap().entry(key).or_default() += 1;
    }

    pub(super) fn stored(&self) -> usize {
        self.stored.lock().unwrap().len()
    }

    /// Waits until so many are stored, and a little longer for what should not come.
    pub(super) async fn stores(&self, expected: usize) {
        let begin = Instant::now();
        while self.stored() < expected && begin.elapsed() < Duration::from_secs(900) {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(120)).await;
        assert_eq!(self.stored(), expected);
    }

    pub(super) fn assert_each_once(&self) {
        let stored = self.stored.lock().unwrap();
        let twice: Vec<_> = stored.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

/// In memory where there is such a file system: hundreds of intervals are synced here.
pub(super) fn directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub(super) fn answer(status: u16, message: &str) -> Outcome {
    Outcome::Answered(Answer {
        status,
        message: message.to_owned(),
        retry_after: None,
    })
}

/// Everything as it is by default, with a spool in `directory` or none.
pub(super) fn spooled(directory: Option<&TempDir>) -> PyroscopeConfig {
    let mut config = config("http://unused");
    config.limits = PushLimits::default();
    if let Some(directory) = directory {
        config.spool.path = directory.path().join("spool");
        config.spool.most_bytes = 256 << 20;
    }
    config
}

/// An exporter in simulated time.
pub(super) struct Play {
    pub(super) exporter: Exporter,
    pub(super) registry: Registry,
    pub(super) begin: Instant,
    pub(super) stage: Arc<Stage>,
}

impl Play {
    /// One whose clock began at `begin`, with a spool in `directory` or none.
    pub(super) fn start(stage: &Arc<Stage>, begin: Instant, directory: Option<&TempDir>) -> Play {
        let clock: Clock = Box::new(move || BEGIN + begin.elapsed().as_nanos() as i64);
        Play::start_at(&spooled(directory), stage.server(clock), stage, begin)
    }

    /// The same with a configuration, and with another server than the stage.
    pub(super) fn start_at(
        config: &PyroscopeConfig,
        server: Server,
        stage: &Arc<Stage>,
        begin: Instant,
    ) -> Play {
        let mut registry = Registry::default();
        let metrics = ExportMetrics::new(&mut registry);
        Play {
            exporter: Exporter::with(config, "node-1", metrics, server),
            registry,
            begin,
            stage: Arc::clone(stage),
        }
    }

    /// Hands over the interval that has just ended.
    pub(super) fn submit(&self) {
        let start = BEGIN + (self.begin.elapsed() - INTERVAL).as_nanos() as i64;
        self.exporter.submit(
            (0..OWNERS)
                .map(|owner| profile_at(&format!("owner-{owner}"), start))
                .collect(),
        );
    }

    /// Lives for so many intervals.
    pub(super) async fn intervals(&self, count: usize) {
        for _ in 0..count {
            sleep(INTERVAL).await;
            self.submit();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts::of(&self.registry)
    }

    /// The process dies a second after the end of an interval: nothing is flushed, nothing said.
    pub(super) async fn killed(self) -> Counts {
        sleep(Duration::from_secs(1)).await;
        let task = self.exporter.task.lock().unwrap().take().unwrap();
        task.abort();
        let _ = task.await;
        Counts::of(&self.registry)
    }
}

pub(super) fn profile_at(service: &str, start: i64) -> Arc<OwnerProfile> {
    padded_at(service, start, 0)
}

pub(super) fn padded_at(service: &str, start: i64, padding: usize) -> Arc<OwnerProfile> {
    let sound = padded_profile(service, padding);
    let mut pprof = pprof_proto::encode::decode(&sound.pprof, 4 << 20).unwrap();
    pprof.time_nanos = start;
    Arc::new(OwnerProfile {
        start_unix_nanos: start,
        pprof: gzip(&pprof.encode_to_vec()),
        ..OwnerProfile::clone(&sound)
    })
}
