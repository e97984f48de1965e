//! Whether the directories of the agent can be written to.

use super::Finding;
use crate::cli::AgentArgs;
use rustix::fs::{Access, access, statvfs};
use std::io;
use std::path::Path;

/// Less than this many bytes free is soon full.
const ROOM: u64 = 512 << 20;

pub(super) fn examine(args: &AgentArgs) -> [Finding; 2] {
    [
        of(
            "cache",
            "--cache-dir",
            &args.unwind.cache_dir,
            "every start builds the unwind tables anew",
        ),
        of(
            "data",
            "--data-dir",
            &args.data_dir,
            "nothing outlives the agent",
        ),
    ]
}

fn of(subject: &'static str, flag: &str, directory: &Path, loss: &str) -> Finding {
    let shown = directory.display();
    match room_in(directory) {
        Ok(free) if free >= ROOM => Finding::good(
            subject,
            format!("{shown} can be written to, {} MiB are free", free >> 20),
        ),
        Ok(free) => Finding::limited(
            subject,
            format!(
                "{shown} has only {} MiB free: make room, or give another directory by {flag}",
                free >> 20
            ),
        ),
        Err(error) => Finding::limited(
            subject,
            format!(
                "{shown} cannot be written to ({error}), so {loss}: give another directory by {flag}"
            ),
        ),
    }
}

/// Free bytes where a directory is or would be made.
fn room_in(directory: &Path) -> io::Result<u64> {
    let is_there = directory.ancestors().find(|place| place.exists());
    let place = is_there.ok_or(io::ErrorKind::NotFound)?;
    if !place.is_dir() {
        return Err(io::Error::other(format!(
            "{} is no directory",
            place.display()
        )));
    }
    access(place, Access::WRITE_OK | Access::EXEC_OK)?;
    let file_system = statvfs(place)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    /// A directory that is still to be made is judged by where it would be; a file in its place, and one that nobody can write
    /// to, are said.
    #[test]
    fn what_cannot_be_written_to_is_said() {
        let place = tempfile::tempdir().unwrap();
        let new = of("data", "--data-dir", &place.path().join("a/b"), "x");
        assert!(new.sentence.contains("can be written to") || new.sentence.contains("MiB free"));
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        for wrong in [file.join("below"), "/proc/thermograph".into()] {
            let finding = of("data", "--data-dir", &wrong, "nothing is kept");
            assert_eq!(finding.verdict, Verdict::Limited, "{}", finding.sentence);
            assert!(finding.sentence.contains("--data-dir"));
        }
    }
}
