//! What became of debug files that were wanted, in numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters by outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct DebuginfodMetrics(Family<Label, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    outcome: &'static str,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It came.
    Found,
    /// No server has it, or none that can be used.
    Missing,
    /// A server did not answer, or could not be asked.
    Failed,
    /// It came, and is not of the program that it was wanted for.
    Refused,
}

impl Outcome {
    fn label(self) -> Label {
        let outcome = match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Refused => "refused",
        };
        Label { outcome }
    }
}

impl DebuginfodMetrics {
    /// Creates the counters and registers them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for outcome in [
            Outcome::Found,
            Outcome::Missing,
            Outcome::Failed,
            Outcome::Refused,
        ] {
            // It is there from now on, with 0.
            let _ = metrics.0.get_or_create(&outcome.label());
        }
        registry.register(
            "thermograph_debuginfod_files",
            "Debug files that were wanted from debuginfod servers, by what became of it",
            metrics.0.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.0.get_or_create(&outcome.label()).inc();
    }

    #[cfg(test)]
    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.0.get_or_create(&outcome.label()).get()
    }
}
