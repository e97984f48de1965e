//! A program that runs while something is measured, its output kept for when it fails.

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a program may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that was started; dropping this kills it and removes its files.
pub(crate) struct Launched {
    label: String,
    child: Child,
    files: TempDir,
}

impl Launched {
    /// Starts what `command` makes of a directory for the program's files; `None` where it is not installed.
    pub(crate) fn start(
        label: String,
        command: impl FnOnce(&Path) -> Command,
    ) -> anyhow::Result<Option<Launched>> {
        let files = tempfile::Builder::new()
            .prefix("thermograph-bench-")
            .tempdir()?;
        let mut command = command(files.path());
        command
            .stdin(Stdio::null())
            .stdout(File::create(files.path().join("out"))?)
            .stderr(File::create(files.path().join("err"))?);
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            child => Ok(Some(Launched {
                child: child.with_context(|| format!("cannot start {label}"))?,
                label,
                files,
            })),
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of its files; `out` and `err` are what it printed.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Waits until it `is_ready`; that it ends before is an error, with its own words.
    pub(crate) fn wait_until_ready(
        &mut self,
        is_ready: impl Fn(&Launched) -> bool,
    ) -> anyhow::Result<()> {
        self.wait(|launched| {
            if let Some(status) = launched.child.try_wait()? {
                let said = fs::read(launched.files.path().join("err")).unwrap_or_default();
                bail!(
                    "{} ended at once, {status}: {}",
                    launched.label,
                    String::from_utf8_lossy(&said).trim()
                );
            }
            Ok(is_ready(launched))
        })
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT)?;
        }
        self.wait(|launched| Ok(launched.child.try_wait()?.is_some()))
    }

    fn wait(
        &mut self,
        mut condition: impl FnMut(&mut Launched) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !condition(self)? {
            ensure!(
                begin.elapsed() < PATIENCE,
                "{} was not done after {} s: run it by hand",
                self.label,
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
