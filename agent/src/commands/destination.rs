//! Where a recording is written: opened before it begins, filled when it is over.

use crate::cli::{Format, Output};
use anyhow::{Context, Result, bail};
use pprof_proto::folded::{Count, write_folded};
use pprof_proto::pprof::Profile;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file, or standard output.
pub(crate) struct Destination {
    format: Format,
    file: Option<(File, PathBuf)>,
    /// The file was not there before: nothing is lost by removing it.
    is_new: bool,
}

impl Destination {
    /// A file that cannot be written is better known before than after half an hour of recording.
    pub(crate) fn open(output: &Output, format: Format) -> Result<Self> {
        let Output::File(path) = output else {
            return Ok(Self {
                format,
                file: None,
                is_new: false,
            });
        };
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = file.with_context(|| {
            format!(
                "cannot write {}: give another file by -o, or - for standard output",
                path.display()
            )
        })?;
        Ok(Self {
            format,
            file: Some((file, path.clone())),
            is_new,
        })
    }

    /// Leaves things as they were: there is nothing to write.
    pub(crate) fn abandon(self) {
        if let Some((_, path)) = self.file
            && self.is_new
        {
            // It stays behind empty if even that fails.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Writes the profile and says where it is. A recording that does not fit where it should go is kept elsewhere, and the
    /// error says where.
    pub(crate) fn write(self, profile: &Profile) -> Result<String> {
        let (place, written) = match &self.file {
            Some((file, path)) => {
                // A pipe or a device has no length to set, and needs none.
                let _ = file.set_len(0);
                (
                    path.display().to_string(),
                    write_to(file, self.format, profile),
                )
            }
            None => (
                "standard output".to_owned(),
                write_to(io::stdout().lock(), self.format, profile),
            ),
        };
        let Err(error) = written else {
            return Ok(place);
        };
        let elsewhere = self.elsewhere();
        match keep(&elsewhere, self.format, profile) {
            Ok(()) => bail!(
                "cannot write {place}: {error:#}: it is kept as {}",
                elsewhere.display()
            ),
            Err(also) => bail!(
                "cannot write {place}: {error:#}, nor {}: {also:#}: it is lost",
                elsewhere.display()
            ),
        }
    }

    /// A file of its own in the directory for temporary ones.
    fn elsewhere(&self) -> PathBuf {
        let mut name = OsString::from(format!("thermograph-{}-", std::process::id()));
        name.push(
            self.file
                .as_ref()
                .and_then(|(_, path)| path.file_name())
                .unwrap_or_else(|| OsStr::new("stdout")),
        );
        std::env::temp_dir().join(name)
    }
}

/// Everybody may write to that directory: what somebody else has put there under this name is neither followed nor
/// replaced, and what a recording says of the host is not for everybody.
fn keep(path: &Path, format: Format, profile: &Profile) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    write_to(file, format, profile)
}

fn write_to(out: impl Write, format: Format, profile: &Profile) -> Result<()> {
    let out = BufWriter::new(out);
    match format {
        Format::Pprof => pprof_proto::encode::encode(profile, out)?.flush()?,
        Format::Folded => write_folded(profile, Count::Periods, out)?,
    }
    Ok(())
}
