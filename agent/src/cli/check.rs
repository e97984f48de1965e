//! Rules between several values, and what follows from the values together.

use super::{AgentArgs, Format, RecordArgs, WalkArgs};
use crate::config::Destination;
use crate::host;
use crate::owner::label_text;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time after which the recording of a process or of the host ends by itself.
const DEFAULT_RECORDING: Duration = Duration::from_secs(30);

/// What to profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// Every process.
    Host,
    /// One process, all its threads.
    Process(u32),
    /// A command still to be started (program and arguments, never empty), and all its descendants.
    Command(&'a [OsString]),
}

/// Where a recording is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl AgentArgs {
    /// Checks what concerns several values, or values that no error may show.
    pub(crate) fn check(&self) -> Result<(), String> {
        let for_server = self.pyroscope_basic_auth_user.is_some()
            || self.pyroscope_basic_auth_password.is_some()
            || self.pyroscope_bearer_token.is_some()
            || self.pyroscope_tenant_id.is_some();
        match self.flags_destination() {
            Some(destination) => destination.check("pyroscope_")?,
            None if for_server => {
                return Err(
                    "credentials or a tenant are given, but no server: give pyroscope_url too"
                        .to_owned(),
                );
            }
            None => {}
        }
        let mut names = HashSet::new();
        for destination in self.destinations() {
            let name = destination.name();
            if !names.insert(name.clone()) {
                return Err(format!(
                    "two destinations are called {name:?}: give one of them another name"
                ));
            }
        }
        if self
            .page_token
            .as_ref()
            .is_some_and(|token| !is_page_token(token.reveal()))
        {
            return Err(
                "page_token is too short or has unfit characters: give at least 16 letters, digits or -._~"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The servers to push to: that of the flags, then those of the file.
    pub(crate) fn destinations(&self) -> Vec<Destination> {
        let of_file = self.tables.destination.iter();
        self.flags_destination()
            .into_iter()
            .chain(of_file.map(|destination| destination.get_ref().clone()))
            .collect()
    }

    fn flags_destination(&self) -> Option<Destination> {
        Some(Destination {
            tenant_id: self.pyroscope_tenant_id.clone(),
            basic_auth_user: self.pyroscope_basic_auth_user.clone(),
            basic_auth_password: self.pyroscope_basic_auth_password.clone(),
            bearer_token: self.pyroscope_bearer_token.clone(),
            ..Destination::at(self.pyroscope_url.clone()?)
        })
    }

    /// Value of the label `node`.
    pub(crate) fn node_name(&self) -> String {
        let given = self.node.as_deref().map(|name| label_text(name.as_bytes()));
        let host = || label_text(&host::name());
        given.filter(|name| !name.is_empty()).unwrap_or_else(host)
    }
}

/// Whether a token is long enough not to be guessed and passes unchanged through URLs, cookies and headers.
pub(crate) fn is_page_token(token: &str) -> bool {
    token.len() >= 16
        && token
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-._~".contains(&c))
}

impl WalkArgs {
    /// Where unwind tables are.
    pub(crate) fn tables(&self) -> PathBuf {
        self.cache_dir.join("tables")
    }
}

impl RecordArgs {
    /// What to profile.
    pub(crate) fn target(&self) -> Target<'_> {
        match (self.pid, self.cmd.is_empty()) {
            (Some(pid), _) => Target::Process(pid),
            (None, false) => Target::Command(&self.cmd),
            (None, true) => Target::Host,
        }
    }

    /// Length of the recording; none lasts until the command ends.
    pub(crate) fn length(&self) -> Option<Duration> {
        self.duration
            .or_else(|| self.cmd.is_empty().then_some(DEFAULT_RECORDING))
    }

    /// Where the recording goes.
    pub(crate) fn output(&self, stdout_is_terminal: bool) -> Result<Output, &'static str> {
        match &self.output {
            Some(path) if path == Path::new("-") => {
                if self.format == Format::Pprof && stdout_is_terminal {
                    return Err(
                        "pprof is binary and stdout is a terminal: redirect it, or give a file by -o or --format folded",
                    );
                }
                Ok(Output::Stdout)
            }
            Some(path) => Ok(Output::File(path.clone())),
            None => Ok(Output::File(self.default_file())),
        }
    }

    /// `thermograph-<what>.<ending>` in the working directory.
    fn default_file(&self) -> PathBuf {
        let what = match self.target() {
            Target::Host => "host".to_owned(),
            Target::Process(pid) => pid.to_string(),
            Target::Command(cmd) => cmd
                .first()
                .map_or_else(String::new, |program| file_name_part(program)),
        };
        let ending = match self.format {
            Format::Pprof => "pb.gz",
            Format::Folded => "folded",
        };
        PathBuf::from(format!("thermograph-{what}.{ending}"))
    }
}

/// A program's name as a part of a file name that needs no quoting in a shell.
fn file_name_part(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    let fit = |c: &u8| c.is_ascii_alphanumeric() || b"._-+".contains(c);
    name.as_bytes()
        .iter()
        .take(100)
        .map(|c| if fit(c) { char::from(*c) } else { '_' })
        .collect()
}
