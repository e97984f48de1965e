//! The header by which a push says whose it is.

use super::config::Credentials;
use crate::secret::Secret;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A token that is longer is no token.
const MOST_BYTES: u64 = 64 << 10;

pub(super) enum Authorization {
    /// The same each time, or none.
    Fixed(Option<HeaderValue>),
    /// From a file that is replaced by a new one now and then.
    File(Arc<TokenFile>),
}

/// A file with a token, and what was last read of it.
pub(super) struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<(Stamp, HeaderValue)>>,
}

/// Differs when a file was written to or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Authorization {
    /// # Errors
    ///
    /// One sentence on what is wrong with a file.
    pub(super) fn new(credentials: &Credentials) -> Result<Authorization> {
        let fixed = match credentials {
            Credentials::None => None,
            Credentials::Basic(user, password) => {
                let pair = format!("{user}:{}", password.reveal());
                Some(header("Basic", &BASE64_STANDARD.encode(pair))?)
            }
            Credentials::Bearer(token) => Some(header("Bearer", token.reveal())?),
            Credentials::BearerFile(path) => {
                let file = TokenFile {
                    path: path.clone(),
                    last: Mutex::default(),
                };
                file.read()?;
                return Ok(Authorization::File(Arc::new(file)));
            }
        };
        Ok(Authorization::Fixed(fixed))
    }

    /// What it is now.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>> {
        match self {
            Authorization::Fixed(header) => Ok(header.clone()),
            Authorization::File(file) => {
                let file = Arc::clone(file);
                Ok(Some(
                    tokio::task::spawn_blocking(move || file.read()).await??,
                ))
            }
        }
    }
}

impl TokenFile {
    fn read(&self) -> Result<HeaderValue> {
        let path = &self.path;
        let metadata = fs::metadata(path).with_context(|| unreadable(path))?;
        let stamp = Stamp::of(&metadata);
        // No code that can panic runs under the lock: a poisoned one is whole.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, header)) = last.as_ref()
            && *of == stamp
        {
            return Ok(header.clone());
        }
        if !metadata.is_file() || metadata.len() > MOST_BYTES {
            bail!("{}: it is no small file", unreadable(path));
        }
        let text = fs::read_to_string(path).with_context(|| unreadable(path))?;
        let token = Secret::from(text.trim_ascii().to_owned());
        if !token.is_token() {
            bail!(
                "bearer_token_file {} holds no token: write one line without blanks into it",
                path.display()
            );
        }
        let header = header("Bearer", token.reveal())?;
        *last = Some((stamp, header.clone()));
        Ok(header)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn unreadable(path: &Path) -> String {
    format!(
        "cannot read bearer_token_file {}: give a file that the agent may read",
        path.display()
    )
}

/// It is shown in no log.
fn header(scheme: &str, text: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {text}"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(authorization: &Authorization) -> Result<String> {
        let header = authorization.header().await?;
        Ok(header.map_or(String::new(), |header| header.to_str().unwrap().to_owned()))
    }

    /// As RFC 7617 and RFC 6750 have them.
    #[tokio::test]
    async fn fixed() {
        let secret = |text: &str| Secret::from(text.to_owned());
        for (credentials, expected) in [
            (Credentials::None, ""),
            (
                Credentials::Basic("Aladdin".into(), secret("open sesame")),
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (Credentials::Bearer(secret("abc")), "Bearer abc"),
        ] {
            let authorization = Authorization::new(&credentials).unwrap();
            assert_eq!(shown(&authorization).await.unwrap(), expected);
        }
    }

    /// A token that is written over, or whose file is replaced as Kubernetes does, counts at once; while there is none, the error names
    /// the file and not what was in it.
    #[tokio::test]
    async fn files_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let credentials = Credentials::BearerFile(path.clone());
        let missing = Authorization::new(&credentials).err().unwrap();
        assert!(format!("{missing:#}").contains(path.to_str().unwrap()));
        fs::write(&path, "first\n").unwrap();
        let authorization = Authorization::new(&credentials).unwrap();
        assert_eq!(shown(&authorization).await.unwrap(), "Bearer first");
        fs::write(&path, "second").unwrap();
        assert_eq!(shown(&authorization).await.unwrap(), "Bearer second");
        let new = directory.path().join("new");
        fs::write(&new, "third!").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(shown(&authorization).await.unwrap(), "Bearer third!");
        fs::write(&path, "two sesames").unwrap();
        let error = format!("{:#}", shown(&authorization).await.unwrap_err());
        assert!(error.contains(path.to_str().unwrap()) && !error.contains("sesame"));
    }
}
