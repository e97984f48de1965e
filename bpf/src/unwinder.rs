//! What the walk knows of files and processes: their tables and lists of mappings in kernel memory.

use crate::Error;
use crate::lists::{List, Lists, Published, UnwindMapping};
use crate::piece::Budget;
use crate::pieces::NewPieces;
use crate::skeleton::{ThermographMaps, types};
use crate::tables::{NoTable, Slot, Tables};
use crate::unwind::Table;
use libbpf_rs::MapHandle;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// Numbers of the pieces that hold lists; the others hold tables.
const LIST_PIECES: u32 = 256;
/// Kernel memory kept for lists, however many tables there are: 60,000 mappings.
const LIST_BUDGET: u64 = 2 << 20;

/// Tables and lists in the kernel.
pub struct Unwinder {
    tables: Tables,
    lists: Lists,
    array: MapHandle,
    budget: Budget,
}

/// Kernel memory that tables and lists take, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindMemory {
    /// What tables may take.
    pub budget: u64,
    /// What they take.
    pub tables: u64,
    /// Of that, what is filled.
    pub images: u64,
    /// What lists of mappings take.
    pub lists: u64,
}

impl Unwinder {
    /// Nothing is known yet, and tables will take at most `budget` bytes.
    pub(crate) fn new(maps: &ThermographMaps<'_>, budget: u64) -> Result<Self, Error> {
        let array =
            || MapHandle::try_from(&maps.pieces).map_err(Error::map("open the array of pieces"));
        let numbers = LIST_PIECES..types::piece_limits::MAX_PIECES.0;
        let budget = Budget::new(budget);
        Ok(Self {
            tables: Tables::new(maps, array()?, numbers, budget.clone())?,
            lists: Lists::new(maps, array()?, 0..LIST_PIECES, Budget::new(LIST_BUDGET))?,
            array: array()?,
            budget,
        })
    }

    /// Bytes of kernel memory for lists, and for knowing where tables are.
    pub(crate) fn bytes_without_tables() -> u64 {
        let slots = u64::from(types::table_limits::MAX_TABLES.0);
        LIST_BUDGET + slots * size_of::<types::table>() as u64
    }

    /// A slot for a table that is still to be built; nothing if all are taken.
    pub fn reserve(&mut self) -> Option<Slot> {
        self.tables.reserve()
    }

    /// Puts a table into the kernel, for walks to use as soon as [`Unwinder::ready`] returns its slot. False if there was no room, and
    /// the slot is marked so.
    pub fn put(&mut self, slot: Slot, table: &Table) -> Result<bool, Error> {
        self.tables.put(slot, table)
    }

    /// New memory that programs cannot find yet, if there is some.
    pub fn new_pieces(&mut self) -> Result<Option<NewPieces>, Error> {
        let (tables, lists) = (self.tables.stocked()?, self.lists.pieces()?);
        if !tables.has_new() && !lists.has_new() {
            return Ok(None);
        }
        let mut new = NewPieces::none(&self.array)?;
        tables.add_new(&mut new)?;
        lists.add_new(&mut new)?;
        tables.are_coming(&new);
        lists.are_coming(&new);
        Ok(Some(new))
    }

    /// Takes it for known that programs can find these.
    pub fn pieces_published(&mut self, new: &NewPieces) {
        self.tables.pieces().published(new);
        self.lists.pieces_published(new);
    }

    /// Lets walks use the tables that were put into memory which programs can find by now. Returns their slots.
    pub fn ready(&mut self) -> Vec<Slot> {
        self.tables.ready()
    }

    /// Says why a slot has no table, or takes away the one it has.
    pub fn mark(&mut self, slot: Slot, state: NoTable) {
        self.tables.mark(slot, state);
    }

    /// Gives a slot back. Lists that name it must be dropped before the next end of a window or [`Unwinder::reclaim`].
    pub fn release(&mut self, slot: Slot) {
        self.tables.release(slot);
    }

    /// Writes a list of mappings, which are sorted and do not overlap, into the kernel; nothing if there is no room. Processes with
    /// the same mappings can share it.
    pub fn list(&mut self, mappings: &[UnwindMapping]) -> Result<Option<Rc<List>>, Error> {
        self.lists.make(mappings)
    }

    /// Lets walks of a process's threads use a list. `program` says whose mappings these are (CLOCK_MONOTONIC nanoseconds):
    /// it begins with the record of the fork or exec that began the program, and ends where the records were read to. So a
    /// list is never used for a program that began earlier or later. It tells of all that was mapped until `last`, on the
    /// same clock: where something was mapped later in the place of something else, walks do not go by it.
    pub fn publish(
        &self,
        tgid: u32,
        program: RangeInclusive<u64>,
        last: u64,
        list: &List,
    ) -> Result<Published, Error> {
        self.lists.publish(tgid, program, last, list)
    }

    /// Frees what has been dropped, marked or released, as the end of a window does. If there is anything, it waits for the
    /// kernel, some 10 ms.
    pub fn reclaim(&mut self) -> Result<(), Error> {
        if !self.tables.has_leaving() && !self.lists.has_dropped() {
            return Ok(());
        }
        self.begin_grace();
        self.lists.wait()?;
        self.end_grace()
    }

    /// What all of it takes.
    pub fn memory(&self) -> UnwindMemory {
        UnwindMemory {
            budget: self.budget.limit(),
            tables: self.tables.piece_bytes(),
            images: self.tables.image_bytes(),
            lists: self.lists.bytes(),
        }
    }

    /// To be called before something that waits until all programs that run now have ended.
    pub(crate) fn begin_grace(&mut self) {
        self.tables.begin_grace();
        self.lists.begin_grace();
    }

    /// To be called after it: what had left the maps before is free now.
    pub(crate) fn end_grace(&mut self) -> Result<(), Error> {
        self.tables.end_grace();
        self.lists.end_grace()
    }
}
