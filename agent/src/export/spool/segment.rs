//! What is known in memory of a file of the spool, and how it changes on disk.

use super::directory::{Directory, is_damage};
use super::format::{Entry, Sent};
use super::{Losses, Settled, Taken, Ticket};
use std::fs::File;
use std::io;
use tokio::time::Instant;

/// A file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) slots: Vec<Slot>,
}

/// A profile in it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: Entry,
    /// It was taken, and what came of it is not known.
    pub(super) is_on_its_way: bool,
    /// Times that the server refused it for now.
    pub(super) strikes: u32,
    /// Not to be taken before, if there is such a time.
    pub(super) not_before: Option<Instant>,
}

impl Slot {
    pub(super) fn of(entry: Entry) -> Slot {
        Slot {
            entry,
            is_on_its_way: false,
            strikes: 0,
            not_before: None,
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.is_on_its_way && !matches!(self.entry.sent, Sent::Provisional | Sent::Done)
    }

    fn take(&self, file: &File) -> io::Result<Vec<u8>> {
        let payload = self.entry.read(file)?;
        self.entry.mark(file, self.entry.sent.on_its_way())?;
        Ok(payload)
    }

    /// How often it has been tried, as far as that counts.
    pub(super) fn tries(&self) -> u32 {
        self.strikes + u32::from(self.entry.sent != Sent::Never)
    }
}

impl Segment {
    /// Nothing in it needs a further push.
    pub(super) fn is_done(&self) -> bool {
        self.slots.iter().all(|slot| slot.entry.sent == Sent::Done)
    }

    /// Reads the profiles at `places` and marks them as on their way.
    pub(super) fn take(
        &mut self,
        places: &[usize],
        directory: &Directory,
        losses: &mut Losses,
    ) -> io::Result<Vec<Taken>> {
        let file = match directory.read(self.number) {
            Ok(file) => file,
            Err(error) if is_damage(&error) => {
                self.give_up(losses);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut taken = Vec::new();
        for place in places {
            let Some(slot) = self.slots.get_mut(*place) else {
                continue;
            };
            match slot.take(&file) {
                Ok(payload) => taken.push(Taken {
                    ticket: Ticket {
                        segment: self.number,
                        slot: *place,
                    },
                    sent: slot.entry.sent,
                    strikes: slot.strikes,
                    start: slot.entry.start,
                    payload,
                }),
                Err(error) if is_damage(&error) => {
                    slot.entry.sent = Sent::Done;
                    losses.corrupt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        match file.sync_data() {
            Err(error) if is_damage(&error) => {
                self.give_up(losses);
                return Ok(Vec::new());
            }
            other => other?,
        }
        for profile in &taken {
            if let Some(slot) = self.slots.get_mut(profile.ticket.slot) {
                slot.is_on_its_way = true;
            }
        }
        Ok(taken)
    }

    /// Marks profiles of it. What is damaged cannot be marked, nor found again.
    pub(super) fn mark(&self, outcomes: &[Settled], directory: &Directory) -> io::Result<()> {
        let marks = || {
            let file = directory.read(self.number)?;
            for settled in outcomes {
                if let Some(slot) = self.slots.get(settled.ticket.slot) {
                    unless_damaged(slot.entry.mark(&file, settled.sent))?;
                }
            }
            file.sync_data()
        };
        unless_damaged(marks())
    }

    /// The file is not what it was.
    fn give_up(&mut self, losses: &mut Losses) {
        for slot in self.slots.iter_mut().filter(|slot| slot.waits()) {
            slot.entry.sent = Sent::Done;
            losses.corrupt += 1;
        }
    }
}

fn unless_damaged(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if is_damage(&error) => Ok(()),
        other => other,
    }
}
