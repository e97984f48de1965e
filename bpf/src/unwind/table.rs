//! The unwind rules of one file, in the form the walk reads.

use super::bytes::Bytes;
use super::image::Image;
use super::rule::{Packed, Rule};
use crate::skeleton::types::unwind_limits;

pub(super) const PAGE_BITS: u32 = unwind_limits::PAGE_BITS.0;
pub(super) const ROW_BYTES: usize = unwind_limits::ROW_BYTES.0 as usize;
pub(super) const INDEX_BYTES: usize = size_of::<u32>();
/// Of a key, below the offset: the upper bits of the rule's number.
pub(super) const KEY_RULE_BITS: u32 = unwind_limits::KEY_RULE_BITS.0;
const PAGE_BYTES: u64 = 1 << PAGE_BITS;

/// The table of a file or, where that is larger than 4 GiB, of one 4 GiB piece of it.
///
/// `bpf/src/c/unwind.h` describes the image; it is the same in this process, on disk and in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) image: Image,
    pub(super) geometry: Geometry,
}

/// Where things lie in an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Number of the first page of the file that has a row. A page has 8 KiB.
    pub first_page: u32,
    /// Pages with a block.
    pub pages: u32,
    /// Offset of the index in the image.
    pub index: u32,
    /// Offset of the rules in the image.
    pub rules: u32,
    /// How many rules there are.
    pub rule_count: u32,
}

impl Table {
    /// The bytes that the walk reads.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Where things lie in the image.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether there is nothing in it: the file has no code, or none with call frame information.
    pub fn is_empty(&self) -> bool {
        self.geometry.pages == 0
    }

    /// What to do at a file offset, searched as the walk does.
    pub fn lookup(&self, offset: u32) -> Rule {
        let Some(page) = (offset >> PAGE_BITS).checked_sub(self.geometry.first_page) else {
            return Rule::None;
        };
        let within = (offset & (PAGE_BYTES as u32 - 1)) as u16;
        let Some(block) = self.block(page) else {
            return Rule::None;
        };
        let behind = block.partition_point(|row| row.offset <= within);
        behind
            .checked_sub(1)
            .and_then(|last| block.get(last))
            .map_or(Rule::None, |row| self.rule(row.rule))
    }

    /// All changes of the rule in ascending order, without what pages and pieces repeat. A gap begins with [`Rule::None`].
    pub fn rows(&self) -> impl Iterator<Item = (u64, Rule)> + '_ {
        let mut in_force = Rule::None;
        (0..self.geometry.pages)
            .flat_map(move |page| {
                let start = (u64::from(self.geometry.first_page) + u64::from(page)) << PAGE_BITS;
                let block = self.block(page).unwrap_or_default();
                // A page in which nothing holds at first says so by having no row there.
                let gap = block.first().is_none_or(|row| row.offset != 0);
                gap.then_some((start, Rule::None)).into_iter().chain(
                    block
                        .into_iter()
                        .map(move |row| (start + u64::from(row.offset), self.rule(row.rule))),
                )
            })
            .chain([(
                (u64::from(self.geometry.first_page) + u64::from(self.geometry.pages)) << PAGE_BITS,
                Rule::None,
            )])
            .filter(move |&(_, rule)| std::mem::replace(&mut in_force, rule) != rule)
    }

    fn rule(&self, number: u16) -> Rule {
        let at = self.geometry.rules as usize + usize::from(number) * Packed::BYTES;
        let bytes = self.image.get(at..at + Packed::BYTES);
        let number = bytes.and_then(|bytes| Bytes(bytes).u64());
        number.map_or(Rule::None, |number| Packed(number).into())
    }

    fn block(&self, page: u32) -> Option<Vec<BlockRow>> {
        if page >= self.geometry.pages {
            return None;
        }
        let entry = self.geometry.index as usize + page as usize * INDEX_BYTES;
        let begin = self.image.read_u32(entry)? as usize;
        let end = self.image.read_u32(entry + INDEX_BYTES)? as usize;
        let count = end.checked_sub(begin)? / ROW_BYTES;
        let (keys, rest) = self.image.get(begin..end)?.split_at_checked(count * 2)?;
        let keys = keys
            .chunks_exact(2)
            .map(|key| u16::from_le_bytes([key[0], key[1]]));
        let rows = keys.zip(rest).map(|(key, low)| BlockRow {
            offset: key >> KEY_RULE_BITS,
            rule: (key & ((1 << KEY_RULE_BITS) - 1)) << 8 | u16::from(*low),
        });
        Some(rows.collect())
    }
}

struct BlockRow {
    /// In the page.
    offset: u16,
    /// Its number.
    rule: u16,
}
