//! What this host and this user let the agent do: tried, not guessed.

mod cgroups;
mod destinations;
mod directories;
mod host;
mod kernel_names;
mod privileges;
mod runtimes;
mod sampling;

use crate::cli::AgentArgs;
use crate::container::RuntimeConfig;
use crate::export::PyroscopeConfig;
use std::fmt;

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The thing, in a word or two.
    pub(crate) subject: &'static str,
    /// Whether the agent can do with it.
    pub(crate) verdict: Verdict,
    /// A sentence; where not all is well, its end says what to do.
    pub(crate) sentence: String,
}

/// Whether the agent can do with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// All of it is there.
    Good,
    /// The agent runs, but something will be missing from what it shows.
    Limited,
    /// The agent does not run like this.
    Missing,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        })
    }
}

impl Finding {
    fn good(subject: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Good, sentence)
    }

    fn limited(subject: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Limited, sentence)
    }

    pub(crate) fn missing(subject: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Missing, sentence)
    }

    fn new(subject: &'static str, verdict: Verdict, sentence: impl Into<String>) -> Self {
        Self {
            subject,
            verdict,
            sentence: sentence.into(),
        }
    }
}

/// Looks at everything that an agent with these settings would stand on, and hands on each finding as soon as it is there.
pub(crate) async fn examine(
    args: &AgentArgs,
    servers: &[PyroscopeConfig],
    mut tell: impl FnMut(Finding),
) {
    privileges::examine().into_iter().for_each(&mut tell);
    tell(sampling::examine(args));
    tell(kernel_names::examine());
    host::examine().into_iter().for_each(&mut tell);
    tell(cgroups::examine());
    let runtimes = RuntimeConfig::new(&args.runtimes);
    runtimes::examine(&runtimes)
        .await
        .into_iter()
        .for_each(&mut tell);
    directories::examine(args).into_iter().for_each(&mut tell);
    destinations::examine(servers)
        .await
        .into_iter()
        .for_each(tell);
}
