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
    /// Who must have made it, where others could put something there.
    owner: Option<u32>,
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
            owner: None,
        }
    }

    /// A user's own, at one place below one of `roots`.
    pub(super) fn of_user(user: u32, place: &str, roots: &[PathBuf]) -> Self {
        Self {
            owner: Some(user),
            ..Self::new(None, &[place], roots)
        }
    }

    /// A new connection to the first place that takes one. Places are looked at each time: a runtime may start after the agent.
    pub(super) async fn connect(&self) -> Result<UnixStream, AskError> {
        let mut failure = AskError::Absent;
        for place in &self.places {
            match UnixStream::connect(place).await {
                Ok(stream) => match self.stranger(&stream) {
                    None => return Ok(stream),
                    Some(stranger) => failure = AskError::Foreign(place.clone(), stranger),
                },
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

    /// Who listens there in place of the owner. The path is the user's, and may lead to any socket of the host.
    fn stranger(&self, stream: &UnixStream) -> Option<u32> {
        let owner = self.owner?;
        let listener = stream.peer_cred().ok()?.uid();
        (listener != owner).then_some(listener)
    }
}
