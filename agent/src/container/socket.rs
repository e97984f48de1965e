//! The socket of a runtime: where it may be, and connecting to it.

use super::error::AskError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Sockets of users that are being connected to.
static CONNECTING: Semaphore = Semaphore::const_new(4);

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
            let connecting = match self.owner {
                None => UnixStream::connect(place).await,
                Some(user) => of_user(place.clone(), user).await,
            };
            match connecting {
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

/// Connects to what is at `place` in the directory of `user`. That is the user's own, and may be made so that to look there takes for ever: it
/// costs a thread that nothing else waits for.
async fn of_user(place: PathBuf, user: u32) -> io::Result<UnixStream> {
    let permit = CONNECTING.acquire().await.map_err(io::Error::other)?;
    let connecting = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        connect_below(&place, user)
    });
    let stream = connecting.await.map_err(io::Error::other)??;
    UnixStream::from_std(stream.into())
}

/// A socket that is connected to what is at `place`, to which no link leads from the user's directory on.
fn connect_below(place: &Path, user: u32) -> io::Result<OwnedFd> {
    let name = user.to_string();
    let is_of_user = |directory: &&Path| directory.file_name().is_some_and(|last| *last == *name);
    let directory = place.ancestors().find(is_of_user).unwrap_or(place);
    let below = place.strip_prefix(directory).unwrap_or(place);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let socket = rustix::fs::openat2(&directory, below, flags, Mode::empty(), how)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    rustix::net::connect(&stream, &address)?;
    Ok(stream)
}
