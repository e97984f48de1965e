//! The capabilities of this process, and what goes without each.

use super::Finding;
use rustix::thread::{CapabilitySet, capabilities};

const SUBJECT: &str = "privileges";

/// Beside those that sampling itself takes, which is tried: the name, the capabilities of which one is enough, and what is lost
/// without.
const USEFUL: [(&str, CapabilitySet, &str); 7] = [
    (
        "CAP_SYS_PTRACE",
        CapabilitySet::SYS_PTRACE,
        "the programs of other users have neither whole stacks nor names",
    ),
    (
        "CAP_DAC_READ_SEARCH",
        CapabilitySet::DAC_READ_SEARCH,
        "programs in directories that only their owners may enter have no names",
    ),
    (
        "CAP_CHECKPOINT_RESTORE",
        CapabilitySet::CHECKPOINT_RESTORE.union(CapabilitySet::SYS_ADMIN),
        "files that were deleted or replaced while they run have no names",
    ),
    (
        "CAP_SYSLOG",
        CapabilitySet::SYSLOG,
        "functions of the kernel have no names",
    ),
    (
        "CAP_SYS_NICE",
        CapabilitySet::SYS_NICE,
        "programs may run for a while before they are known on a busy host",
    ),
    (
        "CAP_SETUID",
        CapabilitySet::SETUID,
        "foreign files are read by a process with the agent's own user",
    ),
    (
        "CAP_SETPCAP",
        CapabilitySet::SETPCAP,
        "foreign files are read by a process that could get privileges back",
    ),
];

pub(super) fn examine() -> Vec<Finding> {
    match capabilities(None) {
        Ok(sets) => of(sets.effective),
        Err(error) => vec![Finding::limited(
            SUBJECT,
            format!("the kernel does not tell the capabilities of this process: {error}"),
        )],
    }
}

fn of(effective: CapabilitySet) -> Vec<Finding> {
    let without = USEFUL
        .iter()
        .filter(|(_, any_of, _)| !effective.intersects(*any_of));
    let findings: Vec<Finding> = without.map(|(name, _, loss)| lacks(name, loss)).collect();
    if findings.is_empty() {
        return vec![Finding::good(
            SUBJECT,
            "all capabilities that have a use here",
        )];
    }
    findings
}

fn lacks(name: &str, loss: &str) -> Finding {
    Finding::limited(
        SUBJECT,
        format!(
            "without {name} {loss}: run as root, or add it to CapabilityBoundingSet= of the service or to --cap-add of the container"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    /// Each one that lacks is named with what is lost, and one that another stands for does not lack.
    #[test]
    fn what_lacks_is_named() {
        let all = CapabilitySet::all();
        assert_eq!(of(all)[0].verdict, Verdict::Good);
        let findings = of(all - CapabilitySet::SYSLOG);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].verdict, Verdict::Limited);
        assert!(
            findings[0]
                .sentence
                .starts_with("without CAP_SYSLOG functions of the kernel")
        );
        assert_eq!(
            of(all - CapabilitySet::CHECKPOINT_RESTORE)[0].verdict,
            Verdict::Good
        );
        assert_eq!(of(CapabilitySet::empty()).len(), USEFUL.len());
    }
}
