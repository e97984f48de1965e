//! The worker as its parent has it: a child process and a socket.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::message::LARGEST;
use super::refusals::Refused;
use super::socket;

/// How the worker is started: a program that comes to call [`serve`](super::serve).
#[derive(Clone, Debug)]
pub struct Launch {
    /// `/proc/self/exe` is this program, also when another was put in its place.
    pub program: PathBuf,
    /// What makes it the worker.
    pub arguments: Vec<OsString>,
}

/// A worker that runs. It has no state that would be missed: to be done with it is to kill it.
pub(super) struct Worker {
    child: Child,
    socket: OwnedFd,
    pub(super) started: Instant,
    pub(super) used: Instant,
    /// Its memory when it last answered, in bytes.
    pub(super) resident: u64,
}

impl Worker {
    /// Starts one. It has neither the agent's environment, where passwords may be, nor its files.
    pub(super) fn start(launch: &Launch) -> io::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        let child = Command::new(&launch.program)
            .arg0("thermograph")
            .args(&launch.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let now = Instant::now();
        Ok(Self {
            child,
            socket: ours,
            started: now,
            used: now,
            resident: 0,
        })
    }

    /// Sends a request, without waiting: there is room, as nothing is on its way.
    pub(super) fn send(&self, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        socket::send(self.socket.as_fd(), message, files, SendFlags::DONTWAIT)
    }

    /// Waits for a message until the deadline.
    pub(super) fn receive<'buffer>(
        &self,
        buffer: &'buffer mut [u8; LARGEST],
        deadline: Instant,
    ) -> io::Result<&'buffer [u8]> {
        if !socket::wait(self.socket.as_fd(), deadline)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Files have no place in an answer: without room for them the kernel drops them.
        let mut space: [MaybeUninit<u8>; 0] = [];
        let received = socket::receive(self.socket.as_fd(), buffer, &mut space)?;
        let (message, _) = received.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(message)
    }

    /// Whether it has ended, which it does only when it is killed, as nothing was asked.
    pub(super) fn is_gone(&mut self) -> bool {
        has_ended(&mut self.child)
    }
}

fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Workers that were killed, until the kernel is done with them. One that waits for a server which does not answer stays until that does.
#[derive(Default)]
pub(super) struct Killed(Vec<(Child, Option<At>)>);

/// What a worker was at: a file system without a device, and what of its files the next worker would wait for, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) remote: u64,
    pub(super) refused: Refused,
}

/// With so many no further worker is started.
const MOST_KILLED: usize = 8;

/// How long it takes one to end that can: it has to give its memory back.
const LAST_MOMENT: Duration = Duration::from_millis(50);

impl Killed {
    pub(super) fn kill(&mut self, worker: Worker, at: Option<At>) {
        let mut child = worker.child;
        if has_ended(&mut child) || child.kill().is_err() {
            return;
        }
        // A descriptor of a process can be read once that has ended.
        if let Ok(process) = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            let _ = socket::wait(process.as_fd(), Instant::now() + LAST_MOMENT);
        }
        self.0.push((child, at));
        self.reap();
    }

    /// Waits for those that have ended.
    pub(super) fn reap(&mut self) {
        self.0.retain_mut(|(child, _)| !has_ended(child));
    }

    /// What of the files of a file system is to be left alone, because one is still waiting for it.
    pub(super) fn refused(&mut self, remote: u64) -> Option<Refused> {
        self.reap();
        let places = self.0.iter().filter_map(|(_, at)| *at);
        let here = places.filter(|at| at.remote == remote);
        here.map(|at| at.refused).max()
    }

    pub(super) fn are_too_many(&mut self) -> bool {
        self.reap();
        self.0.len() >= MOST_KILLED
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
