//! What goes from memory to disk, and when.

use super::{Courier, Flight};
use crate::export::parcel::{Fate, Parcel};
use crate::export::request::Refusal;
use crate::export::spool::Sent;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A server answers in half a second; what has waited longer shall be on disk within a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(800);

/// Of memory that goes into one file of the spool, bytes.
const FILE_BYTES: usize = 4 << 20;

impl Courier {
    /// Since when something is wrong with the server.
    pub(super) fn trouble_since(&self) -> Option<Instant> {
        let flights = self.flights.values().map(|flight| flight.since);
        flights
            .chain(self.health.out_since())
            .chain(self.looking_since)
            .min()
    }

    /// Whether what is in memory is to be put on disk.
    pub(super) fn is_in_trouble(&self, now: Instant) -> bool {
        let since = self.trouble_since();
        since.is_some_and(|since| since + PATIENCE <= now) && self.disk.is_usable(now)
    }

    pub(super) fn is_at_risk(&self) -> bool {
        let in_flight = |flight: &Flight| flight.parcel.ticket.is_none();
        !self.waiting.is_empty() || !self.queue.is_empty() || self.flights.values().any(in_flight)
    }

    /// Puts what is in memory on disk, what is in flight included.
    pub(super) async fn rescue(&mut self) {
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
            let Some(parcel) = waiting.or_else(|| self.next_of_queue(false)) else {
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

    /// Puts on disk what is left in memory, and counts what cannot be.
    pub(super) async fn end(mut self) {
        self.pushes.abort_all();
        self.looks.abort_all();
        let unsent = self.hold();
        self.settle(unsent).await;
        self.rescue().await;
        while let Some(parcel) = self
            .waiting
            .pop_front()
            .or_else(|| self.next_of_queue(false))
        {
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
}
