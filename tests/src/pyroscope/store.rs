//! What the server remembers.

use super::fault::Fault;
use axum::http::request::Parts;
use pprof_proto::pprof::Profile;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::SystemTime;

/// One profile that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Labels of its series as they were sent, without those that the server drops.
    pub labels: BTreeMap<String, String>,
    /// The profile without the samples that the server drops.
    pub profile: Profile,
    /// When it came.
    pub received: SystemTime,
    /// Headers of the request it came by, names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// One request, whatever became of it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Status it was answered with; 0 if it never was.
    pub status: u16,
    /// When that was.
    pub at: SystemTime,
}

impl Received {
    pub(super) fn new(parts: &Parts, status: u16) -> Received {
        Received {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            headers: headers(parts),
            status,
            at: SystemTime::now(),
        }
    }
}

pub(super) fn headers(parts: &Parts) -> BTreeMap<String, String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

#[derive(Default)]
pub(super) struct Store {
    stored: Mutex<Vec<Stored>>,
    requests: Mutex<Vec<Received>>,
    losses: Mutex<Vec<String>>,
    faults: Mutex<VecDeque<(Fault, usize)>>,
}

impl Store {
    pub(super) fn keep(&self, stored: Stored) {
        self.stored.lock().unwrap().push(stored);
    }

    pub(super) fn lose(&self, losses: Vec<String>) {
        self.losses.lock().unwrap().extend(losses);
    }

    pub(super) fn note(&self, request: Received) {
        self.requests.lock().unwrap().push(request);
    }

    pub(super) fn stored(&self) -> Vec<Stored> {
        self.stored.lock().unwrap().clone()
    }

    pub(super) fn losses(&self) -> Vec<String> {
        self.losses.lock().unwrap().clone()
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn play(&self, fault: Fault, times: usize) {
        self.faults.lock().unwrap().push_back((fault, times));
    }

    pub(super) fn next_fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        while let Some((fault, times)) = faults.front_mut() {
            if *times > 0 {
                *times -= 1;
                return Some(fault.clone());
            }
            faults.pop_front();
        }
        None
    }
}
