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
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}
