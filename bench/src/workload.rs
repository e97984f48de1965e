//! What is profiled: a shell script and all it starts.

use crate::launched::Launched;
use anyhow::Context;
use std::ffi::OsStr;
use std::process::Command;

/// Starts `script` in an empty directory of its own, with `arguments` as `$1`, `$2` and so on. Whatever it starts, in the
/// background too, ends with what is returned, or with this process however that ends: it is a pid namespace.
pub(crate) fn start<Argument: AsRef<OsStr>>(
    label: &str,
    script: &str,
    arguments: impl IntoIterator<Item = Argument>,
) -> anyhow::Result<Launched> {
    let launched = Launched::start(label.to_owned(), |files| {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .args(["sh", "-e", "-c", script, label])
            .args(arguments)
            .current_dir(files);
        command
    })?;
    launched.context("setpriv is not installed: it is in the package util-linux")
}
