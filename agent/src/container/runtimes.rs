//! All runtimes of this host behind one question that never blocks.

use super::asker::{self, Order};
use super::cache::{Cache, Entry, Unknown};
use super::sources::Sources;
use super::{ContainerInfo, Knowledge, RuntimeConfig, SourceTrouble};
use crate::owner::Runtime;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Orders that wait to be taken; with more, the containers are asked for in a later window.
const ORDERS: usize = 1024;
/// Pause before a container is asked for once more that nobody knew while some did not answer, doubled each time.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest such pause: 32 minutes.
const DOUBLINGS: u32 = 6;

/// The runtimes of this host.
pub(crate) struct Runtimes {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// What those who ask and those who answer have in common.
pub(super) struct Shared {
    pub(super) sources: Sources,
    cache: Mutex<Cache>,
}

impl Runtimes {
    /// Begins to look for runtimes; `handle` runs what is asked, until this is dropped.
    pub(crate) fn start(config: &RuntimeConfig, handle: &tokio::runtime::Handle) -> Arc<Self> {
        let (orders, taken) = mpsc::channel(ORDERS);
        let shared = Arc::new(Shared {
            sources: Sources::new(config),
            cache: Mutex::new(Cache::new()),
        });
        handle.spawn(asker::ask(Arc::clone(&shared), taken));
        Arc::new(Self { shared, orders })
    }

    /// What is known of the container `id`. Never blocks: if nothing is known, asks in the background. The runtime that the cgroup's path
    /// hints at is asked first.
    pub(crate) fn get(&self, id: &str, hint: Option<Runtime>) -> Knowledge {
        // It becomes part of paths and addresses.
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Knowledge::Unknown;
        }
        let mut cache = self.shared.cache();
        match cache.get(id) {
            Some(Entry::Known(info)) => Knowledge::Known(Arc::clone(info)),
            Some(Entry::Asking) => Knowledge::Asking,
            Some(Entry::Unknown(unknown)) => {
                let is_due = unknown.again.is_some_and(|again| again <= Instant::now());
                if is_due && self.order(id, hint) {
                    unknown.again = None;
                }
                Knowledge::Unknown
            }
            None => {
                if self.order(id, hint) {
                    cache.put(id, Entry::Asking);
                }
                Knowledge::Asking
            }
        }
    }

    /// How the asking of each source goes.
    pub(crate) fn trouble(&self) -> Vec<SourceTrouble> {
        self.shared.sources.trouble()
    }

    /// Whether there was room for it.
    fn order(&self, id: &str, hint: Option<Runtime>) -> bool {
        self.orders.try_send(Order::new(id, hint)).is_ok()
    }
}

/// Asks each source that is there once, and tells how that went.
pub(crate) async fn try_each(config: &RuntimeConfig) -> Vec<SourceTrouble> {
    let sources = Sources::new(config);
    sources.try_each().await;
    sources.trouble()
}

impl Shared {
    /// A runtime knows the container.
    pub(super) fn found(&self, id: &str, info: ContainerInfo) {
        self.cache().put(id, Entry::Known(Arc::new(info)));
    }

    /// Nobody knows it; `is_sure` if all answered that may know it.
    pub(super) fn not_found(&self, id: &str, is_sure: bool) {
        let mut cache = self.cache();
        let times = match cache.get(id) {
            Some(Entry::Unknown(before)) => before.times,
            _ => 0,
        };
        let pause = AGAIN * (1 << times.min(DOUBLINGS));
        let unknown = Unknown {
            times: times + 1,
            again: (!is_sure).then(|| Instant::now() + pause),
        };
        cache.put(id, Entry::Unknown(unknown));
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
