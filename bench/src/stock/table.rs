//! The result as a table in Markdown.

use super::Seen;
use super::ends::End;

pub(crate) const HEAD: &str = "\
| program | samples | user frames | whole, % | of them without a user part, % | not whole, % of all | samples seen, % |
|---|--:|--:|--:|--:|---|--:|";

/// What the columns mean.
pub(crate) const LEGEND: &str = "\
Whole: the stack ends where ELF or the compiler's own tables (by readelf) say that there is no caller, or it has no user part and \
says why. A stack that ends elsewhere counts as not whole, whether the agent says so (`[...]`) or not (the root's name). \
Samples seen: by the CPU time that the processes themselves report.";

/// One program.
pub(crate) fn row(label: &str, seen: &Seen) -> String {
    let percent = |samples: u64| samples as f64 / seen.samples.max(1) as f64 * 100.0;
    let sum = |is: fn(&End) -> bool| -> u64 {
        let ends = seen.ends.iter().filter(|(end, _)| is(end));
        ends.map(|(_, samples)| samples).sum()
    };
    let no_user_part = sum(|end| matches!(end, End::NoUserPart(_)));
    let whole = no_user_part + sum(|end| matches!(end, End::Entry));
    let mut others: Vec<(u64, &str)> = seen
        .ends
        .iter()
        .filter_map(|(end, samples)| match end {
            End::Cut(name) | End::Silent(name) => Some((*samples, name.as_str())),
            End::Entry | End::NoUserPart(_) => None,
        })
        .collect();
    others.sort_by(|left, right| right.cmp(left));
    let names: Vec<String> = others
        .iter()
        .take(SHOWN)
        .map(|(samples, name)| format!("`{name}` {:.2}", percent(*samples)))
        .collect();
    let rest: u64 = others.iter().skip(SHOWN).map(|(samples, _)| samples).sum();
    let rest = match rest {
        0 => String::new(),
        rest => format!(", {} others {:.2}", others.len() - SHOWN, percent(rest)),
    };
    format!(
        "| {label} | {} | {:.1} | {:.2} | {:.2} | {}{rest} | {} |",
        seen.samples,
        seen.user_frames as f64 / seen.samples.max(1) as f64,
        percent(whole),
        percent(no_user_part),
        names.join(", "),
        seen.expected.map_or_else(String::new, |expected| format!(
            "{:.1}",
            seen.samples as f64 / expected * 100.0
        ))
    )
}

/// Names of ends in one row.
const SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Shares are of all samples, the largest first, and a silent end is not whole.
    #[test]
    fn shares_of_a_row() {
        let seen = Seen {
            samples: 200,
            user_frames: 4_000,
            ends: BTreeMap::from([
                (End::Entry, 180),
                (End::NoUserPart("[exiting]".to_owned()), 10),
                (End::Cut("[stack cut: too deep]".to_owned()), 8),
                (End::Silent("memcpy".to_owned()), 2),
            ]),
            expected: Some(250.0),
        };
        assert_eq!(
            row("a", &seen),
            "| a | 200 | 20.0 | 95.00 | 5.00 | `[stack cut: too deep]` 4.00, `memcpy` 1.00 | 80.0 |"
        );
    }
}
