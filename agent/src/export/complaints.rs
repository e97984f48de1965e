//! What is said in the log about pushes that fail: each reason once, not once a profile.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// What goes into a line of the log of a message that came from outside.
const MESSAGE_BYTES: usize = 2048;

/// A server that refuses one profile of each interval for now is no news every interval.
const QUIET: Duration = Duration::from_secs(600);

/// What has been said of one server.
pub(super) struct Complaints {
    /// What it is called.
    destination: String,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    lost: BTreeSet<&'static str>,
    waiting: bool,
    waiting_since: Option<Instant>,
    spool_failed_at: Option<Instant>,
}

impl Complaints {
    /// Nothing has been said of `destination`.
    pub(super) fn of(destination: &str) -> Complaints {
        Complaints {
            destination: destination.to_owned(),
            said: Mutex::default(),
        }
    }

    /// A profile of `service` was given up: said once for each `reason`.
    pub(super) fn given_up(&self, reason: &'static str, service: &str, message: &str) {
        if self.said().lost.insert(reason) {
            let message = printable(message, MESSAGE_BYTES);
            warn!(
                "{}: a profile of {service:?} was given up ({reason}: {message}); further ones are only counted",
                self.destination
            );
        }
    }

    /// The server does not take a profile now: said once until it takes one again, and not more often than every ten
    /// minutes.
    pub(super) fn waits(&self, code: &str, message: &str) {
        if self.is_news(Instant::now()) {
            let message = printable(message, MESSAGE_BYTES);
            warn!(
                "{} does not take profiles ({code}: {message}); they are kept and tried again",
                self.destination
            );
        }
    }

    fn is_news(&self, now: Instant) -> bool {
        let mut said = self.said();
        let recent = said.waiting_since.is_some_and(|since| now - since < QUIET);
        if said.waiting || recent {
            return false;
        }
        said.waiting = true;
        said.waiting_since = Some(now);
        true
    }

    /// The server took a profile.
    pub(super) fn stored(&self) {
        if std::mem::take(&mut self.said().waiting) {
            info!("{} takes profiles again", self.destination);
        }
    }

    /// The disk failed, which leaves what could not be put there in memory: said once in ten minutes.
    pub(super) fn spool_failed(&self, path: &Path, error: &io::Error) {
        let now = Instant::now();
        let mut said = self.said();
        if said.spool_failed_at.is_none_or(|at| now - at >= QUIET) {
            said.spool_failed_at = Some(now);
            warn!(
                "profiles for {} cannot be kept in {}, only in memory: {error}",
                self.destination,
                path.display()
            );
        }
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line of `message` of no more than `most_bytes`: it is the server's and may hold anything.
pub(super) fn printable(message: &str, most_bytes: usize) -> String {
    let mut line = String::new();
    for character in message.chars() {
        if line.len() + character.len_utf8() > most_bytes {
            break;
        }
        line.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server cannot write lines of its own into the log, nor flood it.
    #[test]
    fn messages_are_one_bounded_line() {
        let hostile = "no\r\n2026-01-01 ERROR\u{1b}[2J";
        assert_eq!(printable(hostile, 100), "no  2026-01-01 ERROR [2J");
        assert_eq!(printable(&"é".repeat(5000), 2049).len(), 2048);
    }

    /// One outage is one complaint, a later one another; one that comes and goes is quiet for ten minutes.
    #[test]
    fn an_outage_is_named_once() {
        let complaints = Complaints::of("server");
        let begin = Instant::now();
        assert!(complaints.is_news(begin));
        assert!(!complaints.is_news(begin + 2 * QUIET));
        complaints.stored();
        assert!(!complaints.is_news(begin + QUIET / 2));
        assert!(complaints.is_news(begin + QUIET));
    }
}
