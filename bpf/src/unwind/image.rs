//! The bytes of a table, in pieces as kernel memory has them. One that grows need not be moved for it.

use super::bytes::Bytes;
use crate::skeleton::types::unwind_limits;
use std::ops::Range;

/// Kernel memory for tables comes in pieces of this size.
pub(super) const PIECE_BYTES: usize = unwind_limits::PIECE_BYTES.0 as usize;

/// What the walk reads of a table: index, blocks and rules, described in `bpf/src/c/unwind.h`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// All but the last are full.
    pieces: Vec<Vec<u8>>,
}

impl Image {
    /// Its bytes.
    pub fn len(&self) -> usize {
        let full = self.pieces.len().saturating_sub(1) * PIECE_BYTES;
        full + self.pieces.last().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All of it, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Vec::as_slice)
    }

    /// The same, to be written to.
    pub(super) fn pieces_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.pieces.iter_mut().map(Vec::as_mut_slice)
    }

    /// Bytes that lie in one piece, as blocks, entries of the index and rules do.
    #[inline]
    pub(super) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let (piece, within) = place(range);
        self.pieces.get(piece)?.get(within)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        let (piece, within) = place(range);
        self.pieces.get_mut(piece)?.get_mut(within)
    }

    #[inline]
    pub(super) fn read_u32(&self, at: usize) -> Option<u32> {
        Bytes(self.get(at..at.checked_add(size_of::<u32>())?)?).u32()
    }

    /// Appends zeros.
    pub(super) fn grow(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            if self
                .pieces
                .last()
                .is_none_or(|last| last.len() == PIECE_BYTES)
            {
                self.pieces.push(Vec::with_capacity(PIECE_BYTES));
            }
            if let Some(last) = self.pieces.last_mut() {
                let more = left.min(PIECE_BYTES - last.len());
                last.resize(last.len() + more, 0);
                left -= more;
            }
        }
    }

    /// Gives back what is not in use.
    pub(super) fn shrink_to_fit(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            last.shrink_to_fit();
        }
    }
}

/// Number of a piece, and where in it.
#[inline]
fn place(range: Range<usize>) -> (usize, Range<usize>) {
    let piece = range.start / PIECE_BYTES;
    let begin = piece * PIECE_BYTES;
    (piece, range.start - begin..range.end.saturating_sub(begin))
}
