//! One piece of kernel memory, and the budget that all of them come from.

use crate::Error;
use crate::skeleton::types;
use libbpf_rs::{MapHandle, MapType};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// Bytes of a piece.
pub(crate) const PIECE: u32 = types::unwind_limits::PIECE_BYTES.0;
/// What the kernel adds to each: a page for the map itself.
pub(crate) const OVERHEAD: u64 = 4096;

/// Memory that may be used for pieces of all kinds.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: Rc<Cell<u64>>,
}

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let used = Rc::default();
        Self { limit, used }
    }

    /// Takes that of a piece, if so much is left.
    pub(crate) fn take(&self) -> bool {
        let used = self.used.get() + u64::from(PIECE) + OVERHEAD;
        let fits = used <= self.limit;
        if fits {
            self.used.set(used);
        }
        fits
    }

    /// What was taken last is not needed, or no longer.
    pub(crate) fn give_back(&self) {
        self.used.set(self.used.get() - u64::from(PIECE) - OVERHEAD);
    }

    /// Bytes they may take.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

/// One of them, by who can find it and what is free in it.
pub(crate) struct Piece {
    pub(crate) map: MapHandle,
    /// Free ranges by their start; none touch.
    free: BTreeMap<u32, u32>,
    pub(crate) known: Known,
}

/// Whether programs can find a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    No,
    /// It is among some [`NewPieces`](crate::NewPieces).
    Soon,
    Yes,
}

impl Piece {
    /// All of it is free, and programs cannot find it.
    pub(crate) fn new() -> Result<Self, Error> {
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as u64,
            map_flags: libbpf_rs::libbpf_sys::BPF_F_MMAPABLE,
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::Array,
            Some("piece"),
            size_of::<u32>() as u32,
            PIECE,
            1,
            &options,
        )
        .map_err(Error::map("get kernel memory for unwind tables"))?;
        Ok(Self {
            map,
            free: BTreeMap::from([(0, PIECE)]),
            known: Known::No,
        })
    }

    /// Whether all of it is free.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.get(&0) == Some(&PIECE)
    }

    /// Where so many bytes are free.
    pub(crate) fn fit(&self, bytes: u32) -> Option<u32> {
        let range = self.free.iter().find(|(_, length)| **length >= bytes);
        range.map(|(start, _)| *start)
    }

    /// Takes what is known to be free.
    pub(crate) fn take(&mut self, range: Range<u32>) {
        if let Some(length) = self.free.remove(&range.start) {
            let used = range.end - range.start;
            if length > used {
                self.free.insert(range.end, length - used);
            }
        }
    }

    /// Makes it free again.
    pub(crate) fn give_back(&mut self, range: Range<u32>) {
        let mut range = range;
        if let Some(length) = self.free.remove(&range.end) {
            range.end += length;
        }
        if let Some((start, length)) = self.free.range(..range.start).next_back()
            && start + length == range.start
        {
            range.start = *start;
        }
        self.free.insert(range.start, range.end - range.start);
    }
}
