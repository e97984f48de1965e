//! Settings of `thermograph agent` (and of `doctor`, which looks at what they ask for) from flags, environment and a file, in this order of precedence.
//!
//! There is one list of settings: the flags of `agent` that take a value. Variable and key follow from the flag's name, and a
//! value from elsewhere goes through the flag's own parser, then becomes the flag's default value. What there may be several of are
//! tables of the file.

mod destination;
mod file;
mod tables;

pub(crate) use destination::Destination;
pub(crate) use tables::Tables;

use crate::cli::{Cli, Command};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const AGENT: &str = "agent";
/// Takes the same settings.
const DOCTOR: &str = "doctor";
const PREFIX: &str = "THERMOGRAPH_";

/// The setting that names the file, and so can't come from it.
const CONFIG: &str = "config";

/// Reads the whole configuration of this run; `args` begins with the program's name.
///
/// The error is help, version or a sentence: `exit()` prints it rightly (exit code 0 or 2).
pub(crate) fn load(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    let matches = command.clone().try_get_matches_from(&args)?;
    // Flags alone were parsed before anything else is read: --help and a wrong flag need no valid file.
    let Some((name @ (AGENT | DOCTOR), flags)) = matches.subcommand() else {
        return Cli::from_arg_matches(&matches);
    };
    let (values, tables) = Settings::of(&mut command)
        .gather(
            flags.get_one::<PathBuf>(CONFIG).map(PathBuf::as_path),
            environment,
        )
        .map_err(sentence)?;
    let command = command.mut_subcommand(name, |agent| {
        agent.mut_args(|arg| match values.get(arg.get_id().as_str()) {
            Some(value) => arg.default_value(value.clone()),
            None => arg,
        })
    });
    let mut cli = Cli::from_arg_matches(&command.try_get_matches_from(&args)?)?;
    if let Command::Agent(agent) | Command::Doctor(agent) = &mut cli.command {
        agent.tables = tables;
        agent.check().map_err(sentence)?;
    }
    Ok(cli)
}

fn sentence(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

/// What can be set.
struct Settings {
    /// `agent`, to parse single values with.
    command: clap::Command,
    /// Names of all settings: id of the flag and key in the file.
    names: Vec<String>,
}

impl Settings {
    fn of(command: &mut clap::Command) -> Self {
        let agent = command
            .find_subcommand(AGENT)
            .cloned()
            .unwrap_or_default()
            .no_binary_name(true);
        let takes_value = |arg: &&clap::Arg| matches!(arg.get_action(), ArgAction::Set);
        let names = agent
            .get_arguments()
            .filter(takes_value)
            .map(|arg| arg.get_id().to_string())
            .collect();
        Self {
            command: agent,
            names,
        }
    }

    /// Values from environment and file, by name of the setting, and the file's tables.
    fn gather(
        &self,
        config_flag: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(HashMap<String, OsString>, Tables), String> {
        let mut from_environment = HashMap::new();
        for (variable, value) in environment {
            let variable = variable.to_string_lossy();
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            // What compose files and units make of a variable that is not set.
            if value.is_empty() {
                continue;
            }
            let name = name.to_lowercase();
            if !self.names.contains(&name) || variable_of(&name) != variable {
                let nearest = variable_of(nearest(&name, self.names.iter()));
                return Err(format!(
                    "environment variable {variable} is not known: did you mean {nearest}?"
                ));
            }
            self.check(&name, &value)
                .map_err(|error| format!("environment variable {variable}: {error}"))?;
            from_environment.insert(name, value);
        }
        let path = config_flag
            .map(Path::as_os_str)
            .or(from_environment.get(CONFIG).map(OsString::as_os_str));
        let (mut values, tables) = match path {
            Some(path) => {
                let path = Path::new(path);
                let content = file::read(path)?;
                (self.file_values(path, content.entries)?, content.tables)
            }
            None => Default::default(),
        };
        values.extend(from_environment);
        Ok((values, tables))
    }

    fn file_values(
        &self,
        path: &Path,
        entries: Vec<file::Entry>,
    ) -> Result<HashMap<String, OsString>, String> {
        let mut values = HashMap::new();
        for entry in entries {
            let place = format!("{}:{}", path.display(), entry.line);
            if !self.names.contains(&entry.key) || entry.key == CONFIG {
                let tables = Tables::NAMES.map(str::to_owned);
                let settings = self.names.iter().filter(|name| *name != CONFIG);
                let nearest = nearest(&entry.key, settings.chain(&tables));
                return Err(format!(
                    "{place}: key {:?} is not known: did you mean {nearest}?",
                    entry.key
                ));
            }
            let value = entry.value.ok_or_else(|| {
                format!("{place}: key {} has a value of a kind that no setting has: write a string, number, true or false", entry.key)
            })?;
            self.check(&entry.key, OsStr::new(&value))
                .map_err(|error| format!("{place}: {error}"))?;
            values.insert(entry.key, OsString::from(value));
        }
        Ok(values)
    }

    /// Parses one value as its flag would be.
    fn check(&self, name: &str, value: &OsStr) -> Result<(), String> {
        let mut flag = OsString::from(format!("--{}=", name.replace('_', "-")));
        flag.push(value);
        match self.command.clone().try_get_matches_from([flag]) {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                Err(first.strip_prefix("error: ").unwrap_or(first).to_owned())
            }
        }
    }
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase())
}

/// The known name most like `wrong`, by pairs of letters: people forget a prefix as often as they mistype.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a String>) -> &'a str {
    let likeness = |name: &&'a String| strsim::sorensen_dice(&wrong.to_lowercase(), name);
    known
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
