//! Profiles on disk that a server does not take now: bounded, in order, and safe from crashes.
//!
//! ```text
//!            append                    take                          settle
//!  memory ───────────► file, synced ───────────► marked "on its way", ───────────► marked, synced; a file of
//!                      before it counts          synced, then sent                 nothing but "done" is removed
//! ```
//!
//! The mark before a push is what makes "at most twice" true whenever this process or the host dies: who finds it knows that the server may
//! have the profile. Nothing here is read into memory but what is about to be sent, and some 60 bytes of each profile.
//!
//! What is provisional is so in the newest file alone: each file that comes takes the place of what is provisional in those before it, so that the
//! renaming of one file puts others in its place, and there is no moment at which both count, or neither, as far as one file holds them.

mod choice;
mod directory;
mod format;
mod segment;

pub(super) use choice::{Order, Wanted};
pub(super) use format::Sent;

use directory::{Directory, Fault};
use format::Record;
use segment::{Segment, Slot};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use tokio::time::Instant;

/// A profile as it is put on disk.
#[derive(Debug)]
pub(super) struct Entrusted {
    pub(super) sent: Sent,
    /// It is on its way to the server: not to be taken before it is settled.
    pub(super) is_on_its_way: bool,
    /// Times that the server refused it for now.
    pub(super) strikes: u32,
    /// Not to be taken before, if there is such a time.
    pub(super) not_before: Option<Instant>,
    /// Begin, nanoseconds since the Unix epoch.
    pub(super) start: i64,
    pub(super) payload: Vec<u8>,
}

/// A profile that is to be sent.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    /// What came of it before.
    pub(super) sent: Sent,
    pub(super) strikes: u32,
    pub(super) start: i64,
    pub(super) payload: Vec<u8>,
}

impl Taken {
    /// It was not sent after all.
    pub(super) fn unsent(&self) -> Settled {
        Settled {
            ticket: self.ticket,
            sent: self.sent,
            strikes: self.strikes,
            not_before: None,
        }
    }
}

/// What came of a profile on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) ticket: Ticket,
    pub(super) sent: Sent,
    pub(super) strikes: u32,
    /// Not to be taken before, if there is such a time.
    pub(super) not_before: Option<Instant>,
}

impl Settled {
    /// It needs no further push.
    pub(super) fn done(ticket: Ticket) -> Settled {
        Settled {
            ticket,
            sent: Sent::Done,
            strikes: 0,
            not_before: None,
        }
    }
}

/// Which profile on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    segment: u64,
    slot: usize,
}

/// Profiles that are gone, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) spool_full: u64,
    pub(super) too_old: u64,
    pub(super) corrupt: u64,
    /// Sent as often as may be, or sent once and gone: the server may have them.
    pub(super) unknown: u64,
}

/// The spool of one destination. What blocks on a disk must not be called where others wait.
#[derive(Debug)]
pub(super) struct Spool {
    directory: Directory,
    most_bytes: u64,
    bytes: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    next_number: u64,
    losses: Losses,
}

impl Spool {
    /// Opens the spool in the directory `path` with what is left in it.
    pub(super) fn open(path: &Path, most_bytes: u64) -> io::Result<Spool> {
        let directory = Directory::open(path)?;
        let mut spool = Spool {
            most_bytes,
            bytes: 0,
            segments: VecDeque::new(),
            next_number: 0,
            losses: Losses::default(),
            directory,
        };
        let numbers = spool.directory.numbers()?;
        for number in &numbers {
            let (number, is_newest) = (*number, Some(number) == numbers.last());
            spool.next_number = number.saturating_add(1);
            match spool.adopt(number, is_newest) {
                Ok(()) => {}
                Err(error) => match Fault::of(error)? {
                    Fault::File => {
                        // How many profiles it had is as unreadable as they are.
                        spool.losses.corrupt += 1;
                        // What cannot be removed is found again, and costs no more than this.
                        let _ = spool.directory.remove(number);
                    }
                    // It is there for the next start, which may be able to read it.
                    Fault::Place => {}
                },
            }
        }
        spool.settle(&[])?;
        spool.make_room(0);
        Ok(spool)
    }

    /// Takes over a file that an earlier process has left.
    fn adopt(&mut self, number: u64, is_newest: bool) -> io::Result<()> {
        let file = self.directory.read(number)?;
        let (entries, lost) = format::scan(&file)?;
        // What somebody has put behind the profiles is no reason to drop others for its size.
        let bytes = format::end(&entries);
        if file.metadata()?.len() > bytes {
            file.set_len(bytes)?;
        }
        self.losses.corrupt += lost as u64;
        let mut slots: Vec<Slot> = entries.into_iter().map(Slot::of).collect();
        for slot in &mut slots {
            let entry = &mut slot.entry;
            let sent = match entry.sent {
                // Nobody was left to write down the answer.
                Sent::Twice => {
                    self.losses.unknown += 1;
                    Sent::Done
                }
                // Nobody was left to put others in its place.
                Sent::Provisional if is_newest => Sent::Never,
                Sent::Provisional => Sent::Done,
                _ => continue,
            };
            entry.sent = sent;
            slot.is_marked = false;
        }
        let segment = Segment {
            number,
            bytes,
            slots,
        };
        self.bytes += segment.bytes;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Puts profiles on disk, where they are when this returns, in the place of all that was provisional. The oldest make room for them.
    pub(super) fn append(&mut self, profiles: &[Entrusted]) -> io::Result<Vec<Ticket>> {
        let records: Vec<Record<'_>> = profiles
            .iter()
            .map(|profile| Record {
                sent: profile.sent,
                start: profile.start,
                payload: &profile.payload,
            })
            .collect();
        let (bytes, entries) = format::encode(&records);
        if bytes.len() as u64 > self.most_bytes {
            return Err(io::Error::other("one interval is larger than --spool-size"));
        }
        self.make_room(bytes.len() as u64);
        let number = self.next_number;
        self.directory.write(number, &bytes)?;
        let replaced = self.provisional();
        self.next_number += 1;
        self.bytes += bytes.len() as u64;
        let slots = entries
            .into_iter()
            .zip(profiles)
            .map(|(entry, profile)| Slot {
                is_on_its_way: profile.is_on_its_way,
                strikes: profile.strikes,
                not_before: profile.not_before,
                ..Slot::of(entry)
            });
        self.segments.push_back(Segment {
            number,
            bytes: bytes.len() as u64,
            slots: slots.collect(),
        });
        // Before the new file may go: without it, they would count again. A disk that fails now had better keep the new ones all the same.
        let _ = self.settle(&replaced);
        Ok((0..profiles.len())
            .map(|slot| Ticket {
                segment: number,
                slot,
            })
            .collect())
    }

    /// What others have come in the place of, once there is a newer file.
    fn provisional(&self) -> Vec<Settled> {
        let tickets = self.segments.iter().flat_map(|segment| {
            let slots = segment.slots.iter().enumerate();
            let provisional = slots.filter(|(_, slot)| slot.entry.sent == Sent::Provisional);
            provisional.map(|(slot, _)| Ticket {
                segment: segment.number,
                slot,
            })
        });
        tickets.map(Settled::done).collect()
    }

    /// Drops the oldest until `more` bytes fit.
    fn make_room(&mut self, more: u64) {
        while self.bytes + more > self.most_bytes
            && let Some(oldest) = self.segments.pop_front()
        {
            self.bytes -= oldest.bytes;
            // If it stays there, the next start finds it, and has too much once more.
            let _ = self.directory.remove(oldest.number);
            for slot in oldest.slots.iter().filter(|slot| slot.waits()) {
                self.losses.gone(slot.entry.sent);
            }
        }
    }

    /// Profiles that wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        let slots = self.segments.iter().flat_map(|segment| &segment.slots);
        slots.filter(|slot| slot.waits()).count()
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was lost since this was last asked.
    pub(super) fn losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// Takes profiles to be sent, oldest first. Whatever happens next, the disk knows that they may be with the server.
    pub(super) fn take(&mut self, wanted: Wanted) -> io::Result<Vec<Taken>> {
        let mut taken = Vec::new();
        for (at, slots) in self.choose(wanted) {
            if let Some(segment) = self.segments.get_mut(at) {
                match segment.take(&slots, wanted.now, &self.directory, &mut self.losses) {
                    Ok(more) => taken.extend(more),
                    Err(error) if taken.is_empty() => return Err(error),
                    // What was taken is marked, and must be sent; the error comes again.
                    Err(_) => break,
                }
            }
        }
        self.remove_done();
        Ok(taken)
    }

    /// Writes down what came of profiles that were taken, or were on their way when they were put here. An error leaves what is known in
    /// memory as it should be, and on disk as it was.
    pub(super) fn settle(&mut self, outcomes: &[Settled]) -> io::Result<()> {
        for settled in outcomes {
            let segment = self.segment_mut(settled.ticket.segment);
            match segment.and_then(|segment| segment.slots.get_mut(settled.ticket.slot)) {
                Some(slot) => slot.settle(settled),
                // It had to make room meanwhile.
                None => self.losses.gone(settled.sent),
            }
        }
        let mut marked = Ok(());
        for segment in self.segments.iter_mut().filter(|it| !it.is_marked()) {
            marked = marked.and(segment.mark(&self.directory));
        }
        self.remove_done();
        marked
    }

    fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        let at = self
            .segments
            .binary_search_by_key(&number, |segment| segment.number);
        self.segments.get_mut(at.ok()?)
    }

    /// Removes the files that need nothing more.
    fn remove_done(&mut self) {
        let (directory, bytes) = (&self.directory, &mut self.bytes);
        self.segments.retain(|segment| {
            let is_done = segment.is_done();
            if is_done {
                *bytes -= segment.bytes;
                // What stays there is found at the next start, and is done or too old.
                let _ = directory.remove(segment.number);
            }
            !is_done
        });
    }
}

impl Losses {
    /// A profile had to make room.
    fn gone(&mut self, sent: Sent) {
        match sent {
            Sent::Never | Sent::Failed => self.spool_full += 1,
            Sent::Once | Sent::Twice => self.unknown += 1,
            Sent::Provisional | Sent::Done => {}
        }
    }

    /// A profile is too old for the server.
    fn aged(&mut self, sent: Sent) {
        match sent {
            Sent::Never | Sent::Failed => self.too_old += 1,
            Sent::Once | Sent::Twice => self.unknown += 1,
            Sent::Provisional | Sent::Done => {}
        }
    }
}

#[cfg(test)]
mod tests;
