//! `go tool pprof`, the tool that pprof belongs to.

use crate::machine::say;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What `go tool pprof -raw` prints of a profile; nothing, with a line that says so, where there is no Go. From Go 1.25 on the tool is compiled
/// when it is called first: the directory `cache` keeps it.
pub fn raw(test: &str, profile: &Path, cache: &str) -> Option<String> {
    // Two at a time would compile it twice.
    static COMPILING: Mutex<()> = Mutex::new(());
    let _compiling = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| {
        let output = Command::new(go).arg("version").output();
        output.is_ok_and(|output| output.status.success())
    });
    let Some(go) = go else {
        say(&format!("SKIPPED: {test}: there is no Go on this machine"));
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(go);
    command
        .args(["tool", "pprof", "-raw"])
        .arg(profile)
        .env("HOME", home.path())
        .env("GOCACHE", cache)
        .env("PPROF_TMPDIR", home.path());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go tool pprof: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}
