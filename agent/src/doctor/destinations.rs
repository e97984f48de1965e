//! Whether servers would take what is pushed to them.

use super::Finding;
use crate::export::{PyroscopeConfig, probe};

const SUBJECT: &str = "server";

pub(super) async fn examine(servers: &[PyroscopeConfig]) -> Vec<Finding> {
    if servers.is_empty() {
        return vec![Finding::good(
            SUBJECT,
            "none to push to: nothing leaves the host",
        )];
    }
    let mut findings = Vec::new();
    for server in servers {
        findings.push(match probe(server).await {
            Ok(()) => Finding::good(SUBJECT, format!("{} takes pushes", server.url)),
            Err(sentence) => Finding::limited(SUBJECT, sentence),
        });
    }
    findings
}
