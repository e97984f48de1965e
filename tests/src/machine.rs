//! What the tests need of the machine, and which of them may use it at the same time.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A line for whoever reads the log of a run: not by `eprintln!`, which is hidden where the test passes.
pub fn say(line: &str) {
    // A log that cannot be written is no failure of a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// True, with a line that says so and how many it are by now, where `thermograph` cannot run at all.
pub fn skipped(test: &str) -> bool {
    let why = if !rustix::process::geteuid().is_root() {
        "it takes root to load kernel programs"
    } else if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
    } else {
        return false;
    };
    skip(test, why);
    true
}

/// A line that says what is not tested, why, and how many these are by now.
pub fn skip(what: &str, why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    say(&format!("SKIPPED: {what}: {why} ({count} skipped so far)"));
}

/// A part of the machine; given back on drop, and by the kernel however a test ends.
#[derive(Debug)]
pub struct Machine(#[expect(dead_code, reason = "holding it open holds the lock")] File);

impl Machine {
    /// The whole machine: for a test that measures, takes a CPU away, or would spoil what others measure. Across
    /// processes, because `cargo test` may run several.
    pub fn alone() -> Machine {
        Machine::locked(FlockOperation::LockExclusive)
    }

    /// Beside others that measure nothing either.
    pub fn shared() -> Machine {
        Machine::locked(FlockOperation::LockShared)
    }

    fn locked(operation: FlockOperation) -> Machine {
        let path = std::env::temp_dir().join("thermograph-tests.lock");
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .unwrap();
        flock(&file, operation).unwrap();
        Machine(file)
    }
}
