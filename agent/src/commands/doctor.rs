//! `thermograph doctor`: what works on this host, what does not, and what to do about it.

use super::exporters;
use crate::cli::AgentArgs;
use crate::doctor::{Finding, Verdict, examine};
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long what still runs may take at the end.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Prints a line for each finding; fails if an agent would not run.
pub(crate) fn doctor(args: &AgentArgs) -> Result<ExitCode> {
    let mut worst = Verdict::Good;
    let servers = exporters::configs(args);
    let tell = |finding: Finding| {
        worst = worst.max(finding.verdict);
        // Whoever reads may have seen enough: the exit code is an answer, too.
        let _ = writeln!(
            io::stdout(),
            "{:<8} {:<13} {}",
            finding.verdict,
            finding.subject,
            finding.sentence
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(examine(args, &servers, tell));
    // What waits for a file system may do so for ever.
    runtime.shutdown_timeout(LAST_WORK);
    Ok(match worst {
        Verdict::Good | Verdict::Limited => ExitCode::SUCCESS,
        Verdict::Missing => ExitCode::FAILURE,
    })
}
