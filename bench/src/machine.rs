//! Where and when the measurement was taken.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// Date, CPUs and kernel, in one line.
pub(crate) fn describe() -> String {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let date = date.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown model", |(_, model)| model);
    let cpus = available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname();
    let (release, machine) = (
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy(),
    );
    format!("{date}, {cpus} CPUs ({model}), Linux {release} {machine}")
}
