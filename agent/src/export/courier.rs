//! Takes the profiles of this host to one server: paced, tried again, kept on disk while it does not take them.
//!
//! ```text
//!                 ┌──────────────── memory ────────────────┐
//!  submit ──► queue ──► admitted by the pace ──► in flight ─┴─► stored, refused for good, unknown: its one fate
//!               │                 ▲                 │
//!               │                 │ live first      │ not now, or no answer yet
//!               ▼                 │                 ▼
//!             ══╪═══════════ disk (spool) ══════════╪══   at once while the server is in trouble: it has taken nothing for 0.8 s,
//!               └─────────────────┴─────────────────┘     or has let a push wait for that long
//! ```
//!
//! While the server takes profiles, nothing is on disk. What is put there while it is in flight is there as "may be stored". In an outage one
//! profile at a time is sent, to see whether it is over: that which has been tried least, so that none uses up its tries while nothing is taken.
//! A disk that fails leaves profiles in memory.

use super::disk::{Disk, Settled};
use super::health::Health;
use super::parcel::{Fate, Next, Parcel, oldest};
use super::queue::Queue;
use super::request::Refusal;
use super::retry::{Decision, Outcome, decide};
use super::sender::Sender;
use super::spool::{Order, Sent, Wanted};
use leaky_bucket::AcquireOwned;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A server answers in half a second; what has waited longer shall be on disk within a second.
const PATIENCE: Duration = Duration::from_millis(800);

/// Pushes of the backlog at the same time. A fleet comes back at once, and what a server lets wait for longer than the timeout would be
/// stored twice.
const BACKLOG_IN_FLIGHT: usize = 8;

/// Of the backlog that is read at once, bytes: live profiles wait for no more than that to pass.
const BACKLOG_BYTES: usize = 1 << 20;

/// Of memory that goes into one file of the spool, bytes.
const FILE_BYTES: usize = 4 << 20;

pub(super) struct Courier {
    sender: Arc<Sender>,
    queue: Arc<Queue>,
    disk: Disk,
    health: Health,
    /// In memory, to be sent again.
    waiting: VecDeque<Parcel>,
    /// Taken from disk, to be sent.
    backlog: VecDeque<Parcel>,
    admission: Option<(Parcel, Pin<Box<AcquireOwned>>)>,
    flights: BTreeMap<u64, Flight>,
    pushes: JoinSet<(u64, Outcome)>,
    pushed: u64,
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
    Other,
    Halt,
}

impl Courier {
    pub(super) fn new(sender: Arc<Sender>, queue: Arc<Queue>, disk: Disk) -> Courier {
        let limits = &sender.limits;
        Courier {
            health: Health::new(limits.first_backoff, limits.longest_backoff),
            sender,
            queue,
            disk,
            waiting: VecDeque::new(),
            backlog: VecDeque::new(),
            admission: None,
            flights: BTreeMap::new(),
            pushes: JoinSet::new(),
            pushed: 0,
        }
    }

    /// Delivers until the queue is closed and all that is in memory has its fate or is on disk, or until `halt`.
    pub(super) async fn run(mut self, halt: Arc<Notify>) {
        loop {
            if self.is_in_trouble(Instant::now()) {
                self.rescue().await;
            }
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
            () = self.queue.changed() => Event::Other,
            () = halt.notified() => Event::Halt,
            () = async { match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => Event::Other,
        }
    }

    /// The next parcel that may be sent now.
    async fn next(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.candidate().await?;
            match parcel.aged(self.sender.now_nanos()) {
                None => return Some(parcel),
                Some(fate) => {
                    self.settle(parcel.ticket.map(done)).await;
                    self.count(fate, &parcel.service);
                }
            }
        }
    }

    async fn candidate(&mut self) -> Option<Parcel> {
        let now = Instant::now();
        if !self.may_send(now) {
            return None;
        }
        if self.health.out_since().is_some() {
            return self.probe(now).await;
        }
        if let Some(parcel) = self.from_memory(now) {
            return Some(parcel);
        }
        if !self.backlog_has_room() {
            return None;
        }
        if self.backlog.is_empty() {
            let taken = self.take(BACKLOG_IN_FLIGHT, Order::Oldest).await;
            self.backlog.extend(taken);
        }
        self.backlog.pop_front()
    }

    /// What is sent in an outage: something that has not been tried or, if nothing like that comes for some time, what has been tried least.
    async fn probe(&mut self, now: Instant) -> Option<Parcel> {
        let parcel = self.from_memory(now);
        if parcel.as_ref().is_some_and(|parcel| tries(parcel) == 0) {
            return parcel;
        }
        let is_time = self.tried_at().is_some_and(|at| at <= now);
        let order = if is_time {
            Order::LeastTried
        } else {
            Order::Untried
        };
        let from_disk = self.take(1, order).await.pop();
        if from_disk.is_none() && is_time {
            return parcel;
        }
        self.waiting.extend(parcel);
        from_disk
    }

    /// From when on what was tried is tried again in an outage: there may be no other try for it.
    fn tried_at(&self) -> Option<Instant> {
        let wait = if self.queue.is_closed() {
            Duration::ZERO
        } else {
            self.sender.limits.last_try
        };
        Some(self.health.probe_at()? + wait)
    }

    /// The least tried of what waits in memory and is ready, or what comes next in the queue.
    fn from_memory(&mut self, now: Instant) -> Option<Parcel> {
        let ready = self.waiting.iter().enumerate();
        let ready = ready.filter(|(_, parcel)| parcel.not_before <= now);
        let least_tried = ready.min_by_key(|(_, parcel)| tries(parcel));
        let least_tried = least_tried.map(|(at, parcel)| (at, tries(parcel)));
        match least_tried {
            Some((at, 0)) => self.waiting.remove(at),
            Some((at, _)) => self.from_queue(true).or_else(|| self.waiting.remove(at)),
            None => self.from_queue(true),
        }
    }

    /// The oldest profile of the queue, if it is to be sent now or need not be due.
    fn from_queue(&mut self, if_due: bool) -> Option<Parcel> {
        loop {
            let profile = self.queue.pop(if_due)?;
            match Parcel::new(&profile, &self.sender.node, self.sender.now_nanos()) {
                Ok(parcel) => return Some(parcel),
                Err(refusal) => self.count(Fate::Dropped(refusal), &profile.owner.service_name),
            }
        }
    }

    async fn take(&mut self, profiles: usize, order: Order) -> Vec<Parcel> {
        if self.queue.is_closed()
            || self.disk.waiting() == 0
            || !self.disk.is_usable(Instant::now())
        {
            return Vec::new();
        }
        let wanted = Wanted {
            not_before: oldest(self.sender.now_nanos()),
            profiles,
            bytes: BACKLOG_BYTES,
            order,
        };
        self.disk.take(wanted).await
    }

    fn may_send(&self, now: Instant) -> bool {
        match self.health.probe_at() {
            None => self.flights.len() < self.sender.limits.in_flight.max(1),
            Some(at) => at <= now && !self.flights.values().any(|flight| flight.is_probe),
        }
    }

    fn backlog_has_room(&self) -> bool {
        let of_backlog = |flight: &&Flight| flight.parcel.ticket.is_some();
        self.flights.values().filter(of_backlog).count() < BACKLOG_IN_FLIGHT
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
        let mut settled = Vec::new();
        for (number, outcome) in ended {
            let Some(Flight { mut parcel, .. }) = self.flights.remove(&number) else {
                continue;
            };
            self.note(&outcome, parcel.request.size);
            let from_spool = parcel.ticket.is_some();
            match parcel.pushed(&outcome, self.sender.limits.late_retry) {
                Next::Settled(fate) => {
                    if from_spool && matches!(fate, Fate::Stored) {
                        self.sender.metrics.spool_sent();
                    }
                    settled.extend(parcel.ticket.map(done));
                    self.count(fate, &parcel.service);
                }
                Next::Later(wait) => match parcel.ticket {
                    Some(ticket) => settled.push(Settled {
                        ticket,
                        sent: parcel.sent,
                        strikes: parcel.strikes,
                    }),
                    None => {
                        parcel.not_before = Instant::now() + wait;
                        self.waiting.push_back(parcel);
                    }
                },
            }
        }
        if self.health.out_since().is_some() {
            settled.extend(self.hold());
        }
        self.settle(settled).await;
    }

    /// Learns from how a push ended whether the server takes profiles.
    fn note(&mut self, outcome: &Outcome, size: usize) {
        let now = Instant::now();
        match decide(outcome, size) {
            Decision::Stored | Decision::Drop => return self.health.answered(),
            Decision::Retry(after) | Decision::RetryRateLimited(after) => {
                self.health.is_out(now, after);
            }
            Decision::RetryOnceLate if outcome.may_be_stored() => {
                self.health.is_out(now, Duration::ZERO);
            }
            Decision::RetryOnceLate => self.health.failed_on_one(now),
        }
        let complaints = &self.sender.complaints;
        complaints.waits(&outcome.code(), outcome.message());
    }

    /// Sends nothing that has not been sent: it goes back to where it came from.
    fn hold(&mut self) -> Vec<Settled> {
        if let Some((parcel, _)) = self.admission.take() {
            match parcel.ticket {
                Some(_) => self.backlog.push_front(parcel),
                None => self.waiting.push_front(parcel),
            }
        }
        let unsent = self.backlog.drain(..).filter_map(|parcel| {
            Some(Settled {
                ticket: parcel.ticket?,
                sent: parcel.sent,
                strikes: parcel.strikes,
            })
        });
        unsent.collect()
    }

    async fn settle(&mut self, outcomes: impl IntoIterator<Item = Settled>) {
        self.disk.settle(outcomes.into_iter().collect()).await;
    }

    /// Since when something is wrong with the server.
    fn trouble_since(&self) -> Option<Instant> {
        let flights = self.flights.values().map(|flight| flight.since);
        flights.chain(self.health.out_since()).min()
    }

    /// Whether what is in memory is to be put on disk.
    fn is_in_trouble(&self, now: Instant) -> bool {
        let since = self.trouble_since();
        since.is_some_and(|since| since + PATIENCE <= now) && self.disk.is_usable(now)
    }

    fn is_at_risk(&self) -> bool {
        let in_flight = |flight: &Flight| flight.parcel.ticket.is_none();
        !self.waiting.is_empty() || !self.queue.is_empty() || self.flights.values().any(in_flight)
    }

    /// Puts what is in memory on disk, what is in flight included.
    async fn rescue(&mut self) {
        while self.is_at_risk() {
            if self.health.out_since().is_some()
                && self
                    .admission
                    .as_ref()
                    .is_some_and(|(parcel, _)| parcel.ticket.is_none())
                && let Some((parcel, _)) = self.admission.take()
            {
                self.waiting.push_front(parcel);
            }
            let (numbers, parcels) = self.collect();
            if parcels.is_empty() {
                return;
            }
            match self.disk.append(&parcels).await {
                Some(tickets) => {
                    for (number, ticket) in numbers.iter().zip(tickets) {
                        if let Some(flight) = self.flights.get_mut(number) {
                            flight.parcel.ticket = Some(ticket);
                        }
                    }
                }
                None => {
                    let from_memory = parcels.into_iter().skip(numbers.len());
                    self.waiting.extend(from_memory.map(|(parcel, _)| parcel));
                    self.drop_oldest();
                    return;
                }
            }
        }
    }

    /// What goes into one file: what is in flight, with its numbers, then the rest.
    fn collect(&mut self) -> (Vec<u64>, Vec<(Parcel, bool)>) {
        let (mut numbers, mut parcels, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (number, flight) in &self.flights {
            if flight.parcel.ticket.is_none() && bytes < FILE_BYTES {
                bytes += flight.parcel.request.body.len();
                numbers.push(*number);
                parcels.push((flight.parcel.clone(), true));
            }
        }
        while bytes < FILE_BYTES {
            let waiting = self.waiting.pop_front();
            let Some(parcel) = waiting.or_else(|| self.from_queue(false)) else {
                break;
            };
            bytes += parcel.request.body.len();
            parcels.push((parcel, false));
        }
        (numbers, parcels)
    }

    /// Keeps what waits in memory within its bound.
    fn drop_oldest(&mut self) {
        let held = |waiting: &VecDeque<Parcel>| -> usize {
            waiting.iter().map(|parcel| parcel.request.body.len()).sum()
        };
        while held(&self.waiting) + self.queue.bytes() > self.sender.limits.queue_bytes
            && let Some(parcel) = self.waiting.pop_front()
        {
            self.sender.queue_full(&parcel.service);
        }
    }

    /// When something is to be done that nothing else tells of. What cannot be done then must not be in it, or this would never sleep.
    fn wake_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut times = Vec::new();
        if self.disk.is_wanted()
            && self.is_at_risk()
            && let Some(since) = self.trouble_since()
        {
            let paused = self.disk.paused_until();
            times.push(paused.unwrap_or(now).max(since + PATIENCE));
        }
        let probe_at = self.health.probe_at().unwrap_or(now);
        if self.admission.is_none() && self.may_send(probe_at) {
            let tried_at = self.tried_at().unwrap_or(now);
            times.extend(self.waiting.iter().map(|parcel| {
                let at = if tries(parcel) == 0 {
                    probe_at
                } else {
                    tried_at
                };
                parcel.not_before.max(at)
            }));
            times.extend(self.queue.due().map(|at| at.max(probe_at)));
            if self.disk.waiting() > 0 && !self.queue.is_closed() && self.backlog_has_room() {
                let paused = self.disk.paused_until();
                times.push(paused.unwrap_or(now).max(probe_at));
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

    /// Puts on disk what is left in memory, and counts what cannot be.
    async fn end(mut self) {
        self.pushes.abort_all();
        let unsent = self.hold();
        self.settle(unsent).await;
        self.rescue().await;
        while let Some(parcel) = self.waiting.pop_front().or_else(|| self.from_queue(false)) {
            let message = "the agent was stopped".to_owned();
            let reason = "shutdown";
            let fate = match parcel.sent {
                Sent::Once => Fate::Unknown(message),
                _ => Fate::Dropped(Refusal { reason, message }),
            };
            self.abandon(fate, &parcel.service);
        }
        let flights = std::mem::take(&mut self.flights);
        for flight in flights
            .values()
            .filter(|flight| flight.parcel.ticket.is_none())
        {
            let message = "the agent was stopped before the answer came".to_owned();
            self.abandon(Fate::Unknown(message), &flight.parcel.service);
        }
    }

    fn abandon(&self, fate: Fate, service: &str) {
        self.sender.abandoned.fetch_add(1, Ordering::Relaxed);
        self.count(fate, service);
    }

    fn count(&self, fate: Fate, service: &str) {
        self.sender.count(fate, service);
    }
}

fn done(ticket: super::spool::Ticket) -> Settled {
    Settled {
        ticket,
        sent: Sent::Done,
        strikes: 0,
    }
}

fn tries(parcel: &Parcel) -> u32 {
    parcel.strikes + u32::from(parcel.sent != Sent::Never)
}
