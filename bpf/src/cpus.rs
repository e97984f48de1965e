//! Which CPUs are online, and how long they were idle.

use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const ONLINE: &str = "/sys/devices/system/cpu/online";
const STAT: &str = "/proc/stat";
/// Nanoseconds of one unit in /proc/stat: USER_HZ is 100 on every architecture the kernel runs on here.
pub(crate) const IDLE_GRAIN_NANOS: u64 = 10_000_000;

/// The list of online CPUs, kept open to be looked at often.
pub struct Watch {
    list: File,
    before: Vec<u8>,
}

impl Watch {
    /// Whatever is online now is new.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            list: File::open(ONLINE).map_err(unreadable)?,
            before: Vec::new(),
        })
    }

    /// Whether other CPUs are online than at the last call.
    pub fn has_changed(&mut self) -> Result<bool, Error> {
        // The kernel writes it into a page, so it is never longer.
        let mut page = [0; 4096];
        let length = self.list.read_at(&mut page, 0).map_err(unreadable)?;
        let now = page.get(..length).unwrap_or_default();
        let has_changed = self.before != now;
        if has_changed {
            self.before = now.to_vec();
        }
        Ok(has_changed)
    }
}

fn unreadable(source: std::io::Error) -> Error {
    Error::Read {
        path: ONLINE,
        source,
    }
}

/// Numbers of the CPUs that are online now.
pub fn online() -> Result<BTreeSet<u32>, Error> {
    let list = fs::read_to_string(ONLINE).map_err(unreadable)?;
    parse(&list).ok_or_else(|| unreadable(std::io::ErrorKind::InvalidData.into()))
}

/// Nanoseconds each CPU has been idle since boot, waiting for I/O included.
pub(crate) fn idle_nanos() -> Result<BTreeMap<u32, u64>, Error> {
    let stat = fs::read_to_string(STAT).map_err(|source| Error::Read { path: STAT, source })?;
    Ok(stat.lines().filter_map(parse_idle).collect())
}

/// Reads a line `cpuN user nice system idle iowait ...` of /proc/stat.
fn parse_idle(line: &str) -> Option<(u32, u64)> {
    let (cpu, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    let cpu = cpu.parse().ok()?;
    let mut fields = times.split_ascii_whitespace();
    let idle: u64 = fields.nth(3)?.parse().ok()?;
    let iowait: u64 = fields.next()?.parse().ok()?;
    Some((cpu, (idle + iowait) * IDLE_GRAIN_NANOS))
}

/// Reads the kernel's list format: `0-3,7,9-10`.
fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is online is news at the first look, and none at the next.
    #[test]
    fn only_changes_are_news() {
        let mut watch = Watch::new().unwrap();
        assert!(watch.has_changed().unwrap());
        assert!(!watch.has_changed().unwrap());
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-1\n"), Some(BTreeSet::from([0, 1])));
        assert_eq!(parse("0,2-4,7\n"), Some(BTreeSet::from([0, 2, 3, 4, 7])));
        assert_eq!(parse("0\n"), Some(BTreeSet::from([0])));
        assert_eq!(parse("\n"), None);
        assert_eq!(parse("a-b"), None);
    }

    #[test]
    fn idle_time_is_the_fourth_and_fifth_column() {
        assert_eq!(
            parse_idle("cpu1 1 2 3 400 50 6 7 8 9 10"),
            Some((1, 450 * IDLE_GRAIN_NANOS))
        );
        assert_eq!(parse_idle("cpu  1 2 3 400 50 6 7 8 9 10"), None);
        assert_eq!(parse_idle("intr 1 2 3"), None);
    }
}
