//! What is known in memory of a file of the spool, and how it changes on disk.

use super::directory::{Directory, Fault};
use super::format::{Entry, Sent};
use super::{Losses, Settled, Taken, Ticket};
use std::fs::File;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// How long a place that could not be read is left alone.
const REST: Duration = Duration::from_secs(60);

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
    /// What is known of it is on disk, too.
    pub(super) is_marked: bool,
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
            is_marked: true,
            is_on_its_way: false,
            strikes: 0,
            not_before: None,
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.is_on_its_way && !matches!(self.entry.sent, Sent::Provisional | Sent::Done)
    }

    /// Learns what came of it.
    pub(super) fn settle(&mut self, settled: &Settled) {
        self.entry.sent = settled.sent;
        self.is_marked = false;
        self.is_on_its_way = false;
        self.strikes = settled.strikes;
        self.not_before = settled.not_before;
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

    /// All that is known of it is on disk.
    pub(super) fn is_marked(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_marked)
    }

    /// Reads the profiles at `places` and marks them as on their way.
    pub(super) fn take(
        &mut self,
        places: &[usize],
        now: Instant,
        directory: &Directory,
        losses: &mut Losses,
    ) -> io::Result<Vec<Taken>> {
        let file = match directory.read(self.number) {
            Ok(file) => file,
            Err(error) => {
                let all = 0..self.slots.len();
                self.cannot_take(all, Fault::of(error)?, now, losses);
                return Ok(Vec::new());
            }
        };
        let mut taken = Vec::new();
        for &place in places {
            let Some(slot) = self.slots.get(place) else {
                continue;
            };
            match slot.take(&file) {
                Ok(payload) => taken.push(Taken {
                    ticket: Ticket {
                        segment: self.number,
                        slot: place,
                    },
                    sent: slot.entry.sent,
                    strikes: slot.strikes,
                    start: slot.entry.start,
                    payload,
                }),
                Err(error) => self.cannot_take([place], Fault::of(error)?, now, losses),
            }
        }
        let places: Vec<usize> = taken.iter().map(|profile| profile.ticket.slot).collect();
        if let Err(error) = file.sync_data() {
            self.cannot_take(places, Fault::of(error)?, now, losses);
            return Ok(Vec::new());
        }
        for place in places {
            if let Some(slot) = self.slots.get_mut(place) {
                slot.is_on_its_way = true;
                slot.is_marked = true;
            }
        }
        Ok(taken)
    }

    /// Profiles at `places` are gone, or are tried again later.
    fn cannot_take(
        &mut self,
        places: impl IntoIterator<Item = usize>,
        fault: Fault,
        now: Instant,
        losses: &mut Losses,
    ) {
        for place in places {
            let slot = self.slots.get_mut(place);
            let Some(slot) = slot.filter(|slot| slot.waits()) else {
                continue;
            };
            match fault {
                Fault::File => {
                    slot.entry.sent = Sent::Done;
                    losses.corrupt += 1;
                }
                Fault::Place => slot.not_before = Some(now + REST),
            }
        }
    }

    /// Writes down what is known of its profiles and was not so far. What cannot be written now is so with what is next.
    pub(super) fn mark(&mut self, directory: &Directory) -> io::Result<()> {
        let is_file_gone = match self.write_marks(directory) {
            Ok(()) => false,
            // What is damaged cannot be marked, nor found again.
            Err(error) => Fault::of(error)? == Fault::File,
        };
        if is_file_gone {
            self.slots.iter_mut().for_each(|slot| slot.is_marked = true);
        }
        Ok(())
    }

    fn write_marks(&mut self, directory: &Directory) -> io::Result<()> {
        let file = directory.read(self.number)?;
        let mut marked = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_marked) {
            let fault = match slot.entry.mark(&file, slot.entry.sent) {
                Ok(()) => None,
                Err(error) => Some(Fault::of(error)?),
            };
            if fault != Some(Fault::Place) {
                marked.push(slot);
            }
        }
        file.sync_data()?;
        for slot in marked {
            slot.is_marked = true;
        }
        Ok(())
    }
}
