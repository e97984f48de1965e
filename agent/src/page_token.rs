//! The token that opens the page to those who do not sit at the host.

use crate::cli::{AgentArgs, is_page_token};
use crate::secret::Secret;
use anyhow::{Context, bail};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const FILE: &str = "page-token";

/// Token that page and API ask for; none on loopback, where whoever can connect is on the host already.
///
/// Where none is configured, one is made once and kept in the data directory, readable by its owner only.
pub(crate) fn page_token(args: &AgentArgs) -> anyhow::Result<Option<Secret>> {
    match &args.page_token {
        Some(token) => Ok(Some(token.clone())),
        None if args.listen.ip().to_canonical().is_loopback() => Ok(None),
        None => kept(&args.data_dir).map(Some),
    }
}

fn kept(directory: &Path) -> anyhow::Result<Secret> {
    let path = directory.join(FILE);
    match OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
    {
        Ok(file) => read(&file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory, &path)
            .with_context(|| {
                format!(
                    "cannot keep a page token in {}: give --page-token or a writable --data-dir",
                    directory.display()
                )
            }),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot open {}: give --page-token or another --data-dir",
                path.display()
            )
        }),
    }
}

fn read(file: &File, path: &Path) -> anyhow::Result<Secret> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
        bail!(
            "{} must be a file that only its owner can read: delete it to get a new one",
            path.display()
        );
    }
    let mut text = String::new();
    let read = file.take(1024).read_to_string(&mut text);
    let token = text.trim_ascii();
    if read.is_err() || !is_page_token(token) {
        bail!(
            "{} does not hold a page token: delete it to get a new one",
            path.display()
        );
    }
    Ok(Secret::from(token.to_owned()))
}

/// Writes it beside and moves it into place: a crash leaves no half token.
fn make(directory: &Path, path: &Path) -> io::Result<Secret> {
    let token = format!("{:032x}", rand::random::<u128>());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let new = directory.join(format!("{FILE}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(Secret::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn token(directory: &Path, more: &[&str]) -> anyhow::Result<Option<String>> {
        let data_dir = format!("--data-dir={}", directory.display());
        let args = ["thermograph", "agent", &data_dir]
            .into_iter()
            .chain(more.iter().copied());
        let Command::Agent(args) = Cli::parse_from(args).command else {
            panic!("not agent")
        };
        Ok(page_token(&args)?.map(|token| token.reveal().to_owned()))
    }

    /// On loopback there is no token and nothing is written; a given one counts everywhere.
    #[test]
    fn loopback_needs_none() {
        let directory = tempfile::tempdir().unwrap();
        for listen in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(
                token(directory.path(), &["--listen", listen]).unwrap(),
                None
            );
        }
        let given = ["--listen=0.0.0.0:1", "--page-token=0123456789abcdef"];
        assert_eq!(
            token(directory.path(), &given).unwrap().as_deref(),
            Some("0123456789abcdef")
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    /// Beyond loopback one is made, is the owner's only, and is the same at the next start.
    #[test]
    fn made_once_and_kept() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let first = token(&directory, &["--listen=0.0.0.0:1"]).unwrap().unwrap();
        assert!(is_page_token(&first), "{first}");
        assert_eq!(
            token(&directory, &["--listen=[::]:1"]).unwrap().unwrap(),
            first
        );
        assert_eq!(
            fs::metadata(directory.join(FILE)).unwrap().mode() & 0o777,
            0o600
        );
        let other = parent.path().join("other");
        assert_ne!(
            token(&other, &["--listen=0.0.0.0:1"]).unwrap().unwrap(),
            first
        );
    }

    /// A file that others can read or that holds no token is refused by name, not used and not overwritten.
    #[test]
    fn unfit_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let refused = || {
            token(directory.path(), &["--listen=0.0.0.0:1"])
                .unwrap_err()
                .to_string()
        };
        for (content, mode) in [
            (&b""[..], 0o600),
            (b"short", 0o600),
            (&[0xff; 32], 0o600),
            (&[b'a'; 5000], 0o640),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(refused().contains(path.to_str().unwrap()));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(refused().contains("cannot open"));
    }

    /// A data directory that can't be made (/proc) or is none (below a device) is said with both ways out.
    #[test]
    fn unfit_directories() {
        for directory in ["/proc/thermograph", "/dev/null/x"] {
            let said = token(Path::new(directory), &["--listen=0.0.0.0:1"])
                .unwrap_err()
                .to_string();
            assert!(
                said.contains("--page-token") && said.contains("--data-dir"),
                "{said}"
            );
        }
    }
}
