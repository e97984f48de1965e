//! The socket of a runtime: where it may be, and connecting to it.

use super::error::AskError;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// A socket at one of several places.
#[derive(Debug)]
pub(super) struct Socket {
    places: Vec<PathBuf>,
    is_given: bool,
}

impl Socket {
    /// At `given` and nowhere else, or at one of its `usual` places below one of `roots`.
    pub(super) fn new(given: Option<&Path>, usual: &[&str], roots: &[PathBuf]) -> Self {
        let places = match given {
            Some(path) => vec![path.to_owned()],
            None => roots
                .iter()
                .flat_map(|root| usual.iter().map(|place| root.join(place)))
                .collect(),
        };
        Self {
            places,
            is_given: given.is_some(),
        }
    }

    /// A new connection to the first place that takes one. Places are looked at each time: a runtime may start after the agent.
    pub(super) async fn connect(&self) -> Result<UnixStream, AskError> {
        let mut failure = AskError::Absent;
        for place in &self.places {
            match UnixStream::connect(place).await {
                Ok(stream) => return Ok(stream),
                // Whoever names a socket wants to hear that there is none.
                Err(error) if self.is_given && error.kind() == io::ErrorKind::NotFound => {
                    failure = AskError::Broken(place.clone(), error);
                }
                Err(error) => {
                    let error = AskError::io(place.clone(), error);
                    if matches!(failure, AskError::Absent) {
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }
}
