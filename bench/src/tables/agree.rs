//! Whether what `thermograph unwind FILE` prints is what readelf says, at every row of readelf's.

use crate::readelf::{self, Line, Row};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// A gap between two functions that may take the rule before it: padding.
const PADDING: u64 = 15;
/// Differences of one file that are told.
const TOLD: usize = 3;

/// What a comparison has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    pub(crate) functions: u64,
    /// Of readelf's.
    pub(crate) rows: u64,
    pub(crate) equal: u64,
    /// Rows that the output explains, by its word: `unsupported:...`, or the name of a rule for an expression.
    pub(crate) explained: BTreeMap<String, u64>,
    /// Ends of functions behind which the rule still holds.
    pub(crate) overrun: u64,
    pub(crate) different: u64,
    /// The first of them.
    pub(crate) examples: Vec<String>,
}

impl Agreement {
    pub(crate) fn add(&mut self, other: Agreement) {
        self.functions += other.functions;
        self.rows += other.rows;
        self.equal += other.equal;
        self.overrun += other.overrun;
        self.different += other.different;
        self.examples.extend(other.examples);
        for (reason, rows) in other.explained {
            *self.explained.entry(reason).or_default() += rows;
        }
    }
}

/// Compares them for one file.
pub(crate) fn compare(thermograph: &Path, file: &Path) -> anyhow::Result<Agreement> {
    let ours = Ours::read(thermograph, file)?;
    let mut comparison = Comparison {
        ours: &ours,
        found: Agreement::default(),
        first_section: None,
        covered: Vec::new(),
        counts: true,
        function: 0..0,
    };
    readelf::read(file, |line| comparison.take(line))?;
    comparison.overruns();
    Ok(comparison.found)
}

/// The rows that `thermograph unwind` prints: ascending, each in force until the next.
struct Ours {
    rows: Vec<(u64, usize)>,
    /// What is behind the address, each text once.
    texts: Vec<String>,
}

impl Ours {
    fn read(thermograph: &Path, file: &Path) -> anyhow::Result<Ours> {
        let output = Command::new(thermograph).arg("unwind").arg(file).output()?;
        ensure!(
            output.status.success(),
            "thermograph unwind {} failed: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ours::parse(std::str::from_utf8(&output.stdout)?)
    }

    fn parse(printed: &str) -> anyhow::Result<Ours> {
        let mut ours = Ours {
            rows: Vec::new(),
            texts: Vec::new(),
        };
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for line in printed.lines() {
            let (address, text) = line
                .split_once(' ')
                .with_context(|| format!("the line `{line}`"))?;
            let address =
                u64::from_str_radix(address, 16).with_context(|| format!("the line `{line}`"))?;
            ensure!(
                ours.rows.last().is_none_or(|(last, _)| *last < address),
                "{address:x} is not in order"
            );
            let number = *numbers.entry(text).or_insert_with(|| {
                ours.texts.push(text.to_owned());
                ours.texts.len() - 1
            });
            ours.rows.push((address, number));
        }
        Ok(ours)
    }

    /// What is in force at an address: CFA, frame pointer and return address.
    fn at(&self, address: u64) -> &str {
        let behind = self.rows.partition_point(|(start, _)| *start <= address);
        let row = behind.checked_sub(1).and_then(|last| self.rows.get(last));
        row.and_then(|(_, number)| self.texts.get(*number))
            .map_or("end", String::as_str)
    }
}

struct Comparison<'o> {
    ours: &'o Ours,
    found: Agreement,
    first_section: Option<bool>,
    /// Functions of the first section: what another says of them does not count.
    covered: Vec<Range<u64>>,
    counts: bool,
    function: Range<u64>,
}

impl Comparison<'_> {
    fn take(&mut self, line: Line<'_>) {
        match line {
            Line::Section(_) => {
                self.first_section = Some(self.first_section.is_none());
                self.covered.sort_by_key(|range| range.start);
            }
            Line::Function(start, end) => {
                self.function = start..end;
                // The linker leaves what it has thrown away at address 0.
                self.counts = start < end && start != 0 && self.is_first_to_cover(start);
                if self.counts {
                    self.found.functions += 1;
                }
                if self.counts || self.first_section == Some(true) {
                    self.covered.push(start..end);
                }
            }
            Line::Row(row) => {
                if self.counts && self.function.contains(&row.address) {
                    self.row(row);
                }
            }
        }
    }

    fn is_first_to_cover(&self, address: u64) -> bool {
        if self.first_section == Some(true) {
            return true;
        }
        let behind = self.covered.partition_point(|range| range.start <= address);
        let before = behind
            .checked_sub(1)
            .and_then(|last| self.covered.get(last));
        before.is_none_or(|range| !range.contains(&address))
    }

    fn row(&mut self, row: Row<'_>) {
        self.found.rows += 1;
        let ours = self.ours.at(row.address);
        match verdict(&row, ours) {
            Verdict::Equal => self.found.equal += 1,
            Verdict::Explained(reason) => {
                *self.found.explained.entry(reason.to_owned()).or_default() += 1;
            }
            Verdict::Different => {
                self.found.different += 1;
                tell(&mut self.found.examples, || {
                    format!(
                        "{:x}: readelf {} {} {}, here {ours}",
                        row.address, row.cfa, row.frame_pointer, row.return_address
                    )
                });
            }
        }
    }

    /// Behind a function and its padding nothing is known.
    fn overruns(&mut self) {
        self.covered.sort_by_key(|range| range.start);
        let mut end = 0;
        for range in &self.covered {
            let ours = self.ours.at(end + PADDING);
            if end != 0 && range.start > end + PADDING && !ours.starts_with("end") {
                self.found.overrun += 1;
                tell(&mut self.found.examples, || {
                    format!(
                        "{end:x}: readelf knows nothing until {:x}, here {ours}",
                        range.start
                    )
                });
            }
            end = end.max(range.end);
        }
    }
}

fn tell(examples: &mut Vec<String>, example: impl FnOnce() -> String) {
    if examples.len() < TOLD {
        examples.push(example());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict<'o> {
    Equal,
    Explained(&'o str),
    Different,
}

fn verdict<'o>(row: &Row<'_>, ours: &'o str) -> Verdict<'o> {
    let mut words = ours.split(' ');
    let (cfa, frame_pointer, return_address) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    match cfa {
        unsupported if unsupported.starts_with("unsupported:") => Verdict::Explained(unsupported),
        "end" if row.return_address == "u" => Verdict::Equal,
        // readelf does not say which expression it is.
        "exp" | "plt" | "signal" if row.cfa == "exp" => Verdict::Explained(cfa),
        _ if (cfa, frame_pointer, return_address)
            == (row.cfa, row.frame_pointer, row.return_address) =>
        {
            Verdict::Equal
        }
        _ => Verdict::Different,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(cfa: &'a str, frame_pointer: &'a str, return_address: &'a str) -> Row<'a> {
        Row {
            address: 0,
            cfa,
            frame_pointer,
            return_address,
        }
    }

    /// Only a reason, or a rule for an expression where readelf sees one, explains a difference.
    #[test]
    fn verdicts() {
        let plain = row("rsp+16", "c-16", "c-8");
        assert_eq!(verdict(&plain, "rsp+16 c-16 c-8"), Verdict::Equal);
        assert_eq!(verdict(&plain, "rsp+16 u c-8"), Verdict::Different);
        assert_eq!(verdict(&plain, "exp u c-8"), Verdict::Different);
        let reason = "unsupported:cfa-register";
        assert_eq!(verdict(&plain, reason), Verdict::Explained(reason));
        let expression = row("exp", "u", "c-8");
        assert_eq!(verdict(&expression, "plt u c-8"), Verdict::Explained("plt"));
        assert_eq!(verdict(&row("rsp+8", "u", "u"), "end u u"), Verdict::Equal);
        assert_eq!(verdict(&plain, "end u u"), Verdict::Different);
    }

    /// A row holds until the next; before the first nothing is known.
    #[test]
    fn rows_hold_until_the_next() {
        let ours = Ours::parse("0000000000001000 rsp+8 u c-8\n0000000000001001 rsp+16 c-16 c-8\n")
            .unwrap();
        assert_eq!(ours.at(0xfff), "end");
        assert_eq!(ours.at(0x1000), "rsp+8 u c-8");
        assert_eq!(ours.at(0x9999), "rsp+16 c-16 c-8");
        assert!(Ours::parse("2 a\n1 b\n").is_err());
        assert!(Ours::parse("x a\n").is_err());
    }
}
