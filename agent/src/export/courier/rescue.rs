//! What goes from memory to disk, and when.

use super::{Courier, Flight};
use crate::export::parcel::{Fate, Parcel};
use crate::export::sender::QUEUE_FULL;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A server answers in half a second; what has waited longer shall be on disk within a second. One that is known to take nothing now is not
/// waited for.
const PATIENCE: Duration = Duration::from_millis(800);

impl Courier {
    /// From when on what is in memory is to be put on disk.
    pub(super) fn trouble_from(&self) -> Option<Instant> {
        let flights = self.flights.values().map(|flight| flight.since);
        let unanswered = flights.chain(self.looking_since);
        let overdue = unanswered.map(|since| since + PATIENCE);
        overdue.chain(self.health.out_since()).min()
    }

    /// Whether what is in memory is to be put on disk.
    pub(super) fn is_in_trouble(&self, now: Instant) -> bool {
        self.trouble_from().is_some_and(|from| from <= now) && self.disk.is_usable(now)
    }

    pub(super) fn is_at_risk(&self) -> bool {
        !self.waiting.is_empty()
            || !self.queue.is_empty()
            || self.provisional.is_at_risk()
            || self.flights.values().any(|flight| self.can_keep(flight))
    }

    /// Whether what is in flight is to be put on disk, and can be.
    fn can_keep(&self, flight: &Flight) -> bool {
        flight.parcel.ticket.is_none() && self.disk.has_place_for(&flight.parcel)
    }

    /// Puts what is in memory on disk, what is in flight included.
    pub(super) async fn rescue(&mut self) {
        while self.disk.is_wanted() && self.is_at_risk() {
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
            if parcels.is_empty() && !self.provisional.is_at_risk() {
                return;
            }
            let provisional = &self.provisional.parcels;
            match self.disk.append(&parcels, provisional).await {
                Some(mut tickets) => {
                    self.provisional.kept(tickets.split_off(parcels.len()));
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
        let most = self.disk.file_bytes();
        let fits = |bytes, parcel: &Parcel| bytes == 0 || bytes + parcel.packed_bytes() <= most;
        for (number, flight) in &self.flights {
            if self.can_keep(flight) && fits(bytes, &flight.parcel) {
                bytes += flight.parcel.packed_bytes();
                numbers.push(*number);
                parcels.push((flight.parcel.clone(), true));
            }
        }
        while let Some(parcel) = self.next_to_keep() {
            if !fits(bytes, &parcel) {
                self.waiting.push_front(parcel);
                break;
            }
            bytes += parcel.packed_bytes();
            parcels.push((parcel, false));
        }
        (numbers, parcels)
    }

    /// The next of what waits in memory that can be put on disk.
    fn next_to_keep(&mut self) -> Option<Parcel> {
        loop {
            let waiting = self.waiting.pop_front();
            let parcel = waiting.or_else(|| self.next_of_queue(false))?;
            if self.disk.has_place_for(&parcel) {
                return Some(parcel);
            }
            let message = "it is larger than --spool-size";
            self.count(parcel.dropped("spool_full", message), &parcel.service);
        }
    }

    /// What waits in memory, bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let bodies = self.waiting.iter().map(|parcel| parcel.request.body.len());
        bodies.sum::<usize>() + self.queue.bytes()
    }

    /// Keeps what waits in memory within its bound.
    pub(super) fn drop_oldest(&mut self) {
        while self.held_bytes() > self.sender.limits.queue_bytes
            && let Some(parcel) = self.waiting.pop_front()
        {
            self.count(parcel.dropped("queue_full", QUEUE_FULL), &parcel.service);
        }
    }

    /// Puts on disk what is left in memory, and counts what cannot be.
    pub(super) async fn end(mut self) {
        self.looks.abort_all();
        self.pushes.abort_all();
        let mut ended = Vec::new();
        while let Some(push) = self.pushes.join_next().await {
            // What had ended before it could be aborted counts.
            ended.extend(push);
        }
        self.all_ended(ended).await;
        let unsent = self.hold();
        self.settle(unsent).await;
        self.learn_provisional();
        self.rescue().await;
        self.forget_replaced().await;
        while let Some(parcel) = self
            .waiting
            .pop_front()
            .or_else(|| self.next_of_queue(false))
        {
            let fate = parcel.dropped("shutdown", "the agent was stopped");
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
}
