//! Kernel memory in pieces of one size, which tables and lists of mappings are placed in.
//!
//! A piece is an array map of one element; programs find it by its number in an array of maps. Pieces are made as they
//! are needed, up to a budget, and given back when nothing is left in them.

use crate::Error;
use crate::piece::{Budget, Known, OVERHEAD, PIECE, Piece};
use crate::view::View;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

/// Places begin at multiples of this, a cache line.
const ALIGNMENT: u32 = 64;

/// A place in pieces: within one, or from the start of one on through those behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Number of the first piece.
    pub(crate) piece: u32,
    /// Offset in it, bytes.
    pub(crate) start: u32,
    bytes: u32,
}

impl Extent {
    /// Its length.
    pub(crate) fn bytes(self) -> u64 {
        self.bytes.into()
    }

    /// Its parts, one in each piece: the piece's number, and where in it.
    fn parts(self) -> impl Iterator<Item = (u32, Range<u32>)> {
        let pieces = self.bytes.div_ceil(PIECE);
        (0..pieces).map(move |index| {
            let done = index * PIECE;
            let start = if index == 0 { self.start } else { 0 };
            (
                self.piece + index,
                start..start + (self.bytes - done).min(PIECE),
            )
        })
    }
}

/// Pieces that programs cannot find yet. To let them takes some 10 ms, which is why it can be done on another thread.
#[derive(Debug)]
pub struct NewPieces {
    array: MapHandle,
    numbers: Vec<u32>,
    maps: Vec<MapHandle>,
}

impl NewPieces {
    pub(crate) fn none(array: &MapHandle) -> Result<Self, Error> {
        Ok(Self {
            array: handle(array)?,
            numbers: Vec::new(),
            maps: Vec::new(),
        })
    }

    /// Lets programs find them, all in one call: each waits until no program still runs that began before it. To be followed by
    /// [`Unwinder::pieces_published`](crate::Unwinder::pieces_published).
    pub fn publish(&self) -> Result<(), Error> {
        let numbers: Vec<u8> = self
            .numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let fds = self.maps.iter().map(|map| map.as_fd().as_raw_fd());
        let fds: Vec<u8> = fds.flat_map(|fd| fd.to_ne_bytes()).collect();
        let count = self.numbers.len() as u32;
        self.array
            .update_batch(&numbers, &fds, count, MapFlags::ANY, MapFlags::ANY)
            .map_err(Error::map("publish kernel memory"))
    }
}

/// The pieces of one kind.
pub(crate) struct Pieces {
    array: MapHandle,
    /// Those that may be used of the array's.
    numbers: Range<u32>,
    pieces: BTreeMap<u32, Piece>,
    budget: Budget,
}

impl Pieces {
    /// None yet. They are published in `array` under `numbers`.
    pub(crate) fn new(array: MapHandle, numbers: Range<u32>, budget: Budget) -> Self {
        Self {
            array,
            numbers,
            pieces: BTreeMap::new(),
            budget,
        }
    }

    /// Finds room for so many bytes; nothing if the budget leaves none. Programs can find it when [`Pieces::is_known`] says so.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<Option<Extent>, Error> {
        let Some(bytes) = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.max(1).checked_next_multiple_of(ALIGNMENT))
        else {
            return Ok(None);
        };
        if bytes <= PIECE
            && let Some(extent) = self.first_fit(bytes)
        {
            return Ok(Some(extent));
        }
        let count = bytes.div_ceil(PIECE);
        let Some(first) = self.free_numbers(count) else {
            return Ok(None);
        };
        for made in 0..count {
            let Some(piece) = self.new_piece() else {
                self.remove(first..first + made);
                return Ok(None);
            };
            self.pieces.insert(first + made, piece);
        }
        let extent = Extent {
            piece: first,
            start: 0,
            bytes,
        };
        for (number, range) in extent.parts() {
            if let Some(piece) = self.pieces.get_mut(&number) {
                piece.take(range);
            }
        }
        Ok(Some(extent))
    }

    /// Nothing if the budget has no room for it, or the kernel or the agent's memory cgroup has none.
    fn new_piece(&self) -> Option<Piece> {
        if !self.budget.take() {
            return None;
        }
        Piece::new()
            .inspect_err(|error| {
                self.budget.give_back();
                tracing::warn!("there is room in the budget of unwind tables, but {error}");
            })
            .ok()
    }

    /// Whether there are pieces that programs cannot find yet, and will not soon.
    pub(crate) fn has_new(&self) -> bool {
        let mut pieces = self.pieces.values();
        pieces.any(|piece| piece.known == Known::No)
    }

    /// Adds them.
    pub(crate) fn add_new(&self, new: &mut NewPieces) -> Result<(), Error> {
        let unknown = self.pieces.iter();
        for (number, piece) in unknown.filter(|(_, piece)| piece.known == Known::No) {
            new.maps.push(handle(&piece.map)?);
            new.numbers.push(*number);
        }
        Ok(())
    }

    /// Somebody will let programs find these.
    pub(crate) fn are_coming(&mut self, new: &NewPieces) {
        self.set(new, Known::Soon);
    }

    /// Lets programs find an extent, and waits for it.
    pub(crate) fn publish(&mut self, extent: Extent) -> Result<(), Error> {
        let mut new = NewPieces::none(&self.array)?;
        for (number, _) in extent.parts() {
            if let Some(piece) = self.pieces.get(&number) {
                new.numbers.push(number);
                new.maps.push(handle(&piece.map)?);
            }
        }
        new.publish()?;
        self.published(&new);
        Ok(())
    }

    /// Programs can find these now.
    pub(crate) fn published(&mut self, new: &NewPieces) {
        self.set(new, Known::Yes);
    }

    fn set(&mut self, new: &NewPieces, known: Known) {
        for number in &new.numbers {
            if let Some(piece) = self.pieces.get_mut(number) {
                piece.known = known;
            }
        }
    }

    /// Whether programs can find all of an extent.
    pub(crate) fn is_known(&self, extent: Extent) -> bool {
        let is_known = |number| {
            self.pieces
                .get(&number)
                .is_some_and(|piece| piece.known == Known::Yes)
        };
        extent.parts().all(|(number, _)| is_known(number))
    }

    /// Makes a piece for later, if none is empty and the budget leaves one.
    pub(crate) fn stock(&mut self) -> Result<(), Error> {
        if self.pieces.values().any(Piece::is_empty) {
            return Ok(());
        }
        if let Some(extent) = self.allocate(PIECE as usize)? {
            self.free(extent);
        }
        Ok(())
    }

    /// Waits until no program still runs that began before: the kernel does so with every change of an array of maps. Without pieces
    /// there is nothing to wait for.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let Some((number, piece)) = self
            .pieces
            .iter()
            .find(|(_, piece)| piece.known == Known::Yes)
        else {
            return Ok(());
        };
        let map = piece.map.as_fd().as_raw_fd().to_ne_bytes();
        self.array
            .update(&number.to_ne_bytes(), &map, MapFlags::ANY)
            .map_err(Error::map("wait for the kernel programs"))
    }

    /// Writes to an extent what each of its pieces is to hold.
    pub(crate) fn write<'p>(
        &self,
        extent: Extent,
        parts: impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), Error> {
        for ((number, range), part) in extent.parts().zip(parts) {
            if let Some(piece) = self.pieces.get(&number) {
                View::of(&piece.map, PIECE as usize)?.write(range.start as usize, part);
            }
        }
        Ok(())
    }

    /// Gives an extent back. No program may still be reading it.
    pub(crate) fn free(&mut self, extent: Extent) {
        for (number, range) in extent.parts() {
            if let Some(piece) = self.pieces.get_mut(&number) {
                piece.give_back(range);
            }
        }
    }

    /// Gives an empty piece back to the kernel, but not the last, so that the next small request finds room at once.
    pub(crate) fn trim(&mut self) {
        let is_idle = |piece: &Piece| piece.is_empty() && piece.known != Known::Soon;
        let empty = self.pieces.iter().filter(|(_, piece)| is_idle(piece));
        // One at a time: each waits for all programs that run, and a window is waiting meanwhile.
        if let Some(number) = empty.map(|(number, _)| *number).nth(1) {
            self.remove(number..number + 1);
        }
    }

    /// A lasting view of a piece, for what is written often; nothing if there is no such piece.
    pub(crate) fn view(&self, number: u32) -> Result<Option<View>, Error> {
        let piece = self.pieces.get(&number);
        piece
            .map(|piece| View::of(&piece.map, PIECE as usize))
            .transpose()
    }

    /// Whether there is such a piece.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.pieces.contains_key(&number)
    }

    /// Bytes of kernel memory that these take.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.len() as u64 * (u64::from(PIECE) + OVERHEAD)
    }

    /// In a piece that programs can find, if there is one with room.
    fn first_fit(&mut self, bytes: u32) -> Option<Extent> {
        let mut fitting = self
            .pieces
            .iter_mut()
            .filter(|(_, piece)| piece.fit(bytes).is_some());
        let first = fitting.next()?;
        let (number, piece) = match first.1.known {
            Known::Yes => first,
            _ => fitting
                .find(|(_, piece)| piece.known == Known::Yes)
                .unwrap_or(first),
        };
        let start = piece.fit(bytes)?;
        piece.take(start..start + bytes);
        Some(Extent {
            piece: *number,
            start,
            bytes,
        })
    }

    /// So many numbers in a row that no piece has.
    fn free_numbers(&self, count: u32) -> Option<u32> {
        let mut first = self.numbers.start;
        for taken in self.pieces.keys() {
            if taken - first >= count {
                break;
            }
            first = taken + 1;
        }
        (self.numbers.end.saturating_sub(first) >= count).then_some(first)
    }

    fn remove(&mut self, numbers: Range<u32>) {
        for number in numbers {
            if self.pieces.remove(&number).is_some() {
                self.budget.give_back();
                // It is not there if it was never published.
                let _ = self.array.delete(&number.to_ne_bytes());
            }
        }
    }
}

fn handle(map: &MapHandle) -> Result<MapHandle, Error> {
    MapHandle::try_from(map).map_err(Error::map("share kernel memory"))
}
