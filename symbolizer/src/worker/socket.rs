//! Messages of at most [`LARGEST`] bytes over one end of a pair of sockets, with open files beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

use super::message::LARGEST;

/// Files beside a message: the one asked about, its debug file, and the root directories of a process that has it and of the host.
pub(super) const MOST_FILES: usize = 4;

/// Two ends. A message arrives as it was sent or not at all.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Sends a message that is not empty.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    files: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = flags | SendFlags::NOSIGNAL;
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(message)], &mut beside, flags)
    })?;
    if sent < message.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Waits until there is something to receive, or the other end is gone. False if the time is over before.
pub(super) fn wait(socket: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let mut descriptors = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) if left > Duration::ZERO => {}
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives a message; nothing when the other end is gone. Of the files beside it those are had for which there is room in `space`.
pub(super) fn receive<'buffer>(
    socket: BorrowedFd<'_>,
    buffer: &'buffer mut [u8; LARGEST],
    space: &mut [MaybeUninit<u8>],
) -> io::Result<Option<(&'buffer [u8], Vec<OwnedFd>)>> {
    let mut beside = RecvAncillaryBuffer::new(space);
    let received = rustix::io::retry_on_intr(|| {
        let into = &mut [IoSliceMut::new(&mut buffer[..])];
        recvmsg(socket, into, &mut beside, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let files = beside.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        _ => Vec::new(),
    });
    let files = files.collect();
    Ok(buffer
        .get(..received.bytes)
        .filter(|message| !message.is_empty())
        .map(|message| (message, files)))
}
