//! CPU time as the kernel accounts for it.

use std::fs;
use std::time::Duration;

/// CPU time of a process so far, user and system, all its threads, in steps of 10 ms: `utime` and `stime` of
/// /proc/PID/stat. Nothing when it has been waited for.
pub fn of_process(pid: u32) -> Option<Duration> {
    // In clock ticks, of which every architecture has 100 a second for user space; fields 14 and 15.
    let ticks = field(pid, 13)? + field(pid, 14)?;
    Some(Duration::from_millis(10 * ticks))
}

/// The children of a process.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| field(*pid, 3) == Some(parent.into()))
        .collect()
}

/// Field `index` of /proc/PID/stat, counted from 0. The name of the process may hold blanks and brackets.
fn field(pid: u32, index: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(index - 2)?.parse().ok()
}
