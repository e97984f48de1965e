//! Takes the profiles of this host to one server: paced, tried again, kept on disk while it does not take them.
//!
//! ```text
//!                 ┌──────────────── memory ────────────────┐
//!  given  ──► queue ──► admitted by the pace ──► in flight ─┴─► stored, refused for good, unknown: its one fate
//!               │                 ▲                 │
//!               │                 │ live first      │ not now, or no answer yet
//!               ▼                 │                 ▼
//!             ══╪═══════════ disk (spool) ══════════╪══   at once while the server is in trouble: it has not taken what it was sent last,
//!               └─────────────────┴─────────────────┘     or has let a push wait for 0.8 s
//! ```
//!
//! While the server takes profiles, nothing is on disk. What is put there while it is in flight is there as "may be stored". In an outage one
//! profile at a time is sent, to see whether it is over: that which has been tried least, so that none uses up its tries while nothing is taken.
//! A disk that fails leaves profiles in memory. While profiles wait in the queue for their host's turn, somebody looks whether the server is there at
//! all, so that they are on disk in time if it is not. What is provisional is never sent, but lies on disk in an outage, too.

mod choose;
mod provisional;
mod rescue;

use super::disk::Disk;
use super::health::Health;
use super::parcel::{Fate, Next, Parcel};
use super::queue::Queue;
use super::retry::{Decision, Outcome, decide};
use super::sender::Sender;
use super::spool::{Sent, Settled};
use leaky_bucket::AcquireOwned;
use provisional::Provisional;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(super) struct Courier {
    sender: Arc<Sender>,
    queue: Arc<Queue>,
    disk: Disk,
    health: Health,
    /// In memory, to be sent again.
    waiting: VecDeque<Parcel>,
    /// Taken from disk, to be sent.
    backlog: VecDeque<Parcel>,
    provisional: Provisional,
    admission: Option<(Parcel, Pin<Box<AcquireOwned>>)>,
    flights: BTreeMap<u64, Flight>,
    pushes: JoinSet<(u64, Outcome)>,
    pushed: u64,
    looks: JoinSet<Option<Outcome>>,
    /// When the last look began, if it has not ended.
    looking_since: Option<Instant>,
}

struct Flight {
    parcel: Parcel,
    since: Instant,
    is_probe: bool,
}

/// What the courier waits for.
enum Event {
    Admitted,
    Ended(u64, Outcome),
    Looked(Option<Outcome>),
    Submitted,
    Other,
    Halt,
}

impl Courier {
    pub(super) fn new(sender: Arc<Sender>, queue: Arc<Queue>, disk: Disk) -> Courier {
        Courier {
            health: Health::new(sender.limits.waits()),
            sender,
            queue,
            disk,
            waiting: VecDeque::new(),
            backlog: VecDeque::new(),
            provisional: Provisional::default(),
            admission: None,
            flights: BTreeMap::new(),
            pushes: JoinSet::new(),
            pushed: 0,
            looks: JoinSet::new(),
            looking_since: None,
        }
    }

    /// Delivers until the queue is closed and all that is in memory has its fate or is on disk, or until `halt`.
    pub(super) async fn run(mut self, halt: Arc<Notify>) {
        loop {
            self.disk.open().await;
            let in_trouble = self.is_in_trouble(Instant::now());
            let keeps = &self.sender.keeps_provisional;
            keeps.store(in_trouble, Ordering::Relaxed);
            if in_trouble {
                self.rescue().await;
            }
            self.forget_replaced().await;
            if self.admission.is_none()
                && let Some(parcel) = self.next().await
            {
                let admission = self.sender.pace.admit(parcel.request.size);
                self.admission = Some((parcel, Box::pin(admission)));
            }
            if self.is_done() {
                break;
            }
            match self.event(&halt).await {
                Event::Admitted => self.push(),
                Event::Ended(number, outcome) => self.ended(number, outcome).await,
                Event::Submitted => {
                    self.learn_provisional();
                    self.look();
                }
                Event::Looked(outcome) => self.looked(outcome),
                Event::Other => {}
                Event::Halt => break,
            }
        }
        self.end().await;
    }

    async fn event(&mut self, halt: &Notify) -> Event {
        let wake_at = self.wake_at();
        let admission = self.admission.as_mut();
        tokio::select! {
            Some(ended) = self.pushes.join_next() => match ended {
                Ok((number, outcome)) => Event::Ended(number, outcome),
                Err(_) => Event::Other,
            },
            () = async { match admission {
                Some((_, admitted)) => admitted.await,
                None => std::future::pending().await,
            } } => Event::Admitted,
            Some(looked) = self.looks.join_next() => Event::Looked(looked.ok().flatten()),
            () = self.queue.changed() => Event::Submitted,
            () = halt.notified() => Event::Halt,
            () = async { match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => Event::Other,
        }
    }

    /// Sends what has been admitted.
    fn push(&mut self) {
        let Some((parcel, _)) = self.admission.take() else {
            return;
        };
        if parcel.is_repeat {
            self.sender.metrics.retried();
        }
        if parcel.sent == Sent::Once {
            self.sender.metrics.repeated_unknown();
        }
        let (sender, body) = (Arc::clone(&self.sender), parcel.request.body.clone());
        let number = self.pushed;
        self.pushed += 1;
        self.pushes
            .spawn(async move { (number, sender.push(body).await) });
        let flight = Flight {
            parcel,
            since: Instant::now(),
            is_probe: self.health.out_since().is_some(),
        };
        self.flights.insert(number, flight);
    }

    async fn ended(&mut self, number: u64, outcome: Outcome) {
        let mut ended = vec![(number, outcome)];
        while let Some(Ok(more)) = self.pushes.try_join_next() {
            ended.push(more);
        }
        self.all_ended(ended).await;
        if self.held_bytes() > self.sender.limits.queue_bytes {
            if self.disk.is_usable(Instant::now()) {
                self.rescue().await;
            } else {
                self.drop_oldest();
            }
        }
    }

    async fn all_ended(&mut self, ended: Vec<(u64, Outcome)>) {
        let mut settled = Vec::new();
        for (number, outcome) in ended {
            let Some(Flight { mut parcel, .. }) = self.flights.remove(&number) else {
                continue;
            };
            self.note(&outcome, parcel.request.size);
            let from_spool = parcel.ticket.is_some();
            match parcel.pushed(&outcome, &self.sender.limits) {
                Next::Settled(fate) => {
                    if from_spool && matches!(fate, Fate::Stored) {
                        self.sender.metrics.spool_sent();
                    }
                    settled.extend(parcel.ticket.map(Settled::done));
                    self.count(fate, &parcel.service);
                }
                Next::Later(wait) => {
                    parcel.not_before = Instant::now() + wait;
                    match parcel.unsettled() {
                        Some(unsettled) => settled.push(unsettled),
                        None => self.waiting.push_back(parcel),
                    }
                }
            }
        }
        if self.health.out_since().is_some() {
            settled.extend(self.hold());
        }
        self.settle(settled).await;
    }

    /// Looks whether the server is there, if it will be some time until something is sent.
    fn look(&mut self) {
        let due = self.queue.due();
        let now = Instant::now();
        let is_later = due.is_some_and(|due| due > now);
        let waits = is_later || self.provisional.is_at_risk();
        if waits && self.looks.is_empty() && self.health.out_since().is_none() {
            let sender = Arc::clone(&self.sender);
            self.looks
                .spawn(async move { (sender.server.reach)().await });
            self.looking_since = Some(now);
        }
    }

    /// Nobody who answers is ill for that; who does not has been out since it was asked.
    fn looked(&mut self, outcome: Option<Outcome>) {
        let since = self.looking_since.take();
        if let (Some(since), Some(outcome)) = (since, outcome) {
            self.health.is_out(since, Duration::ZERO);
            self.complain(&outcome);
        }
    }

    fn complain(&self, outcome: &Outcome) {
        let complaints = &self.sender.complaints;
        complaints.waits(&outcome.code(), outcome.message());
    }

    /// Learns from how a push ended whether the server takes profiles.
    fn note(&mut self, outcome: &Outcome, size: usize) {
        let now = Instant::now();
        match decide(outcome, size) {
            Decision::Stored | Decision::Drop => {
                self.health.answered();
                // What it would find is known.
                self.looking_since = None;
                return;
            }
            Decision::Retry(after) | Decision::RetryRateLimited(after) => {
                self.health.is_out(now, after);
            }
            Decision::RetryOnceLate if outcome.may_be_stored() => {
                self.health.is_out(now, Duration::ZERO);
            }
            Decision::RetryOnceLate => self.health.failed_on_one(now),
        }
        self.complain(outcome);
    }

    /// Sends nothing that has not been sent: it goes back to where it came from.
    fn hold(&mut self) -> Vec<Settled> {
        if let Some((parcel, _)) = self.admission.take() {
            match parcel.ticket {
                Some(_) => self.backlog.push_front(parcel),
                None => self.waiting.push_front(parcel),
            }
        }
        let unsent = self.backlog.drain(..);
        unsent.filter_map(|parcel| parcel.unsettled()).collect()
    }

    async fn settle(&mut self, outcomes: impl IntoIterator<Item = Settled>) {
        self.disk.settle(outcomes.into_iter().collect()).await;
    }

    /// When something is to be done that nothing else tells of. What cannot be done then must not be in it, or this would never sleep.
    fn wake_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut times = Vec::from_iter(self.disk.opens_at());
        if self.disk.is_wanted()
            && self.is_at_risk()
            && let Some(from) = self.trouble_from()
        {
            times.push(self.disk.paused_until().unwrap_or(now).max(from));
        }
        let probe_at = self.health.probe_at().unwrap_or(now);
        if self.admission.is_none() && self.may_send(probe_at) {
            let tried_at = self.tried_at().unwrap_or(now);
            times.extend(self.waiting.iter().map(|parcel| {
                let at = if parcel.tries() == 0 {
                    probe_at
                } else {
                    tried_at
                };
                parcel.not_before.max(at)
            }));
            times.extend(self.queue.due().map(|at| at.max(probe_at)));
            if self.disk.waiting() > 0 && !self.queue.is_closed() {
                let orders = self.orders(now).into_iter();
                times.extend(orders.map(|(order, at)| {
                    let ready = self.disk.takes_from(order);
                    ready.map_or(at, |ready| ready.max(at))
                }));
            }
        }
        times.into_iter().min()
    }

    /// Nothing more will come, and nothing is left to be sent from memory.
    fn is_done(&self) -> bool {
        self.queue.is_closed()
            && self.queue.is_empty()
            && self.waiting.is_empty()
            && self.flights.is_empty()
            && self.admission.is_none()
    }

    fn count(&self, fate: Fate, service: &str) {
        self.sender.count(fate, service);
    }
}
