//! What a process and its descendants use.

use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Ticks a second in /proc/PID/stat: part of the kernel's interface on every architecture this runs on.
const USER_HZ: u32 = 100;

/// Resources of a process and all its living descendants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time, user and kernel.
    pub(crate) cpu: Duration,
    /// Sum of the largest resident sets that each had, bytes.
    pub(crate) peak_rss: u64,
}

/// The usage of process `pid` and of its descendants.
pub(crate) fn usage(pid: u32) -> Usage {
    let mut usage = Usage::default();
    for pid in family(pid) {
        usage.cpu += cpu(pid) + cpu_of_reaped_children(pid);
        usage.peak_rss += peak_rss(pid);
    }
    usage
}

/// `pid` and its living descendants.
fn family(pid: u32) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u64)> = pids
        .filter_map(|pid| Some((pid, stat_field(pid, 4)?)))
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let children = parents
            .iter()
            .filter(|(_, parent)| u32::try_from(*parent).is_ok_and(|pid| family.contains(&pid)));
        let found: Vec<u32> = children
            .map(|(pid, _)| *pid)
            .filter(|pid| !family.contains(pid))
            .collect();
        if found.is_empty() {
            return family;
        }
        family.extend(found);
    }
}

/// CPU time of all threads of `pid`, ended ones too, by the process's own clock: /proc/PID/stat counts hundredths of a
/// second, as much as a profiler at 19 Hz may use in a minute.
pub(crate) fn cpu(pid: u32) -> Duration {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return Duration::ZERO;
    };
    let mut clock = 0;
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: both write what their last argument points to, and all zeroes is a timespec.
    let time = unsafe {
        if libc::clock_getcpuclockid(pid, &raw mut clock) != 0
            || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
        {
            return Duration::ZERO;
        }
        time.assume_init()
    };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// CPU time of the children that have ended and were waited for.
fn cpu_of_reaped_children(pid: u32) -> Duration {
    let ticks = stat_field(pid, 16).unwrap_or(0) + stat_field(pid, 17).unwrap_or(0);
    Duration::from_secs(ticks) / USER_HZ
}

/// Field `number` of /proc/PID/stat, counted from 1 as proc(5) does; one behind the name, which may hold anything.
fn stat_field(pid: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

/// What a process has in memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resident {
    pub(crate) all: u64,
    /// Its own memory.
    pub(crate) anonymous: u64,
    /// Of files that it maps, its program included.
    pub(crate) of_files: u64,
}

/// What process `pid` has in memory now; nothing if there is no such process.
pub(crate) fn resident(pid: u32) -> Resident {
    Resident {
        all: status_bytes(pid, "VmRSS:"),
        anonymous: status_bytes(pid, "RssAnon:"),
        of_files: status_bytes(pid, "RssFile:"),
    }
}

/// VmHWM of `pid`, bytes.
pub(crate) fn peak_rss(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::{Container, Program};
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    /// A shell that has waited for a program has that program's own count of its CPU time, to the ticks that the kernel
    /// counts reaped children in.
    #[test]
    fn reaped_children_count() {
        let mut shell = Command::new("sh")
            .args(["-c", "\"$0\" 0.3; read line"])
            .arg(Program::Short.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut report = String::new();
        BufReader::new(shell.stdout.take().unwrap())
            .read_line(&mut report)
            .unwrap();
        while family(shell.id()).len() > 1 {
            std::thread::yield_now();
        }
        let used = usage(shell.id());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(
            (0.28..0.4).contains(&used.cpu.as_secs_f64()),
            "{used:?} {report}"
        );
        assert!(used.peak_rss > 100_000, "{used:?}");
    }

    /// A program's living descendants count, by the time they measured themselves.
    #[test]
    fn living_descendants_count() {
        let container = Container::holding(&[Program::SharesStatic]).unwrap();
        let Ok((running, pid)) = container.start(Program::SharesStatic, ["100"]) else {
            eprintln!("SKIPPED: living_descendants_count: making namespaces needs root");
            return;
        };
        assert_eq!(family(running.pid()), BTreeSet::from([running.pid(), pid]));
        // Ends when the descendant's time arrives in the sum.
        while usage(running.pid()).cpu < Duration::from_millis(50) {
            std::thread::yield_now();
        }
    }

    /// A process that is gone uses nothing, and asking for it is no error.
    #[test]
    fn nobody_uses_nothing() {
        let usage = usage(u32::MAX);
        assert_eq!((usage.cpu, usage.peak_rss), (Duration::ZERO, 0));
    }
}
