//! The spool as the courier sees it: never blocks a thread that others wait for, and when the disk fails, profiles stay in memory.

use super::complaints::Complaints;
use super::metrics::ExportMetrics;
use super::parcel::Parcel;
use super::spool::{Order, Settled, Spool, Ticket, Wanted};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a disk that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// How long after nothing was found to be ready it is looked again.
const NONE_READY: Duration = Duration::from_secs(1);

/// Of one file of the spool, bytes.
const FILE_BYTES: usize = 4 << 20;

/// Where a spool is kept, and how large it may be.
#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// Bytes on disk; 0 is no spool.
    pub(crate) most_bytes: u64,
}

/// The spool, or what is known of why there is none.
pub(super) struct Disk {
    config: SpoolConfig,
    metrics: ExportMetrics,
    complaints: Arc<Complaints>,
    spool: Option<Arc<Mutex<Spool>>>,
    /// It has failed: not to be touched before.
    paused_until: Option<Instant>,
    /// Nothing is to be found before in these orders.
    none_until: BTreeMap<Order, Instant>,
    waiting: usize,
}

impl Disk {
    /// Opens the spool, if there is to be one. A disk that cannot be written is said, and asked again later.
    pub(super) fn open(
        config: SpoolConfig,
        metrics: ExportMetrics,
        complaints: Arc<Complaints>,
    ) -> Disk {
        let mut disk = Disk {
            config,
            metrics,
            complaints,
            spool: None,
            paused_until: None,
            none_until: BTreeMap::new(),
            waiting: 0,
        };
        if disk.is_wanted() {
            let opened = Spool::open(&disk.config.path, disk.config.most_bytes);
            let _ = disk.opened(opened);
        }
        disk
    }

    fn opened(&mut self, spool: io::Result<Spool>) -> Option<Arc<Mutex<Spool>>> {
        match spool {
            Ok(mut spool) => {
                self.look_at(&mut spool);
                self.spool = Some(Arc::new(Mutex::new(spool)));
            }
            Err(error) => self.failed(&error),
        }
        self.spool.clone()
    }

    /// When it is to be opened, if it could not be so far: what an earlier agent left in it waits for that.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let is_missing = self.is_wanted() && self.spool.is_none();
        is_missing.then(|| self.paused_until.unwrap_or_else(Instant::now))
    }

    /// Opens it, if it could not be so far.
    pub(super) async fn reopen(&mut self) {
        if self.opens_at().is_some_and(|at| at <= Instant::now()) {
            let _ = self.with(|_| Ok(())).await;
        }
    }

    /// There is to be one.
    pub(super) fn is_wanted(&self) -> bool {
        self.config.most_bytes > 0
    }

    /// How much goes into one file, bytes: a small spool drops a quarter of it at a time, and not all.
    pub(super) fn file_bytes(&self) -> usize {
        usize::try_from(self.config.most_bytes / 4).map_or(FILE_BYTES, |most| most.min(FILE_BYTES))
    }

    /// Whether it is large enough for this one.
    pub(super) fn has_place_for(&self, parcel: &Parcel) -> bool {
        parcel.packed_bytes() as u64 <= self.config.most_bytes
    }

    /// Whether something can be put there now.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.is_wanted() && self.paused_until.is_none_or(|until| until <= now)
    }

    /// When it is to be tried again after it failed.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.is_wanted())
    }

    /// From when on it makes sense to take profiles in this order.
    pub(super) fn takes_from(&self, order: Order) -> Option<Instant> {
        self.none_until.get(&order).copied().max(self.paused_until)
    }

    /// Profiles that could be taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts parcels on disk; nothing is there if this says no. Those with `true` are on their way to the server.
    pub(super) async fn append(&mut self, parcels: &[(Parcel, bool)]) -> Option<Vec<Ticket>> {
        let entrusted: Vec<_> = parcels
            .iter()
            .map(|(parcel, is_on_its_way)| parcel.pack(*is_on_its_way))
            .collect();
        let tickets = self.with(move |spool| spool.append(&entrusted)).await?;
        self.metrics.spooled(parcels.len() as u64);
        self.none_until.clear();
        Some(tickets)
    }

    /// Takes parcels to be sent.
    pub(super) async fn take(&mut self, wanted: Wanted) -> Vec<Parcel> {
        let taken = self.with(move |spool| spool.take(wanted)).await;
        let taken = taken.unwrap_or_default();
        if taken.is_empty() && self.waiting > 0 {
            self.none_until
                .insert(wanted.order, wanted.now + NONE_READY);
        }
        let mut nonsense = Vec::new();
        let mut parcels = Vec::new();
        for profile in taken {
            let ticket = profile.ticket;
            match Parcel::unpack(profile) {
                Some(parcel) => parcels.push(parcel),
                None => nonsense.push(Settled::done(ticket)),
            }
        }
        for _ in &nonsense {
            self.metrics.dropped("spool_corrupt");
        }
        self.settle(nonsense).await;
        parcels
    }

    /// Writes down what came of pushes.
    pub(super) async fn settle(&mut self, outcomes: Vec<Settled>) {
        if outcomes.is_empty() {
            return;
        }
        let _ = self.with(move |spool| spool.settle(&outcomes)).await;
    }

    /// Does something with the spool, on a thread that may wait for a disk.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        if !self.is_wanted() {
            return None;
        }
        let spool = match self.spool.clone() {
            Some(spool) => spool,
            None => {
                let SpoolConfig { path, most_bytes } = self.config.clone();
                let opened =
                    tokio::task::spawn_blocking(move || Spool::open(&path, most_bytes)).await;
                self.opened(opened.ok()?)?
            }
        };
        let shared = Arc::clone(&spool);
        // No code that can panic runs under the lock: a poisoned one is whole.
        let done = tokio::task::spawn_blocking(move || {
            work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let done = done.await.ok()?;
        self.look_at(&mut spool.lock().unwrap_or_else(PoisonError::into_inner));
        match done {
            Ok(value) => {
                self.paused_until = None;
                Some(value)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.paused_until = Some(Instant::now() + PAUSE);
        self.metrics.spool_failed();
        self.complaints.spool_failed(&self.config.path, error);
    }

    fn look_at(&mut self, spool: &mut Spool) {
        self.waiting = spool.waiting();
        self.metrics.spool_bytes(spool.bytes());
        self.metrics.spool_lost(spool.losses());
    }
}
