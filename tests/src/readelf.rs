//! `thermograph unwind` beside `readelf --debug-dump=frames-interp`.

use crate::thermograph::binary;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a file's two listings have in common.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Rows of readelf's that `thermograph` has.
    pub equal: u64,
    /// Rows that it has differently and says why, by what it says.
    pub explained: BTreeMap<String, u64>,
    /// Rows of functions that overlap with another: readelf shows all, a table has one.
    pub overlapping: u64,
    /// The others.
    pub different: Vec<String>,
}

/// Compares all rows for a file.
pub fn compare(file: &Path) -> Comparison {
    let ours = Rows::of_thermograph(file);
    let mut functions = functions(file);
    // What .debug_frame says counts where .eh_frame says nothing.
    functions.sort_by_key(|function| (function.begin, function.debug));
    let mut found = Comparison::default();
    let mut covered = 0;
    for (index, function) in functions.iter().enumerate() {
        let next = functions.get(index + 1).map_or(u64::MAX, |next| next.begin);
        if function.begin < covered || next < function.end {
            found.overlapping += function.rows.len() as u64;
        } else {
            for row in &function.rows {
                found.add(row, ours.at(row.address), function.go);
            }
        }
        covered = covered.max(function.end);
    }
    found
}

impl Comparison {
    /// Whether nothing differs without a reason.
    pub fn agrees(&self) -> bool {
        self.different.is_empty()
    }

    fn add(&mut self, theirs: &Row, ours: Option<&Row>, go: bool) {
        let Some(ours) = ours else {
            self.different.push(format!("{theirs:?}: nothing"));
            return;
        };
        let mut expected = theirs.columns.clone();
        // Go's linker does not tell that functions save the frame pointer first of all.
        let cfa = expected[0]
            .strip_prefix("rsp+")
            .and_then(|offset| offset.parse().ok());
        if go && cfa.is_some_and(|offset: u64| offset > 8) {
            expected[1] = "c-16".into();
        }
        if ours.columns == expected {
            self.equal += 1;
            return;
        }
        let reason = match ours.columns[0].as_str() {
            "end" if expected[2] == "u" => "end",
            "plt" if expected == ["exp", "u", "c-8"] => "plt",
            "signal" if expected == ["exp", "exp", "exp"] => "signal",
            reason if reason.starts_with("unsupported:") => reason,
            // Go's functions known by name.
            reason @ ("switch" | "end" | "signal") if go => reason,
            _ => {
                self.different.push(format!("{theirs:?}: {ours:?}"));
                return;
            }
        };
        *self.explained.entry(reason.to_owned()).or_default() += 1;
    }
}

/// Address, CFA, frame pointer, return address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    address: u64,
    columns: [String; 3],
}

struct Rows(Vec<Row>);

impl Rows {
    fn of_thermograph(file: &Path) -> Rows {
        let mut command = Command::new(binary());
        command.arg("unwind").arg(file);
        let mut rows = Vec::new();
        lines(command, |line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [address, cfa, fp, ra] = words[..] else {
                panic!("{}: no row: {line}", file.display());
            };
            rows.push(Row {
                address: u64::from_str_radix(address, 16).unwrap(),
                columns: [cfa, fp, ra].map(str::to_owned),
            });
        });
        assert!(
            rows.is_sorted_by_key(|row| row.address),
            "{}: not sorted",
            file.display()
        );
        Rows(rows)
    }

    /// The row in whose range an address is.
    fn at(&self, address: u64) -> Option<&Row> {
        let behind = self.0.partition_point(|row| row.address <= address);
        self.0.get(behind.checked_sub(1)?)
    }
}

/// A function of readelf's.
#[derive(Debug)]
struct Function {
    begin: u64,
    end: u64,
    rows: Vec<Row>,
    debug: bool,
    go: bool,
}

/// What readelf shows of a CIE.
#[derive(Clone, Default)]
struct Cie {
    row: Option<[String; 3]>,
    go: bool,
}

fn functions(file: &Path) -> Vec<Function> {
    let mut command = Command::new("readelf");
    command
        .args(["--debug-dump=frames-interp", "--debug-dump=no-follow-links"])
        .arg(file)
        .env("LC_ALL", "C");
    let mut functions: Vec<Function> = Vec::new();
    let mut cies: HashMap<(bool, String), Cie> = HashMap::new();
    // Of the entry at hand: its CIE, whether it is itself one, and the names of its columns.
    let mut cie = (false, String::new());
    let mut in_cie = false;
    let mut names: Vec<String> = Vec::new();
    let mut debug = false;
    lines(command, |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => names.clear(),
            ["Contents", "of", "the", section, ..] => debug = section == ".debug_frame",
            [offset, _, _, "CIE", ..] => {
                in_cie = true;
                cie = (debug, offset.to_owned());
                let go = debug && words.contains(&"df=-4");
                cies.insert(cie.clone(), Cie { row: None, go });
            }
            [_, _, _, "FDE", of, range] => {
                in_cie = false;
                cie = (debug, of.trim_start_matches("cie=").to_owned());
                let range = range.trim_start_matches("pc=");
                let (begin, end) = range.split_once("..").unwrap();
                let [begin, end] = [begin, end].map(|at| u64::from_str_radix(at, 16).unwrap());
                let of = cies.get(&cie).cloned().unwrap_or_default();
                // A function without instructions has no rows: its CIE's holds.
                let rows = of.row.map(|columns| Row {
                    address: begin,
                    columns,
                });
                functions.push(Function {
                    begin,
                    end,
                    rows: rows.into_iter().collect(),
                    debug,
                    go: of.go,
                });
            }
            ["LOC", ref columns @ ..] => {
                names = columns.iter().map(|name| (*name).into()).collect()
            }
            [address, ref values @ ..] if values.len() == names.len() && !names.is_empty() => {
                let Ok(address) = u64::from_str_radix(address, 16) else {
                    return;
                };
                let value = |wanted: &str| {
                    let column = names.iter().position(|name| name == wanted);
                    match column.map_or("u", |column| values[column]) {
                        // Unchanged, and said so.
                        "s" => "u".to_owned(),
                        value => value.to_owned(),
                    }
                };
                // x86-64 or aarch64.
                let fp = ["rbp", "x29"].map(value).into_iter().find(|fp| fp != "u");
                let columns = [value("CFA"), fp.unwrap_or("u".into()), value("ra")];
                if in_cie {
                    if let Some(cie) = cies.get_mut(&cie) {
                        cie.row = Some(columns);
                    }
                } else if let Some(function) = functions.last_mut() {
                    // Of rows at one address the last holds; what is behind the end does not.
                    if function
                        .rows
                        .last()
                        .is_some_and(|row| row.address == address)
                    {
                        function.rows.pop();
                    }
                    if address < function.end {
                        function.rows.push(Row { address, columns });
                    }
                }
            }
            _ => {}
        }
    });
    functions.retain(|function| function.begin < function.end);
    functions
}

/// Runs a command and hands out the lines it prints.
fn lines(mut command: Command, mut each: impl FnMut(&str)) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        each(&line.unwrap());
    }
    assert!(child.wait().unwrap().success(), "{command:?} failed");
}
