//! Unwind tables in kernel memory, each in a numbered slot that mappings name.

use crate::Error;
use crate::pieces::{Budget, Extent, Pieces, View};
use crate::pod;
use crate::skeleton::{ThermographMaps, types};
use crate::unwind::{Geometry, Table};
use libbpf_rs::MapHandle;
use std::collections::HashMap;
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
            slots: View::of_map(&maps.tables, bytes)?,
            free: (0..SLOTS).rev().map(Slot).collect(),
            placed: HashMap::new(),
            leaving: Leaving::default(),
            waiting: Leaving::default(),
        })
    }

    pub(crate) fn reserve(&mut self) -> Option<Slot> {
        let slot = self.free.pop()?;
        self.set_state(slot, types::table_state::TABLE_PENDING);
        Some(slot)
    }

    /// The slots whose tables found no room, marked so. New pieces are published in one go.
    pub(crate) fn install(&mut self, tables: &[(Slot, &Table)]) -> Result<Vec<Slot>, Error> {
        let mut refused = Vec::new();
        let mut placed = Vec::new();
        for (slot, table) in tables {
            match self.pieces.allocate(table.image().len())? {
                Some(extent) => {
                    self.pieces.write(extent, table.image())?;
                    placed.push((*slot, table.geometry(), extent));
                }
                None => refused.push(*slot),
            }
        }
        self.pieces.publish()?;
        for (slot, geometry, extent) in placed {
            self.remove_image(slot);
            self.place(slot, geometry, extent);
            self.set_state(slot, types::table_state::TABLE_READY);
            self.placed.insert(slot, extent);
        }
        for slot in &refused {
            self.mark(*slot, NoTable::OverBudget);
        }
        Ok(refused)
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

    /// From now on a program that still reads what has left began before this call.
    pub(crate) fn begin_grace(&mut self) {
        self.waiting = std::mem::take(&mut self.leaving);
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
