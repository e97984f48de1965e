//! Where a recording is written: opened before it begins, filled when it is over.

use crate::cli::{Format, Output};
use anyhow::{Context, Result};
use pprof_proto::folded::{Count, write_folded};
use pprof_proto::pprof::Profile;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
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

    /// Writes the profile and says where it is. A recording that does not fit where it should go is kept elsewhere.
    pub(crate) fn write(self, profile: &Profile) -> Result<String> {
        let Some((file, path)) = self.file else {
            write_to(io::stdout().lock(), self.format, profile)
                .context("cannot write to standard output")?;
            return Ok("standard output".to_owned());
        };
        // A pipe or a device has no length to set, and needs none.
        let _ = file.set_len(0);
        let Err(error) = write_to(&file, self.format, profile) else {
            return Ok(path.display().to_string());
        };
        let elsewhere = elsewhere(&path);
        let kept = File::create(&elsewhere)
            .map_err(Into::into)
            .and_then(|file| write_to(file, self.format, profile));
        kept.with_context(|| {
            format!(
                "cannot write {}: {error:#}; nor {}",
                path.display(),
                elsewhere.display()
            )
        })?;
        Ok(format!(
            "{} (cannot write {}: {error:#})",
            elsewhere.display(),
            path.display()
        ))
    }
}

fn elsewhere(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map_or_else(|| "thermograph.out".into(), ToOwned::to_owned);
    std::env::temp_dir().join(name)
}

fn write_to(out: impl Write, format: Format, profile: &Profile) -> Result<()> {
    let out = BufWriter::new(out);
    match format {
        Format::Pprof => pprof_proto::encode::encode(profile, out)?.flush()?,
        Format::Folded => write_folded(profile, Count::Periods, out)?,
    }
    Ok(())
}
