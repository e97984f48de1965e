//! Unwind tables in kernel memory, each in a numbered slot that mappings name.

use crate::Error;
use crate::piece::Budget;
use crate::pieces::{Extent, Pieces};
use crate::pod;
use crate::skeleton::{ThermographMaps, types};
use crate::unwind::{Geometry, Table};
use crate::view::View;
use libbpf_rs::MapHandle;
use std::collections::{BTreeSet, HashMap};
use std::mem::offset_of;

/// Slots there are.
const SLOTS: u32 = types::table_limits::MAX_TABLES.0;

/// Number of a file's table in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// As mappings name it.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Why a file has no table in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoTable {
    /// It has no rules: frame pointers are all there is.
    NoRules,
    /// It could not be read.
    Unreadable,
    /// There was no room.
    OverBudget,
}

/// The tables of all files.
pub(crate) struct Tables {
    pieces: Pieces,
    slots: View,
    free: Vec<Slot>,
    placed: HashMap<Slot, Extent>,
    /// Of these, those in pieces that programs cannot find yet.
    unknown: BTreeSet<Slot>,
    /// Unpublished, but a walk that began before may still be reading it.
    leaving: Leaving,
    /// They are free once no program runs that began before.
    waiting: Leaving,
}

#[derive(Default)]
struct Leaving {
    extents: Vec<Extent>,
    slots: Vec<Slot>,
}

impl Tables {
    pub(crate) fn new(
        maps: &ThermographMaps<'_>,
        pieces: MapHandle,
        numbers: std::ops::Range<u32>,
        budget: Budget,
    ) -> Result<Self, Error> {
        let bytes = SLOTS as usize * size_of::<types::table>();
        Ok(Self {
            pieces: Pieces::new(pieces, numbers, budget),
            slots: View::of(&maps.tables, bytes)?,
            free: (0..SLOTS).rev().map(Slot).collect(),
            placed: HashMap::new(),
            unknown: BTreeSet::new(),
            leaving: Leaving::default(),
            waiting: Leaving::default(),
        })
    }

    pub(crate) fn reserve(&mut self) -> Option<Slot> {
        let slot = self.free.pop()?;
        self.set_state(slot, types::table_state::TABLE_PENDING);
        Some(slot)
    }

    /// Puts a table where programs can find it, at once or soon. False if there was no room, and the slot is marked so.
    pub(crate) fn put(&mut self, slot: Slot, table: &Table) -> Result<bool, Error> {
        if self.placed.contains_key(&slot) {
            return Ok(true);
        }
        let Some(extent) = self.pieces.allocate(table.image().len())? else {
            self.mark(slot, NoTable::OverBudget);
            return Ok(false);
        };
        if let Err(error) = self.pieces.write(extent, table.image().pieces()) {
            self.pieces.free(extent);
            return Err(error);
        }
        self.place(slot, table.geometry(), extent);
        self.placed.insert(slot, extent);
        self.unknown.insert(slot);
        Ok(true)
    }

    /// Lets walks use the tables that programs can find by now, and returns their slots.
    pub(crate) fn ready(&mut self) -> Vec<Slot> {
        let is_known = |slot: &Slot| {
            let extent = self.placed.get(slot);
            extent.is_some_and(|extent| self.pieces.is_known(*extent))
        };
        let ready: Vec<Slot> = self.unknown.iter().copied().filter(is_known).collect();
        for slot in &ready {
            self.unknown.remove(slot);
            self.set_state(*slot, types::table_state::TABLE_READY);
        }
        ready
    }

    /// The memory that programs cannot find yet.
    pub(crate) fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    /// The same with some for tables to come: most would else wait for it as long as it takes to build them.
    pub(crate) fn stocked(&mut self) -> Result<&mut Pieces, Error> {
        self.pieces.stock()?;
        Ok(&mut self.pieces)
    }

    pub(crate) fn mark(&mut self, slot: Slot, state: NoTable) {
        self.set_state(
            slot,
            match state {
                NoTable::NoRules => types::table_state::TABLE_NONE,
                NoTable::Unreadable => types::table_state::TABLE_UNREADABLE,
                NoTable::OverBudget => types::table_state::TABLE_OVER_BUDGET,
            },
        );
        self.remove_image(slot);
    }

    pub(crate) fn release(&mut self, slot: Slot) {
        self.set_state(slot, types::table_state::TABLE_PENDING);
        self.remove_image(slot);
        self.leaving.slots.push(slot);
    }

    /// Whether something has left that is not free yet.
    pub(crate) fn has_leaving(&self) -> bool {
        !self.leaving.extents.is_empty() || !self.leaving.slots.is_empty()
    }

    /// From now on a program that still reads what has left began before this call.
    pub(crate) fn begin_grace(&mut self) {
        self.waiting.extents.append(&mut self.leaving.extents);
        self.waiting.slots.append(&mut self.leaving.slots);
    }

    /// No program runs any more that began before the last [`Tables::begin_grace`].
    pub(crate) fn end_grace(&mut self) {
        for extent in self.waiting.extents.drain(..) {
            self.pieces.free(extent);
        }
        self.free.append(&mut self.waiting.slots);
        self.pieces.trim();
    }

    /// Bytes of images.
    pub(crate) fn image_bytes(&self) -> u64 {
        self.placed.values().map(|extent| extent.bytes()).sum()
    }

    /// Bytes of kernel memory that the pieces with images take.
    pub(crate) fn piece_bytes(&self) -> u64 {
        self.pieces.bytes()
    }

    fn remove_image(&mut self, slot: Slot) {
        self.unknown.remove(&slot);
        if let Some(extent) = self.placed.remove(&slot) {
            self.leaving.extents.push(extent);
        }
    }

    fn place(&self, slot: Slot, geometry: Geometry, extent: Extent) {
        let table = types::table {
            // Programs go by it: it is written last.
            state: types::table_state::TABLE_PENDING.0,
            piece: extent.piece,
            start: extent.start,
            first_page: geometry.first_page,
            pages: geometry.pages,
            index: geometry.index,
            rules: geometry.rules,
            rule_count: geometry.rule_count,
        };
        self.slots.write(offset_of_slot(slot), pod::bytes(&table));
    }

    fn set_state(&self, slot: Slot, state: types::table_state) {
        let at = offset_of_slot(slot) + offset_of!(types::table, state);
        self.slots.publish(at, state.0);
    }
}

fn offset_of_slot(slot: Slot) -> usize {
    slot.0 as usize * size_of::<types::table>()
}
