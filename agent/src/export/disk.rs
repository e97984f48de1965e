//! The spool as the courier sees it: never blocks a thread that others wait for, and when the disk fails, profiles stay in memory.

use super::complaints::Complaints;
use super::metrics::ExportMetrics;
use super::parcel::Parcel;
use super::spool::{Order, Settled, Spool, Taken, Ticket, Wanted};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

/// How long a disk that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// A disk that takes longer has failed, and is left alone until it is back: pushes must not wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// What it was last asked for, if it did not answer.
    hung: Option<JoinHandle<()>>,
    /// What came of pushes meanwhile.
    unsettled: Vec<Settled>,
}

impl Disk {
    /// A disk that has not been touched.
    pub(super) fn new(
        config: SpoolConfig,
        metrics: ExportMetrics,
        complaints: Arc<Complaints>,
    ) -> Disk {
        Disk {
            config,
            metrics,
            complaints,
            spool: None,
            paused_until: None,
            none_until: BTreeMap::new(),
            waiting: 0,
            hung: None,
            unsettled: Vec::new(),
        }
    }

    /// When it is to be opened, if it has not been so far: what an earlier agent left in it waits for that.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let is_missing = self.is_wanted() && self.spool.is_none();
        is_missing.then(|| self.paused_until.unwrap_or_else(Instant::now))
    }

    /// Opens the spool, if there is to be one and it has not been opened. A disk that cannot be written is said, and asked again later.
    pub(super) async fn open(&mut self) {
        if self.opens_at().is_some_and(|at| at <= Instant::now()) {
            let _ = self.with(|_| Ok(()), |_, ()| {}).await;
        }
    }

    /// There is to be one.
    pub(super) fn is_wanted(&self) -> bool {
        self.config.most_bytes > 0
    }

    /// How much goes into one file, bytes: a small spool drops a quarter of it at a time, and not all.
    pub(super) fn file_bytes(&self) -> usize {
        self.most_provisional().min(FILE_BYTES)
    }

    /// How much may be provisional, bytes: it is in one file.
    pub(super) fn most_provisional(&self) -> usize {
        usize::try_from(self.config.most_bytes / 4).unwrap_or(usize::MAX)
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

    /// Puts parcels on disk, and behind them all that is provisional; nothing is there if this says no. Those with `true` are on their way
    /// to the server.
    pub(super) async fn append(
        &mut self,
        parcels: &[(Parcel, bool)],
        provisional: &[Parcel],
    ) -> Option<Vec<Ticket>> {
        let to_be_sent = parcels
            .iter()
            .map(|(parcel, is_on_its_way)| parcel.pack(*is_on_its_way));
        let provisional = provisional.iter().map(|parcel| parcel.pack(false));
        let entrusted: Vec<_> = to_be_sent.chain(provisional).collect();
        let forget = |spool: &mut Spool, tickets: Vec<Ticket>| {
            let done: Vec<_> = tickets.into_iter().map(Settled::done).collect();
            let _ = spool.settle(&done);
        };
        let tickets = self
            .with(move |spool| spool.append(&entrusted), forget)
            .await?;
        self.metrics.spooled(parcels.len() as u64);
        self.none_until.clear();
        Some(tickets)
    }

    /// Takes parcels to be sent.
    pub(super) async fn take(&mut self, wanted: Wanted) -> Vec<Parcel> {
        let put_back = |spool: &mut Spool, taken: Vec<Taken>| {
            let unsent: Vec<_> = taken.iter().map(Taken::unsent).collect();
            let _ = spool.settle(&unsent);
        };
        let taken = self.with(move |spool| spool.take(wanted), put_back).await;
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
        self.unsettled.extend(outcomes);
        if self.unsettled.is_empty() || self.is_hung() {
            return;
        }
        let outcomes = std::mem::take(&mut self.unsettled);
        let _ = self
            .with(move |spool| spool.settle(&outcomes), |_, ()| {})
            .await;
    }

    /// Does something with the spool. `undo` takes it back if the disk hangs, so that this says no, and answers later.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static,
        undo: impl FnOnce(&mut Spool, T) + Send + 'static,
    ) -> Option<T> {
        if !self.is_wanted() {
            return None;
        }
        match self.work(work, undo).await {
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

    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static,
        undo: impl FnOnce(&mut Spool, T) + Send + 'static,
    ) -> io::Result<T> {
        let spool = match &self.spool {
            Some(spool) => Arc::clone(spool),
            None => {
                let SpoolConfig { path, most_bytes } = self.config.clone();
                let open = move || Spool::open(&path, most_bytes);
                let spool = Arc::new(Mutex::new(self.wait_for(open, drop).await?));
                self.spool = Some(Arc::clone(&spool));
                spool
            }
        };
        let (shared, again) = (Arc::clone(&spool), Arc::clone(&spool));
        let work = move || work(&mut lock(&shared));
        let done = self
            .wait_for(work, move |value| undo(&mut lock(&again), value))
            .await;
        if self.hung.is_none() {
            self.look_at(&mut lock(&spool));
        }
        done
    }

    /// Does `work` on a thread that may wait for a disk. What comes too late goes to `late`, on that thread.
    async fn wait_for<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<T> {
        let hangs = || io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        if self.is_hung() {
            return Err(hangs());
        }
        self.hung = None;
        let (sender, mut receiver) = oneshot::channel();
        let task = spawn_blocking(move || {
            if let Err(Ok(value)) = sender.send(work()) {
                late(value);
            }
        });
        let done = match timeout(PATIENCE, &mut receiver).await {
            Ok(done) => done.ok(),
            Err(_) => {
                receiver.close();
                receiver.try_recv().ok()
            }
        };
        done.unwrap_or_else(|| {
            self.hung = Some(task);
            Err(hangs())
        })
    }

    fn is_hung(&self) -> bool {
        self.hung.as_ref().is_some_and(|task| !task.is_finished())
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

/// No code that can panic runs under the lock: a poisoned one is whole.
fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::profile_of_size;
    use prometheus_client::registry::Registry;
    use std::sync::mpsc;
    use std::thread;

    /// A disk that hangs is waited for once; what it does in the end, after it was given up, is taken back; then it is used again.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let config = SpoolConfig {
            path: directory.path().join("spool"),
            most_bytes: 1 << 20,
        };
        let metrics = ExportMetrics::new(&mut Registry::default());
        let mut disk = Disk::new(config, metrics, Arc::new(Complaints::of("server")));
        disk.open().await;
        let now = 1_800_000_000_000_000_000;
        let parcel = Parcel::new(&profile_of_size(now, 100), "node", now).unwrap();
        let parcels = [(parcel, true)];
        let first = disk.append(&parcels, &[]).await.unwrap();
        let spool = disk.spool.clone().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (locked, is_locked) = mpsc::channel();
        let holder = thread::spawn(move || {
            let _held = lock(&spool);
            locked.send(()).unwrap();
            let _ = released.recv();
        });
        is_locked.recv().unwrap();
        let time = tokio::time::advance(PATIENCE + Duration::from_secs(1));
        let (kept, ()) = tokio::join!(disk.append(&parcels, &[]), time);
        assert!(kept.is_none());
        assert!(disk.append(&parcels, &[]).await.is_none());
        disk.settle(vec![Settled::done(first[0])]).await;
        drop(release);
        holder.join().unwrap();
        disk.hung.take().unwrap().await.unwrap();
        // What was learned meanwhile is written down with the next.
        let second = disk.append(&parcels, &[]).await.unwrap();
        disk.settle(vec![Settled::done(second[0])]).await;
        assert_eq!(lock(disk.spool.as_ref().unwrap()).bytes(), 0);
    }
}
