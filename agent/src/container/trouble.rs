//! How asking a source goes: counted, said once, and not tried too often.

use super::error::AskError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// A source that fails for some containers and not for others is no news every time.
const QUIET: Duration = Duration::from_secs(600);
/// Longest rest of a source that does not work: containers wait for it for an interval.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// How the asking of one source goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceTrouble {
    /// Name of the source: `containerd`, `crio`, `docker`, `docker_state`, `podman`, `podman_state`, `kubernetes`,
    /// `docker_rootless`, `podman_rootless`.
    pub(crate) source: &'static str,
    /// How often it was asked, where there was one.
    pub(crate) asked: u64,
    /// How often it knew the container.
    pub(crate) known: u64,
    /// How often it gave no sensible answer.
    pub(crate) failed: u64,
    /// The last failure in one sentence; none after an answer.
    pub(crate) last_error: Option<String>,
}

/// What is remembered of one source.
#[derive(Debug)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    trouble: SourceTrouble,
    said: Option<Instant>,
    /// Failures without an answer between them that say that it does not work at all.
    silent: u32,
    rests_until: Option<Instant>,
}

impl Health {
    pub(super) fn new(source: &'static str) -> Self {
        let trouble = SourceTrouble {
            source,
            ..SourceTrouble::default()
        };
        Self(Mutex::new(State {
            trouble,
            ..State::default()
        }))
    }

    /// Whether it shall be left alone: one that hangs would hold up the asking of all others.
    pub(super) fn rests(&self) -> bool {
        let until = self.state().rests_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// It answered; `known` if it knows what was asked for.
    pub(super) fn answered(&self, known: bool) {
        let mut state = self.state();
        state.trouble.asked += 1;
        state.trouble.known += u64::from(known);
        state.silent = 0;
        state.rests_until = None;
        if state.trouble.last_error.take().is_some() {
            info!("{} answers again", state.trouble.source);
        }
    }

    /// It did not answer, or nonsense.
    pub(super) fn failed(&self, error: &AskError) {
        let now = Instant::now();
        let mut state = self.state();
        state.trouble.asked += 1;
        state.trouble.failed += 1;
        // Of many that are asked at the same time and fail together only the first makes it rest.
        let rests = state.rests_until.is_some_and(|until| now < until);
        // What it says of one container says nothing of the others, and a container can make it too long.
        if !rests
            && matches!(
                error,
                AskError::Hangs
                    | AskError::Broken(..)
                    | AskError::Denied(_)
                    | AskError::Foreign(..)
                    | AskError::Forbidden(_)
            )
        {
            let rest = Duration::from_secs(1 << state.silent.min(4)).min(LONGEST_REST);
            state.silent = state.silent.saturating_add(1);
            state.rests_until = Some(now + rest);
        }
        let is_news = state.trouble.last_error.is_none();
        state.trouble.last_error = Some(error.to_string());
        let source = state.trouble.source;
        if is_news && state.said.is_none_or(|said| now - said >= QUIET) {
            state.said = Some(now);
            warn!(
                "{source} cannot be asked what containers are called: {error}; they are named by what else is known of them"
            );
        }
    }

    pub(super) fn trouble(&self) -> SourceTrouble {
        self.state().trouble.clone()
    }

    // No code that can panic runs under the lock: a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fails together is one failure; each that follows a rest makes the next one longer, and an answer ends it.
    #[test]
    fn rests_grow_by_failures_in_a_row() {
        let health = Health::new("docker");
        for (before, rest) in [1, 2, 4, 8, 10, 10].into_iter().enumerate() {
            let begin = Instant::now();
            for _ in 0..8 {
                health.failed(&AskError::Hangs);
            }
            let mut state = health.state();
            assert_eq!(state.silent as usize, before + 1);
            let until = state.rests_until.take().unwrap();
            assert!(until >= begin + Duration::from_secs(rest));
            assert!(until <= Instant::now() + Duration::from_secs(rest));
        }
        assert_eq!(health.trouble().failed, 48);
        health.answered(false);
        assert!(!health.rests());
        health.failed(&AskError::Refused("500".to_owned()));
        assert!(!health.rests());
    }
}
