//! Engines of users: rootless Docker and podman, each asked only of what runs in its user's own sessions.

use super::socket::Socket;
use super::source::{Source, Way};
use super::trouble::SourceTrouble;
use crate::owner::Runtime;
use lru::LruCache;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where users have their sockets, each in a directory of his uid, below a root directory.
const OF_USERS: &str = "run/user";
/// Users whose engines are remembered.
const USERS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// The engines of one user.
type Engines = [Source; 2];

/// The engines of all users.
pub(super) struct UserEngines {
    roots: Vec<PathBuf>,
    known: Mutex<Known>,
}

struct Known {
    engines: LruCache<u32, Arc<Engines>>,
    /// What was counted of those that are not remembered any more.
    gone: Vec<SourceTrouble>,
}

impl UserEngines {
    /// Those below one of `roots`.
    pub(super) fn new(roots: &[PathBuf]) -> Self {
        Self {
            roots: roots.to_owned(),
            known: Mutex::new(Known {
                engines: LruCache::new(USERS),
                gone: Vec::new(),
            }),
        }
    }

    /// Those of this user.
    pub(super) fn of(&self, user: u32) -> Arc<Engines> {
        // No code that can panic runs under the lock: a poisoned one is whole.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engines) = known.engines.get(&user) {
            return Arc::clone(engines);
        }
        let engine = |name, runtime, socket| {
            let place = format!("{OF_USERS}/{user}/{socket}");
            let way = Way::Engine(Socket::of_user(user, &place, &self.roots));
            Source::new(name, Some(runtime), way)
        };
        let engines = Arc::new([
            engine("docker_rootless", Runtime::Docker, "docker.sock"),
            engine("podman_rootless", Runtime::Podman, "podman/podman.sock"),
        ]);
        if let Some((_, old)) = known.engines.push(user, Arc::clone(&engines)) {
            let old = old.iter().map(Source::trouble);
            known.gone = sums(std::mem::take(&mut known.gone).into_iter().chain(old));
        }
        engines
    }

    /// Users with sessions, or with engines that run without.
    pub(super) fn there(&self) -> Vec<u32> {
        let directories = self.roots.iter().map(|root| root.join(OF_USERS));
        let entries =
            directories.flat_map(|directory| fs::read_dir(directory).into_iter().flatten());
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut users: Vec<u32> = names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect();
        users.sort_unstable();
        users.dedup();
        users.truncate(USERS.get());
        users
    }

    /// How the asking of all of them goes, by kinds of engines.
    pub(super) fn trouble(&self) -> Vec<SourceTrouble> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let engines = known.engines.iter().flat_map(|(_, engines)| engines.iter());
        sums(
            known
                .gone
                .iter()
                .cloned()
                .chain(engines.map(Source::trouble)),
        )
    }
}

/// Counts of sources of one name are one; the first error is kept.
fn sums(all: impl Iterator<Item = SourceTrouble>) -> Vec<SourceTrouble> {
    let mut sums: Vec<SourceTrouble> = Vec::new();
    for one in all {
        match sums.iter_mut().find(|sum| sum.source == one.source) {
            Some(sum) => {
                sum.asked += one.asked;
                sum.known += one.known;
                sum.failed += one.failed;
                sum.last_error = sum.last_error.take().or(one.last_error);
            }
            None => sums.push(one),
        }
    }
    sums
}
