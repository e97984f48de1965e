//! What is sent next: live profiles first; in an outage, that which has most tries left.

use super::{Courier, Flight};
use crate::export::parcel::{Fate, Parcel, oldest};
use crate::export::spool::{Order, Settled, Wanted};
use std::time::Duration;
use tokio::time::Instant;

/// Pushes of the backlog at the same time, which is what is on disk and older than live profiles are. A fleet comes back at once, and what a server lets wait for longer than the timeout would be
/// stored twice.
const BACKLOG_IN_FLIGHT: usize = 8;

/// Of the backlog that is read at once, bytes: live profiles wait for no more than that to pass.
const BACKLOG_BYTES: usize = 1 << 20;

impl Courier {
    /// The next parcel that may be sent now.
    pub(super) async fn next(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.candidate().await?;
            match parcel.aged(self.sender.now_nanos()) {
                None => return Some(parcel),
                Some(fate) => {
                    self.settle(parcel.ticket.map(Settled::done)).await;
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
        if let Some(parcel) = self.next_of_memory(now) {
            return Some(parcel);
        }
        let is_live = |parcel: &Parcel| parcel.start >= self.live_since();
        if !self.backlog.front().is_some_and(is_live) {
            let taken = self.take(BACKLOG_IN_FLIGHT, self.order()).await;
            for parcel in taken.into_iter().rev() {
                self.backlog.push_front(parcel);
            }
        }
        let is_live = |parcel: &Parcel| parcel.start >= self.live_since();
        let may_go = self.backlog_has_room() || self.backlog.front().is_some_and(is_live);
        may_go.then(|| self.backlog.pop_front())?
    }

    /// What is taken from disk while the server takes profiles.
    fn order(&self) -> Order {
        if self.backlog.is_empty() && self.backlog_has_room() {
            Order::LiveFirst
        } else {
            Order::Live
        }
    }

    /// What began before this is backlog, nanoseconds since the Unix epoch.
    fn live_since(&self) -> i64 {
        let live = self.sender.limits.live.as_nanos() as i64;
        self.sender.now_nanos().saturating_sub(live)
    }

    /// What is sent in an outage: something that has not been tried or, if nothing like that comes for some time, what has been tried least.
    async fn probe(&mut self, now: Instant) -> Option<Parcel> {
        let parcel = self.next_of_memory(now);
        if parcel.as_ref().is_some_and(|parcel| parcel.tries() == 0) {
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

    /// In which orders profiles are taken from disk, and from when on.
    pub(super) fn orders(&self, now: Instant) -> Vec<(Order, Instant)> {
        match (self.health.probe_at(), self.tried_at()) {
            (Some(at), Some(tried_at)) => vec![(Order::Untried, at), (Order::LeastTried, tried_at)],
            _ => vec![(self.order(), now)],
        }
    }

    /// From when on what was tried is tried again in an outage: there may be no other try for it.
    pub(super) fn tried_at(&self) -> Option<Instant> {
        let wait = if self.queue.is_closed() {
            Duration::ZERO
        } else {
            self.sender.limits.last_try
        };
        Some(self.health.probe_at()? + wait)
    }

    /// The least tried of what waits in memory and is ready, or what comes next in the queue.
    fn next_of_memory(&mut self, now: Instant) -> Option<Parcel> {
        let ready = self.waiting.iter().enumerate();
        let ready = ready.filter(|(_, parcel)| parcel.not_before <= now);
        let least_tried = ready.min_by_key(|(_, parcel)| parcel.tries());
        let least_tried = least_tried.map(|(at, parcel)| (at, parcel.tries()));
        match least_tried {
            Some((at, 0)) => self.waiting.remove(at),
            Some((at, _)) => self.next_of_queue(true).or_else(|| self.waiting.remove(at)),
            None => self.next_of_queue(true),
        }
    }

    /// The oldest profile of the queue, if it is to be sent now or need not be due.
    pub(super) fn next_of_queue(&mut self, if_due: bool) -> Option<Parcel> {
        loop {
            let profile = self.queue.pop(if_due)?;
            match Parcel::new(&profile, &self.sender.node, self.sender.now_nanos()) {
                Ok(parcel) => return Some(parcel),
                Err(refusal) => self.count(Fate::Dropped(refusal), &profile.owner.service_name),
            }
        }
    }

    async fn take(&mut self, profiles: usize, order: Order) -> Vec<Parcel> {
        let now = Instant::now();
        if self.queue.is_closed()
            || self.disk.waiting() == 0
            || self.disk.takes_from(order).is_some_and(|at| at > now)
        {
            return Vec::new();
        }
        let wanted = Wanted {
            now,
            oldest: oldest(self.sender.now_nanos()),
            live: self.live_since(),
            profiles,
            bytes: BACKLOG_BYTES,
            order,
        };
        self.disk.take(wanted).await
    }

    pub(super) fn may_send(&self, now: Instant) -> bool {
        match self.health.probe_at() {
            None => self.flights.len() < self.sender.limits.in_flight.max(1),
            Some(at) => at <= now && !self.flights.values().any(|flight| flight.is_probe),
        }
    }

    fn backlog_has_room(&self) -> bool {
        let live_since = self.live_since();
        let of_backlog =
            |flight: &&Flight| flight.parcel.ticket.is_some() && flight.parcel.start < live_since;
        self.flights.values().filter(of_backlog).count() < BACKLOG_IN_FLIGHT
    }
}
