use super::*;
use crate::unwind::rule::{Cfa, Rbx, Saved, Unsupported};
use std::collections::BTreeMap;

const PAGE: u64 = 1 << PAGE_BITS;
const LIMIT: usize = 64 << 20;

/// A rule of its own for each number.
fn rule(number: i32) -> Rule {
    Rule::Frame {
        cfa: Cfa::Register {
            register: 7,
            offset: number,
        },
        saved: Saved::Nothing,
        rbx: Rbx::Unchanged,
    }
}

/// Rows as they are given to the encoder, ended by a gap.
struct Given(BTreeMap<u64, Rule>);

impl Given {
    fn range(&self) -> Range<u64> {
        let (first, _) = self.0.first_key_value().unwrap();
        let (last, _) = self.0.last_key_value().unwrap();
        *first..*last
    }

    fn encode_with(&self, dictionary: Dictionary) -> Encoded {
        let mut encoder = Encoder::new(self.range(), dictionary, LIMIT).unwrap();
        for (offset, rule) in &self.0 {
            encoder.row(*offset, Packed::from(*rule)).unwrap();
        }
        encoder.finish().unwrap()
    }

    fn encode(&self) -> Table {
        match self.encode_with(Dictionary::growing()) {
            Encoded::Table(table) => table,
            Encoded::Again(_) => panic!("too many rules"),
        }
    }

    /// What holds at an offset.
    fn at(&self, offset: u64) -> Rule {
        let row = self.0.range(..=offset).next_back();
        row.map_or(Rule::None, |(_, rule)| *rule)
    }

    /// Rows where the rule changes.
    fn changes(&self) -> Vec<(u64, Rule)> {
        let mut in_force = Rule::None;
        let rows = self.0.iter().map(|(offset, rule)| (*offset, *rule));
        rows.filter(|&(_, rule)| std::mem::replace(&mut in_force, rule) != rule)
            .collect()
    }
}

/// Numbers without end that look random: xorshift64.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Rows at random distances: of a byte, of a page exactly, of many pages; of few rules, many of them equal, and of gaps.
fn rows(count: usize, seed: u64) -> Given {
    let mut random = random(seed);
    let mut offset = random(5 * PAGE);
    let mut rows = BTreeMap::new();
    for _ in 0..count {
        let rule = match random(8) {
            0 => Rule::None,
            1 => Rule::End,
            _ => rule(random(300) as i32 * 8),
        };
        rows.insert(offset, rule);
        offset += match random(100) {
            0 => PAGE * random(4),
            1 => (PAGE - offset % PAGE) + PAGE * random(3),
            2 => random(9 * PAGE),
            _ => 1 + random(60),
        };
    }
    rows.insert(offset, Rule::None);
    Given(rows)
}

/// Looking up, at every row and right before it, finds what was given, and the rows read back are those given: less those
/// that change nothing.
#[test]
fn gives_back_what_it_was_given() {
    for seed in 1..200 {
        let given = rows(3000, seed);
        let table = given.encode();
        for &offset in given.0.keys() {
            for offset in [offset.saturating_sub(1), offset, offset + 1] {
                assert_eq!(table.lookup(offset as u32), given.at(offset), "{offset}");
            }
        }
        assert_eq!(table.rows().collect::<Vec<_>>(), given.changes());
        assert_eq!(table.lookup(0), given.at(0));
        assert_eq!(table.lookup(u32::MAX), Rule::None);
    }
}

/// No block lies across a multiple of a piece's size, none is longer than twice what a page may hold, and blocks follow one
/// another.
#[test]
fn blocks_lie_in_pieces() {
    for seed in 1..5 {
        let given = rows(400_000, seed);
        let table = given.encode();
        let geometry = table.geometry();
        assert!(table.image().len() > 3 * PIECE_BYTES);
        let index = |page: u32| table.image().read_u32(page as usize * INDEX_BYTES).unwrap();
        let mut filled = 0;
        for page in 0..geometry.pages {
            let (begin, end) = (index(page) as usize, index(page + 1) as usize);
            assert_eq!(begin % 2, 0);
            assert!(begin <= end && end <= geometry.rules as usize);
            assert!(begin == end || begin / PIECE_BYTES == (end - 1) / PIECE_BYTES);
            assert!(end - begin <= 2 * PAGE as usize * ROW_BYTES);
            filled += usize::from(end % PIECE_BYTES == 0);
        }
        assert!(filled >= 2, "the rows are too few to test this");
        assert_eq!(table.rows().collect::<Vec<_>>(), given.changes());
    }
}

/// An empty block is filled up too: with rows that say that nothing holds.
#[test]
fn empty_block_before_a_piece() {
    let mut given = BTreeMap::new();
    // As many rows as bytes, two pages of three: blocks of 24,576 bytes, of which the 11th meets the end of the piece.
    for page in (0..40).filter(|page| page % 3 != 2) {
        for within in 0..PAGE {
            given.insert(page * PAGE + within, rule((within % 7) as i32));
        }
        given.insert((page + 1) * PAGE, Rule::None);
    }
    let given = Given(given);
    let table = given.encode();
    let index = |page: usize| table.image().read_u32(page * INDEX_BYTES).unwrap() as usize;
    let empty = (0..40).filter(|page| page % 3 == 2);
    assert!(empty.into_iter().any(|page| index(page) < index(page + 1)));
    assert_eq!(table.rows().collect::<Vec<_>>(), given.changes());
}

/// Rules stand in the image by how often rows name them.
#[test]
fn most_frequent_rules_first() {
    let rules = [1, 2, 3, 2, 3, 2, 1, 2, 3, 2];
    let given = rules
        .iter()
        .zip(0..)
        .map(|(number, offset)| (offset, rule(*number)));
    let table = Given(given.chain([(10, Rule::None)]).collect()).encode();
    let at = table.geometry().rules as usize;
    let image = table.image().pieces().collect::<Vec<_>>().concat();
    let stored = image[at..].as_chunks().0.iter();
    let stored: Vec<Rule> = stored
        .map(|rule| Packed(u64::from_le_bytes(*rule)).into())
        .collect();
    assert_eq!(stored[..2], [rule(2), rule(3)]);
    assert_eq!(stored.len(), table.geometry().rule_count as usize);
}

/// Of more rules than rows can number the most frequent are kept; the others say that they were too many.
#[test]
fn too_many_rules() {
    let count = MAX_RULES as u64 * 3;
    // The first 100 come back again and again.
    let given = (0..count * 4).map(|offset| {
        let number = if offset % 4 == 0 {
            offset / 4
        } else {
            offset % 100
        };
        (offset, rule(number as i32))
    });
    let given = Given(given.chain([(count * 4, Rule::None)]).collect());
    let Encoded::Again(dictionary) = given.encode_with(Dictionary::growing()) else {
        panic!("{count} rules were taken for few");
    };
    let Encoded::Table(table) = given.encode_with(dictionary) else {
        panic!("the most frequent rules are still too many");
    };
    let mut exact = 0;
    for (&offset, &rule) in &given.0 {
        let found = table.lookup(offset as u32);
        if offset % 4 == 0 && found == Rule::Unsupported(Unsupported::TooManyRules) {
            continue;
        }
        assert_eq!(found, rule, "{offset}");
        exact += 1;
    }
    assert!(exact > count * 3 + MAX_RULES as u64 - 200);
    assert!((MAX_RULES - 5..=MAX_RULES).contains(&(table.geometry().rule_count as usize)));
}

/// An image beyond its limit is an error and takes no memory beyond it, whatever makes it large: rows or pages.
#[test]
fn keeps_its_limit() {
    let many_rows = rows(100_000, 1);
    let mut encoder = Encoder::new(many_rows.range(), Dictionary::growing(), 100_000).unwrap();
    let refused = many_rows
        .0
        .iter()
        .find_map(|(offset, rule)| encoder.row(*offset, Packed::from(*rule)).err());
    assert!(matches!(refused, Some(BuildError::ImageTooLarge(100_000))));
    assert!(encoder.image.len() <= 100_000);

    let many_pages = Encoder::new(0..1 << 32, Dictionary::growing(), 1_000_000);
    assert!(matches!(
        many_pages.err(),
        Some(BuildError::ImageTooLarge(1_000_000))
    ));
}

/// No rows, one row that fills the last page of 4 GiB, and rows at its last byte.
#[test]
fn extremes() {
    let nothing = Encoder::new(0..0, Dictionary::growing(), LIMIT).unwrap();
    let Encoded::Table(table) = nothing.finish().unwrap() else {
        panic!("too many rules");
    };
    assert!(table.is_empty());
    assert_eq!((table.rows().count(), table.lookup(0)), (0, Rule::None));

    let end = 1 << 32;
    let table = Given(BTreeMap::from([
        (end - PAGE, rule(1)),
        (end - 1, rule(2)),
        (end, Rule::None),
    ]))
    .encode();
    assert_eq!(table.lookup(u32::MAX), rule(2));
    assert_eq!(table.lookup(u32::MAX - 1), rule(1));
    assert_eq!(table.rows().last(), Some((end, Rule::None)));
}
