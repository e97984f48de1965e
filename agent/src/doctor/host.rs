//! Where the host is, for an agent that is in a container.

use super::Finding;
use crate::host;

const SUBJECT: &str = "host";

/// Nothing to say on the host itself.
pub(super) fn examine() -> Option<Finding> {
    let mut roots = host::roots().into_iter().skip(1);
    let root = roots.next()?;
    let sentence = format!(
        "seen from a container: its files are below {}",
        root.display()
    );
    Some(Finding::good(SUBJECT, sentence))
}
