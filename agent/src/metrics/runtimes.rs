//! What became of the questions what containers are called.

use super::counters_by;
use crate::container::SourceTrouble;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;

pub(super) fn runtimes(
    encoder: &mut DescriptorEncoder<'_>,
    sources: &[SourceTrouble],
) -> fmt::Result {
    let mut count = |name, help, of: fn(&SourceTrouble) -> u64| {
        let counts = sources.iter().map(|source| (source.source, of(source)));
        counters_by(encoder, name, help, "source", counts)
    };
    let help = "Questions to container runtimes and the API server what a container is.";
    count("thermograph_runtime_asked", help, |source| source.asked)?;
    let help = "Those that were answered by what it is.";
    count("thermograph_runtime_known", help, |source| source.known)?;
    let help = "Those without a sensible answer: the log says why.";
    count("thermograph_runtime_failed", help, |source| source.failed)
}
