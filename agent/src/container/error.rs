//! How asking a source can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Longest foreign text in a sentence, bytes.
const FOREIGN_BYTES: usize = 200;

/// Why a source gave no sensible answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// There is none on this host, or not yet.
    #[error("there is none")]
    Absent,
    /// It may not be asked.
    #[error(
        "{0}: permission denied: run the agent as a user who may open this, or as root with CAP_DAC_OVERRIDE"
    )]
    Denied(PathBuf),
    /// It is there but does not work.
    #[error("{0}: {1}: is it running?")]
    Broken(PathBuf, io::Error),
    /// It is not the user's whose it should be.
    #[error("{0}: user {1} listens there and not the one whose it should be: it is not asked")]
    Foreign(PathBuf, u32),
    /// It does not answer.
    #[error("it does not answer: is it stuck?")]
    Hangs,
    /// It does not speak HTTP as it should.
    #[error("it does not speak the protocol that was expected: {0}")]
    Protocol(String),
    /// It answers with an error.
    #[error("it answered {0}")]
    Refused(String),
    /// The API server does not accept the token.
    #[error("it answered {0}: give the agent's service account the right to list pods")]
    Forbidden(u16),
    /// What is not known yet may be in so long.
    #[error("it is not asked for all pods again yet")]
    NotYet(Duration),
    /// It answers without end.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

impl AskError {
    /// Protocol error by what a library says of it.
    pub(super) fn protocol(error: impl std::fmt::Display) -> Self {
        Self::Protocol(printable(&error.to_string()))
    }

    /// An error in the words of the source.
    pub(super) fn refused(code: impl std::fmt::Display, message: &str) -> Self {
        Self::Refused(printable(&format!("{code} {message}")))
    }

    /// An error of the operating system about a file or socket.
    pub(super) fn io(path: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent,
            io::ErrorKind::PermissionDenied => Self::Denied(path),
            _ => Self::Broken(path, error),
        }
    }
}

/// One bounded line of foreign text.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > FOREIGN_BYTES {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root may open everything, so a refusal is played; foreign text is one bounded line.
    #[test]
    fn sentences_say_what_to_do() {
        let path = || PathBuf::from("/run/docker.sock");
        let of = |error: io::ErrorKind| AskError::io(path(), error.into());
        let said = of(io::ErrorKind::PermissionDenied).to_string();
        assert_eq!(
            said,
            "/run/docker.sock: permission denied: run the agent as a user who may open this, or as root with CAP_DAC_OVERRIDE"
        );
        let said = of(io::ErrorKind::ConnectionRefused).to_string();
        assert_eq!(said, "/run/docker.sock: connection refused: is it running?");
        assert!(matches!(of(io::ErrorKind::NotFound), AskError::Absent));
        let said = AskError::refused(500, &"no\r\n\u{1b}[2J".repeat(100)).to_string();
        assert!(said.starts_with("it answered 500 no   [2Jno") && said.len() < 250);
    }
}
