//! All runtimes of this host behind one question that never blocks.

use super::asker::{self, Order};
use super::cache::{Cache, Entry};
use super::sources::Sources;
use super::{ContainerInfo, Knowledge, RuntimeConfig, SourceTrouble};
use crate::owner::Maker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Orders that wait to be taken; with more, the containers are asked for in a later window.
const ORDERS: usize = 1024;

/// The runtimes of this host.
pub(crate) struct Runtimes {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    foreseen: mpsc::Sender<Order>,
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
        let (foreseen, taken_last) = mpsc::channel(ORDERS);
        let shared = Arc::new(Shared {
            sources: Sources::new(config),
            cache: Mutex::new(Cache::new()),
        });
        handle.spawn(asker::ask(Arc::clone(&shared), taken, taken_last));
        Arc::new(Self {
            shared,
            orders,
            foreseen,
        })
    }

    /// What is known of the container `id`. Never blocks: if nothing is known, asks in the background.
    pub(crate) fn get(&self, id: &str, maker: Maker) -> Knowledge {
        if !is_id(id) {
            return Knowledge::Unknown;
        }
        let key = maker.key(id);
        let mut cache = self.shared.cache();
        match cache.get(&key) {
            Some(Entry::Known(info)) => Knowledge::Known(Arc::clone(info)),
            Some(Entry::Asking) => Knowledge::Asking,
            Some(Entry::Unknown) => Knowledge::Unknown,
            None => {
                if self.order(id, maker) {
                    cache.put(&key, Entry::Asking);
                }
                Knowledge::Asking
            }
        }
    }

    /// There may soon be a container `id`: it is asked for when there is time. Never blocks.
    pub(crate) fn foresee(&self, id: &str, maker: Maker) {
        if is_id(id) {
            // With too many it is asked for when it is sampled.
            let _ = self.foreseen.try_send(Order::new(id, maker));
        }
    }

    /// How the asking of each source goes.
    pub(crate) fn trouble(&self) -> Vec<SourceTrouble> {
        self.shared.sources.trouble()
    }

    /// Whether there was room for it.
    fn order(&self, id: &str, maker: Maker) -> bool {
        self.orders.try_send(Order::new(id, maker)).is_ok()
    }
}

/// Whether it may become part of paths and addresses.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Asks each source that is there once, and tells how that went.
pub(crate) async fn try_each(config: &RuntimeConfig) -> Vec<SourceTrouble> {
    let sources = Sources::new(config);
    sources.try_each().await;
    sources.trouble()
}

impl Shared {
    /// Notes that a container is being asked for; false if it is, or was, already.
    pub(super) fn begin(&self, order: &Order) -> bool {
        let mut cache = self.cache();
        let is_new = cache.get(&order.key()).is_none();
        if is_new {
            cache.put(&order.key(), Entry::Asking);
        }
        is_new
    }

    /// A runtime knows the container.
    pub(super) fn found(&self, order: &Order, info: ContainerInfo) {
        self.cache().put(&order.key(), Entry::Known(Arc::new(info)));
    }

    /// All who may know it have said that they do not.
    pub(super) fn not_there(&self, order: &Order) {
        self.cache().put(&order.key(), Entry::Unknown);
    }

    /// Some who may know it do not answer: whoever still wants to know has it asked for anew.
    pub(super) fn unsure(&self, order: &Order) {
        self.cache().forget(&order.key());
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
