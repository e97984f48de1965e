//! Whether container runtimes say what their containers are called.

use super::Finding;
use crate::container::{RuntimeConfig, SourceTrouble, try_each};

const SUBJECT: &str = "containers";

pub(super) async fn examine(config: &RuntimeConfig) -> Vec<Finding> {
    let sources = try_each(config).await;
    let there = sources.into_iter().filter(|source| source.asked > 0);
    let findings: Vec<Finding> = there.map(finding).collect();
    if findings.is_empty() {
        return vec![Finding::good(
            SUBJECT,
            "no runtime at its usual place: if there are containers, name its socket by --containerd-socket, --crio-socket, \
             --docker-socket or --podman-socket",
        )];
    }
    findings
}

fn finding(source: SourceTrouble) -> Finding {
    match source.last_error {
        None => Finding::good(SUBJECT, format!("{} answers", source.source)),
        Some(error) => Finding::limited(SUBJECT, format!("{}: {error}", source.source)),
    }
}
