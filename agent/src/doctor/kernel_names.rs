//! Whether functions of the kernel have names.

use super::Finding;
use symbolizer::{Options, Symbolizer};

pub(super) fn examine() -> Finding {
    const SUBJECT: &str = "kernel names";
    let mut symbolizer = Symbolizer::new(Options::default());
    symbolizer.kernel(&[]);
    match symbolizer.kernel_error() {
        None => Finding::good(SUBJECT, "/proc/kallsyms shows its addresses"),
        // It says what to do.
        Some(error) => Finding::limited(SUBJECT, error.to_string()),
    }
}
