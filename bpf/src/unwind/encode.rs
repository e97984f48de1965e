//! Rows into an image.

use super::dictionary::{Dictionary, MAX_RULES};
use super::error::BuildError;
use super::image::{Image, PIECE_BYTES};
use super::rule::{Packed, Rule};
use super::table::{Geometry, INDEX_BYTES, KEY_RULE_BITS, PAGE_BITS, ROW_BYTES, Table};
use std::ops::Range;

const OFFSET_MASK: u64 = (1 << PAGE_BITS) - 1;

/// What came of encoding a file.
pub(super) enum Encoded {
    Table(Table),
    /// The file has more rules than a row can number: it is to be encoded once more, with these.
    Again(Dictionary),
}

/// Takes rows in ascending order and makes the image as they come.
pub(super) struct Encoder {
    /// index | blocks, until [`Encoder::finish`] adds the rules.
    image: Image,
    most_bytes: usize,
    first_page: u64,
    pages: u64,
    /// The one being filled, counted from the first.
    page: u64,
    keys: Vec<u16>,
    lows: Vec<u8>,
    in_force: Packed,
    none: Packed,
    dictionary: Dictionary,
}

impl Encoder {
    /// For rows in `code`, a range of offsets in a 4 GiB piece of a file.
    pub(super) fn new(
        code: Range<u64>,
        dictionary: Dictionary,
        most_bytes: usize,
    ) -> Result<Self, BuildError> {
        let first_page = code.start >> PAGE_BITS;
        let pages = if code.is_empty() {
            0
        } else {
            ((code.end - 1) >> PAGE_BITS) + 1 - first_page
        };
        let none = Packed::from(Rule::None);
        let mut encoder = Self {
            image: Image::default(),
            most_bytes,
            first_page,
            pages,
            page: 0,
            keys: Vec::new(),
            lows: Vec::new(),
            in_force: none,
            none,
            dictionary,
        };
        // A 4 GiB piece of a file has 2^19 pages.
        encoder.grow((pages as usize + 1) * INDEX_BYTES)?;
        encoder.write_index(0, encoder.image.len());
        Ok(encoder)
    }

    /// From `offset` on, `rule` holds. Offsets must not descend and must lie in the range given first.
    #[inline]
    pub(super) fn row(&mut self, offset: u64, rule: Packed) -> Result<(), BuildError> {
        if rule == self.in_force {
            return Ok(());
        }
        let page = (offset >> PAGE_BITS).saturating_sub(self.first_page);
        if page != self.page {
            if page >= self.pages {
                // Only the end of the last function can lie here, and beyond the last page nothing holds anyway.
                return Ok(());
            }
            self.turn_to(page)?;
        }
        self.push((offset & OFFSET_MASK) as u16, rule);
        self.in_force = rule;
        Ok(())
    }

    #[inline]
    fn push(&mut self, offset: u16, rule: Packed) {
        let same = |key: &u16| key >> KEY_RULE_BITS == offset;
        if self.keys.last().is_some_and(same) {
            self.keys.pop();
            self.lows.pop();
        }
        // Nothing holds where a page begins, unless a row says otherwise.
        if rule == self.none && self.keys.is_empty() {
            return;
        }
        let number = self.dictionary.number(rule);
        self.keys
            .push(offset << KEY_RULE_BITS | (number >> 8) & ((1 << KEY_RULE_BITS) - 1));
        self.lows.push(number as u8);
    }

    /// Ends the block of the current page and those of the pages between.
    #[inline(never)]
    fn turn_to(&mut self, page: u64) -> Result<(), BuildError> {
        while self.page < page {
            self.end_block()?;
            self.page += 1;
            if self.in_force != self.none {
                self.push(0, self.in_force);
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), BuildError> {
        let rows = self.keys.len();
        let bytes = (rows * ROW_BYTES).next_multiple_of(2);
        let room = PIECE_BYTES - self.image.len() % PIECE_BYTES;
        if bytes > room {
            self.fill(room)?;
        }
        let begin = self.image.len();
        self.grow(bytes)?;
        let block = self.image.get_mut(begin..begin + bytes);
        let (keys, lows) = block.unwrap_or_default().split_at_mut(rows * 2);
        for (place, key) in keys.chunks_exact_mut(2).zip(&self.keys) {
            place.copy_from_slice(&key.to_le_bytes());
        }
        for (place, low) in lows.iter_mut().zip(&self.lows) {
            *place = *low;
        }
        self.write_index(self.page + 1, begin + bytes);
        self.keys.clear();
        self.lows.clear();
        Ok(())
    }

    /// Lengthens the block before this page's by `bytes`, which are fewer than a block may have, by repeating its last row.
    fn fill(&mut self, bytes: usize) -> Result<(), BuildError> {
        let end = self.image.len();
        self.grow(bytes)?;
        self.write_index(self.page, end + bytes);
        if self.page == 0 {
            // Before the first block is the index, which may be longer than it says.
            return Ok(());
        }
        let begin = self.read_index(self.page - 1);
        let old = (end - begin) / ROW_BYTES;
        let new = (end + bytes - begin) / ROW_BYTES;
        let block = self.image.get_mut(begin..end + bytes).unwrap_or_default();
        let (keys, rest) = block.split_at_mut(old * 2);
        let lows = rest.get(..old).unwrap_or_default();
        let (key, low) = match (keys.last_chunk::<2>(), lows.last()) {
            (Some(key), Some(low)) => (*key, *low),
            _ => {
                let number = self.dictionary.number(self.none);
                let key = (number >> 8) & ((1 << KEY_RULE_BITS) - 1);
                (key.to_le_bytes(), number as u8)
            }
        };
        block.copy_within(old * 2..old * ROW_BYTES, new * 2);
        let (keys, lows) = block.split_at_mut(new * 2);
        for place in keys.chunks_exact_mut(2).skip(old) {
            place.copy_from_slice(&key);
        }
        for place in lows.iter_mut().take(new).skip(old) {
            *place = low;
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BuildError> {
        let len = self.image.len() + bytes;
        if len + MAX_RULES * Packed::BYTES > self.most_bytes.max(MAX_RULES * Packed::BYTES) {
            return Err(BuildError::ImageTooLarge(self.most_bytes));
        }
        self.image.grow(bytes);
        Ok(())
    }

    fn write_index(&mut self, page: u64, offset: usize) {
        let at = page as usize * INDEX_BYTES;
        // An image is smaller than 4 GiB: its limit is.
        self.write(at, &(offset as u32).to_le_bytes());
    }

    /// Writes an entry or a rule, which lies in one piece.
    fn write(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn read_index(&self, page: u64) -> usize {
        self.image
            .read_u32(page as usize * INDEX_BYTES)
            .unwrap_or(0) as usize
    }

    /// Ends the last block.
    pub(super) fn finish(mut self) -> Result<Encoded, BuildError> {
        if self.pages > 0 {
            self.turn_to(self.pages - 1)?;
            self.end_block()?;
        }
        if self.dictionary.overflowed() {
            return Ok(Encoded::Again(Dictionary::of_most_frequent(
                &self.dictionary,
            )));
        }
        let order = self.dictionary.by_frequency();
        self.renumber(&order);
        let rules = self.image.len().next_multiple_of(Packed::BYTES);
        let bytes = order.len() * Packed::BYTES;
        self.image.grow(rules + bytes - self.image.len());
        for (place, number) in (rules..).step_by(Packed::BYTES).zip(&order) {
            if let Some(rule) = self.dictionary.rule(*number) {
                self.write(place, &rule.0.to_le_bytes());
            }
        }
        self.image.shrink_to_fit();
        Ok(Encoded::Table(Table {
            geometry: Geometry {
                first_page: self.first_page as u32,
                pages: self.pages as u32,
                index: 0,
                rules: rules as u32,
                rule_count: order.len() as u32,
            },
            image: self.image,
        }))
    }

    /// Gives each rule its place in `order` as its number.
    fn renumber(&mut self, order: &[u16]) {
        let mut places = vec![0_u16; MAX_RULES];
        for (place, number) in order.iter().enumerate() {
            if let Some(entry) = places.get_mut(usize::from(*number)) {
                *entry = place as u16;
            }
        }
        for page in 0..self.pages {
            let (begin, end) = (self.read_index(page), self.read_index(page + 1));
            let rows = (end - begin) / ROW_BYTES;
            let Some(block) = self.image.get_mut(begin..begin + rows * ROW_BYTES) else {
                continue;
            };
            let (keys, lows) = block.split_at_mut(rows * 2);
            for (key, low) in keys.chunks_exact_mut(2).zip(lows) {
                let old = u16::from_le_bytes([key[0], key[1]]);
                let mask = (1 << KEY_RULE_BITS) - 1;
                let place = places[usize::from((old & mask) << 8 | u16::from(*low))];
                key.copy_from_slice(&(old & !mask | place >> 8).to_le_bytes());
                *low = place as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests;
