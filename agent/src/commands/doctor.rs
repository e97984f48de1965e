//! `thermograph doctor`: what works on this host, what does not, and what to do about it.

use crate::cli::AgentArgs;
use crate::doctor::{Verdict, examine};
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints a line for each finding; fails if an agent would not run.
pub(crate) fn doctor(args: &AgentArgs) -> Result<ExitCode> {
    let mut worst = Verdict::Good;
    examine(args, |finding| {
        worst = worst.max(finding.verdict);
        // Whoever reads may have seen enough: the exit code is an answer, too.
        let _ = writeln!(
            io::stdout(),
            "{:<8} {:<13} {}",
            finding.verdict,
            finding.subject,
            finding.sentence
        );
    });
    Ok(match worst {
        Verdict::Good | Verdict::Limited => ExitCode::SUCCESS,
        Verdict::Missing => ExitCode::FAILURE,
    })
}
