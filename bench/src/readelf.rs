//! The call frame information of a file as `readelf --debug-dump=frames-interp` of binutils understands it.

use anyhow::{Context, ensure};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What readelf calls the registers that a caller's frame is found by.
const FRAME_POINTER: &str = if cfg!(target_arch = "aarch64") {
    "x29"
} else {
    "rbp"
};
const RETURN_ADDRESS: &str = "ra";
/// How it writes a register that is not saved, for which it may leave out the column.
const NOT_SAVED: &str = "u";

/// What one row says; a row holds until the next of its function, or the function's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'line> {
    /// ELF address.
    pub(crate) address: u64,
    pub(crate) cfa: &'line str,
    pub(crate) frame_pointer: &'line str,
    pub(crate) return_address: &'line str,
}

/// A line of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'line> {
    /// The rows of a section follow.
    Section(&'line str),
    /// The rows of a function follow: its first ELF address, and the one behind its last.
    Function(u64, u64),
    /// A row of that function.
    Row(Row<'line>),
}

/// Hands each line about `file` to `take`.
pub(crate) fn read(file: &Path, mut take: impl FnMut(Line<'_>)) -> anyhow::Result<()> {
    let mut child = Command::new("readelf")
        .args(["--debug-dump=frames-interp,no-follow-links", "-W"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run readelf: it is in the package binutils")?;
    let output = child.stdout.take().context("readelf has no output")?;
    let mut parser = Parser::default();
    for line in BufReader::new(output).split(b'\n') {
        if let Ok(line) = std::str::from_utf8(&line?) {
            parser.line(line, &mut take);
        }
    }
    parser.end_function(&mut take);
    let status = child.wait()?;
    ensure!(
        status.success(),
        "readelf of {} failed: {status}",
        file.display()
    );
    Ok(())
}

/// What the lines before tell.
#[derive(Default)]
struct Parser {
    at: At,
    /// The columns of the registers, where they have one.
    frame_pointer: Option<usize>,
    return_address: Option<usize>,
    /// The first row of functions, by the offset of what they have in common.
    first_rows: HashMap<u64, FirstRow>,
}

#[derive(Clone, Debug, Default)]
struct FirstRow {
    cfa: String,
    frame_pointer: String,
    return_address: String,
}

/// What the lines are about.
#[derive(Clone, Copy, Default)]
enum At {
    #[default]
    Nothing,
    /// What functions have in common, at this offset of the section.
    Common(u64),
    Function {
        start: u64,
        common: u64,
        has_rows: bool,
    },
}

impl Parser {
    fn line(&mut self, line: &str, take: &mut impl FnMut(Line<'_>)) {
        if let Some(section) = line.strip_prefix("Contents of the ") {
            self.end_function(take);
            self.first_rows.clear();
            take(Line::Section(section.split(' ').next().unwrap_or_default()));
            return;
        }
        // A register that is in another is `r10 (r10)`, or `r3 (rbx)`.
        let is_name = |word: &&str| word.starts_with('(');
        let words = line.split_whitespace().filter(|word| !is_name(word));
        let words: Vec<&str> = words.collect();
        match words.as_slice() {
            ["LOC", "CFA", columns @ ..] => {
                let column = |name: &str| columns.iter().position(|column| *column == name);
                self.frame_pointer = column(FRAME_POINTER);
                self.return_address = column(RETURN_ADDRESS);
            }
            [offset, _, _, "CIE", ..] => {
                self.end_function(take);
                self.at = hex(offset).map_or(At::Nothing, At::Common);
            }
            [_, _, _, "FDE", common, .., range] => {
                self.end_function(take);
                if let Some((start, end, common)) = function(common, range) {
                    take(Line::Function(start, end));
                    self.at = At::Function {
                        start,
                        common,
                        has_rows: false,
                    };
                }
            }
            [address, cells @ ..] => {
                if let Some(row) = hex(address).and_then(|address| self.row(address, cells)) {
                    self.take_row(row, take);
                }
            }
            [] => {}
        }
    }

    fn take_row(&mut self, row: Row<'_>, take: &mut impl FnMut(Line<'_>)) {
        match &mut self.at {
            At::Nothing => {}
            At::Common(offset) => {
                let first = FirstRow {
                    cfa: row.cfa.to_owned(),
                    frame_pointer: row.frame_pointer.to_owned(),
                    return_address: row.return_address.to_owned(),
                };
                self.first_rows.insert(*offset, first);
            }
            At::Function { has_rows, .. } => {
                *has_rows = true;
                take(Line::Row(row));
            }
        }
    }

    /// readelf prints no row of a function that has but the first one, which it has in common with others.
    fn end_function(&mut self, take: &mut impl FnMut(Line<'_>)) {
        if let At::Function {
            start,
            common,
            has_rows: false,
        } = std::mem::take(&mut self.at)
            && let Some(first) = self.first_rows.get(&common)
        {
            take(Line::Row(Row {
                address: start,
                cfa: &first.cfa,
                frame_pointer: &first.frame_pointer,
                return_address: &first.return_address,
            }));
        }
    }

    fn row<'line>(&self, address: u64, cells: &[&'line str]) -> Option<Row<'line>> {
        let (cfa, registers) = cells.split_first()?;
        let register = |column: Option<usize>| match column {
            Some(column) => registers.get(column).copied(),
            None => Some(NOT_SAVED),
        };
        Some(Row {
            address,
            cfa,
            frame_pointer: register(self.frame_pointer)?,
            return_address: register(self.return_address)?,
        })
    }
}

/// Reads `cie=OFFSET` and `pc=START..END`.
fn function(common: &str, range: &str) -> Option<(u64, u64, u64)> {
    let (start, end) = range.strip_prefix("pc=")?.split_once("..")?;
    Some((hex(start)?, hex(end)?, hex(common.strip_prefix("cie=")?)?))
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is readelf 2.40's own. What functions have in common is a row only of those that
    /// have no other, and registers without a column are not saved.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn rows_of_readelf() {
        let text = "Contents of the .eh_frame section:\n\n\n\
            00000000 0000000000000014 00000000 CIE \"zR\" cf=1 df=-8 ra=16\n   LOC           CFA      ra    \n\
            0000000000000000 rsp+8    c-8   \n\n\
            00000018 0000000000000014 0000001c FDE cie=00000000 pc=0000000000001040..0000000000001062\n\n\
            00000048 0000000000000024 0000001c FDE cie=00000030 pc=0000000000001020..0000000000001040\n\
            \x20  LOC           CFA      rbx   rbp   ra    \n0000000000001020 rsp+16   c-24  c-16  c-8   \n\
            0000000000001030 exp      r3 (rbx) u     c-8   \n\n00000090 ZERO terminator\n";
        let mut lines = Vec::new();
        let mut parser = Parser::default();
        for line in text.lines() {
            parser.line(line, &mut |line| lines.push(format!("{line:?}")));
        }
        parser.end_function(&mut |line| lines.push(format!("{line:?}")));
        let row = |address, cfa, frame_pointer, return_address| {
            Line::Row(Row {
                address,
                cfa,
                frame_pointer,
                return_address,
            })
        };
        let expected = [
            Line::Section(".eh_frame"),
            Line::Function(0x1040, 0x1062),
            row(0x1040, "rsp+8", "u", "c-8"),
            Line::Function(0x1020, 0x1040),
            row(0x1020, "rsp+16", "c-16", "c-8"),
            row(0x1030, "exp", "u", "c-8"),
        ];
        assert_eq!(lines, expected.map(|line| format!("{line:?}")));
    }
}
