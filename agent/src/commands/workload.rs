//! The command that `thermograph record -- CMD` runs.

use super::descriptors::Inherited;
use super::signals::Signals;
use anyhow::{Context, Result, anyhow};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long a command may take to end after Ctrl-C, which the terminal has sent to it too, before it is told to.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked for.
const STEP: Duration = Duration::from_millis(20);

/// A command that could not be started, with the exit status that shells give for it.
pub(crate) struct NotStarted {
    pub(crate) error: anyhow::Error,
    pub(crate) status: u8,
}

/// The running command. Its input and output are this program's.
pub(crate) struct Workload {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Workload {
    /// Starts it with the descriptors that this program was started with.
    pub(crate) fn start(command: &[OsString], descriptors: &Inherited) -> Result<Self, NotStarted> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(NotStarted {
                error: anyhow!("there is no command to run behind `--`"),
                status: 127,
            });
        };
        let mut command = Command::new(program);
        command.args(arguments);
        descriptors.give_to(&mut command);
        let child = command.spawn().map_err(|error| {
            let status = if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            let program = program.to_string_lossy();
            NotStarted {
                error: anyhow!(
                    "cannot run {program}: {error}: is it spelled right and executable?"
                ),
                status,
            }
        })?;
        Ok(Self { child, ended: None })
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .context("cannot wait for the command")?;
        }
        Ok(self.ended.is_some())
    }

    /// Waits for its end and returns the exit status a shell would give for it. `interrupted` says that there was a signal already. After
    /// the first it has a moment to end by itself; after each other one it is told to at once.
    pub(crate) async fn finish(&mut self, interrupted: bool, signals: &mut Signals) -> Result<u8> {
        let mut interrupted = interrupted;
        let mut deadline = interrupted.then(|| Instant::now() + GRACE);
        while !self.has_ended()? {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                deadline = None;
                self.terminate();
            }
            tokio::select! {
                () = tokio::time::sleep(STEP) => {}
                () = signals.next() => {
                    let grace = if interrupted { Duration::ZERO } else { GRACE };
                    deadline = Some(Instant::now() + grace);
                    interrupted = true;
                }
            }
        }
        Ok(self.ended.map_or(1, exit_code))
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_le_bytes()[0],
        (None, Some(signal)) => signal.to_le_bytes()[0].saturating_add(128),
        (None, None) => 1,
    }
}
