//! All runtimes of this host behind one question that never blocks.

use super::asker;
use super::cache::{Cache, Entry};
use super::sources::Sources;
use super::{ContainerInfo, Knowledge, RuntimeConfig, SourceTrouble};
use crate::owner::Maker;
use crate::room::Room;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Containers that are asked for, or wait for it. Others are asked for in a later window.
const ORDERS: usize = 1024;
/// One realm's are at most this part of what is left of that. Whoever may make cgroups can make a million that look like containers: those
/// of others do not wait behind them.
const SAMPLED_PART: usize = 4;
/// The same where nothing was sampled yet.
const FORESEEN_PART: usize = 16;

/// The runtimes of this host.
pub(crate) struct Runtimes {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// A container to ask for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) maker: Maker,
    /// Whose room it takes.
    pub(super) realm: Arc<str>,
    /// How often it was asked for.
    pub(super) round: usize,
}

impl Order {
    /// What its container is remembered by.
    fn key(&self) -> Cow<'_, str> {
        self.maker.key(&self.id)
    }
}

/// What those who ask and those who answer have in common.
pub(super) struct Shared {
    pub(super) sources: Sources,
    state: Mutex<State>,
}

struct State {
    cache: Cache,
    room: Room,
}

impl Runtimes {
    /// Begins to look for runtimes; `handle` runs what is asked, until this is dropped.
    pub(crate) fn start(config: &RuntimeConfig, handle: &tokio::runtime::Handle) -> Arc<Self> {
        let (orders, taken) = mpsc::channel(ORDERS);
        let shared = Arc::new(Shared {
            sources: Sources::new(config),
            state: Mutex::new(State {
                cache: Cache::new(),
                room: Room::new(ORDERS),
            }),
        });
        handle.spawn(asker::ask(Arc::clone(&shared), taken));
        Arc::new(Self { shared, orders })
    }

    /// What is known of the container `id`, whose cgroup is in this realm. Never blocks: if nothing is known, asks in the background.
    pub(crate) fn get(&self, id: &str, maker: Maker, realm: &Arc<str>) -> Knowledge {
        if !is_id(id) {
            return Knowledge::Unknown;
        }
        let mut state = self.shared.state();
        match state.cache.get(&maker.key(id)) {
            Some(Entry::Known(info)) => Knowledge::Known(Arc::clone(info)),
            Some(Entry::Asking) => Knowledge::Asking,
            Some(Entry::Unknown) => Knowledge::Unknown,
            None => {
                self.order(&mut state, id, maker, realm, SAMPLED_PART);
                Knowledge::Asking
            }
        }
    }

    /// There may soon be a container `id`: it is asked for if there is room. Never blocks.
    pub(crate) fn foresee(&self, id: &str, maker: Maker, realm: &Arc<str>) {
        let mut state = self.shared.state();
        // Without room it is asked for when it is sampled.
        if is_id(id) && state.cache.get(&maker.key(id)).is_none() {
            self.order(&mut state, id, maker, realm, FORESEEN_PART);
        }
    }

    /// How the asking of each source goes.
    pub(crate) fn trouble(&self) -> Vec<SourceTrouble> {
        self.shared.sources.trouble()
    }

    /// Has a container asked for, if there is room for it.
    fn order(&self, state: &mut State, id: &str, maker: Maker, realm: &Arc<str>, part: usize) {
        if !state.room.take(realm, part) {
            return;
        }
        let order = Order {
            id: id.to_owned(),
            maker,
            realm: Arc::clone(realm),
            round: 0,
        };
        match self.orders.try_send(order) {
            Ok(()) => state.cache.put(&maker.key(id), Entry::Asking),
            // It has as much room: nobody takes orders any more.
            Err(_) => state.room.give_back(realm),
        }
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
    /// A runtime knows the container.
    pub(super) fn found(&self, order: &Order, info: ContainerInfo) {
        self.done(order, Some(Entry::Known(Arc::new(info))));
    }

    /// All who may know it have said that they do not.
    pub(super) fn not_there(&self, order: &Order) {
        self.done(order, Some(Entry::Unknown));
    }

    /// Some who may know it do not answer: whoever still wants to know has it asked for anew.
    pub(super) fn unsure(&self, order: &Order) {
        self.done(order, None);
    }

    fn done(&self, order: &Order, entry: Option<Entry>) {
        let mut state = self.state();
        match entry {
            Some(entry) => state.cache.put(&order.key(), entry),
            None => state.cache.forget(&order.key()),
        }
        state.room.give_back(&order.realm);
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
