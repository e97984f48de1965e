//! Whether the agent does its work: windows close.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Six windows: a machine under heavy load may be late with one, not with this many.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the last window closed. Shared by the sampling side, which says so, and `/healthz`, which asks.
#[derive(Debug)]
pub(crate) struct Health {
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    any_window: bool,
}

impl Health {
    /// Of an agent that starts now.
    pub(crate) fn new() -> Self {
        let last = Last {
            at: Instant::now(),
            any_window: false,
        };
        Self {
            last: Mutex::new(last),
        }
    }

    /// A window has closed just now.
    pub(crate) fn window_closed(&self) {
        let now = Last {
            at: Instant::now(),
            any_window: true,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// What is wrong at `now`, in one sentence, if anything is.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(last.at);
        if since <= PATIENCE {
            return None;
        }
        let seconds = since.as_secs();
        Some(match last.any_window {
            true => format!(
                "no window has closed for {seconds} s: see the agent's log for what holds it up"
            ),
            false => format!(
                "no window has closed in the {seconds} s since the agent started: see its log for what holds it up"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Healthy while windows close; silence is told from a start that never came to anything.
    #[test]
    fn says_what_is_wrong() {
        let health = Health::new();
        let now = Instant::now();
        let late = now + PATIENCE + Duration::from_secs(5);
        assert_eq!(health.trouble(now), None);
        assert!(health.trouble(late).unwrap().contains("started"));
        health.window_closed();
        assert_eq!(health.trouble(now), None);
        assert!(
            health
                .trouble(late)
                .unwrap()
                .contains("no window has closed for 3")
        );
    }
}
