//! Waiting for what must happen.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far beyond what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Looks until `condition` gives something and returns it; `what` says in the panic what never happened.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        let waited = begin.elapsed();
        assert!(waited < PATIENCE, "waited in vain: {what}");
        // What takes long is looked at less often: looking costs what others are waiting for, too.
        sleep((waited / 20).clamp(Duration::from_millis(5), Duration::from_millis(100)));
    }
}
