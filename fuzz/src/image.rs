//! An image read by the description in `bpf/src/c/unwind.h` alone, to hold the table against.

use bpf::unwind::{Geometry, Rule, Table};

const PIECE_BYTES: usize = 256 << 10;
const PAGE_BITS: u32 = 13;
const KEY_RULE_BITS: u32 = 3;
const MAX_RULES: u32 = 2048;
const RULE_BYTES: usize = 8;
/// Of the rows of a large image so many are looked up as well.
const MOST_LOOKUPS: usize = 500;

/// Offsets and rules, by their bytes, as the walk finds them.
type Rows = Vec<(u64, [u8; RULE_BYTES])>;

/// Every part lies in the image, each block where the walk reads it in one go, and what is looked up is what is listed.
pub(crate) fn check(table: &Table) {
    let read = rows(table);
    let mut listed = table.rows().peekable();
    let mut in_force = ([0; RULE_BYTES], Rule::None);
    let step = read.len() / MOST_LOOKUPS + 1;
    for (number, (offset, bytes)) in read.iter().enumerate() {
        let change = listed.next_if(|(at, _)| at == offset);
        assert_eq!(*bytes != in_force.0, change.is_some(), "{offset:#x}");
        if let Some((_, rule)) = change {
            in_force = (*bytes, rule);
        }
        if number % step == 0 {
            let offset = u32::try_from(*offset).unwrap();
            assert_eq!(table.lookup(offset), in_force.1, "{offset:#x}");
        }
    }
    // Behind the last page nothing holds.
    let end = u64::from(table.geometry().first_page + table.geometry().pages) << PAGE_BITS;
    assert!(listed.all(|row| row == (end, Rule::None)));
}

/// All rows of all blocks, in their order, and one for the first byte of a page that has none.
fn rows(table: &Table) -> Rows {
    let image = table.image().pieces().collect::<Vec<_>>().concat();
    let Geometry {
        first_page,
        pages,
        index,
        rules,
        rule_count,
    } = table.geometry();
    let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    assert!(rule_count <= MAX_RULES);
    assert!(first_page + pages <= 1 << (32 - PAGE_BITS));
    assert_eq!(rules % 8, 0);
    assert_eq!(
        rules as usize + rule_count as usize * RULE_BYTES,
        image.len()
    );
    let behind_index = index as usize + (pages as usize + 1) * 4;
    let mut rows = Rows::new();
    for page in 0..pages as usize {
        let entry = index as usize + page * 4;
        let (begin, end) = (number(entry), number(entry + 4));
        assert!(behind_index <= begin && begin <= end && end <= rules as usize);
        assert!(begin % 2 == 0 && end % 2 == 0);
        assert!(
            begin == end || begin / PIECE_BYTES == (end - 1) / PIECE_BYTES,
            "page {page}: block {begin}..{end} lies in two pieces"
        );
        let start = (u64::from(first_page) + page as u64) << PAGE_BITS;
        let count = (end - begin) / 3;
        let mut last = None;
        for row in 0..count {
            let key = u16::from_le_bytes([image[begin + row * 2], image[begin + row * 2 + 1]]);
            let low = image[begin + count * 2 + row];
            let rule = u32::from(key & ((1 << KEY_RULE_BITS) - 1)) << 8 | u32::from(low);
            assert!(rule < rule_count, "rule {rule} of {rule_count}");
            let offset = key >> KEY_RULE_BITS;
            if last.is_none() && offset > 0 {
                rows.push((start, [0; RULE_BYTES]));
            }
            // What fills up a block repeats its last row.
            let bytes = image[rules as usize + rule as usize * RULE_BYTES..][..RULE_BYTES]
                .try_into()
                .unwrap();
            match last {
                Some(same) if same == (offset, bytes) => continue,
                Some((before, _)) => assert!(before < offset, "rows descend"),
                None => {}
            }
            last = Some((offset, bytes));
            rows.push((start + u64::from(offset), bytes));
        }
        if count == 0 {
            rows.push((start, [0; RULE_BYTES]));
        }
    }
    rows
}
