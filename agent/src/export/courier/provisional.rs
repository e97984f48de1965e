//! Profiles whose owners are still being asked for. This process never sends them, but those that come in their place; in an outage they are on
//! disk, where the next process finds them if this one dies before that.

use super::Courier;
use crate::export::parcel::Parcel;
use crate::export::spool::{Sent, Settled, Ticket};

/// What is provisional now.
#[derive(Default)]
pub(super) struct Provisional {
    pub(super) parcels: Vec<Parcel>,
    /// They are on disk, and nothing else that was provisional is.
    pub(super) is_kept: bool,
    /// Of what is on disk, be it these or those before.
    tickets: Vec<Ticket>,
}

impl Provisional {
    pub(super) fn is_at_risk(&self) -> bool {
        !self.is_kept && !self.parcels.is_empty()
    }

    pub(super) fn kept(&mut self, tickets: Vec<Ticket>) {
        self.tickets = tickets;
        self.is_kept = true;
    }
}

impl Courier {
    /// Learns what is provisional now, as much of it as may go into one file.
    pub(super) fn learn_provisional(&mut self) {
        let Some(profiles) = self.queue.provisional() else {
            return;
        };
        let now = self.sender.now_nanos();
        let mut room = self.disk.most_provisional();
        let parcels = profiles.iter().filter_map(|profile| {
            // What is refused is so again, and counted, when its owner is known.
            let parcel = Parcel::new(profile, &self.sender.node, now).ok()?;
            room = room.checked_sub(parcel.packed_bytes())?;
            Some(Parcel {
                sent: Sent::Provisional,
                ..parcel
            })
        });
        self.provisional.parcels = parcels.collect();
        self.provisional.is_kept = false;
    }

    /// Takes from disk what others have come in the place of, before these can be sent.
    pub(super) async fn forget_replaced(&mut self) {
        if !self.provisional.is_kept {
            let tickets = std::mem::take(&mut self.provisional.tickets);
            self.settle(tickets.into_iter().map(Settled::done)).await;
        }
    }
}
