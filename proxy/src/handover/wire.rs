//! Messages and sockets over a unix socket, in blocking calls with a time limit: they run at most a few times in a
//! process' life, off the threads that carry traffic.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::worker::Role;

/// What both sides must agree on; it rises with each change of the messages.
pub(super) const VERSION: u32 = 1;
/// Sockets in one message; the kernel takes 253.
const SOCKETS_PER_MESSAGE: usize = 64;
/// Sockets in all: what 256 workers with 100 upstreams have, which the settings allow. Fewer, and a proxy could run that could not
/// be upgraded.
const SOCKETS_MAX: usize = 256 * (100 + 4) + 1;
/// Largest message: 1,000 series of the families are some 300 KiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the running process says before its sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    /// The proxy's name: one must not take over another.
    pub(super) name: String,
    /// What each socket is for, in the order in which they come.
    pub(super) roles: Vec<Role>,
}

/// Writes a message: its length, then its bytes.
pub(super) fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(message)
}

/// Reads a message.
pub(super) fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes: {MESSAGE_BYTES_MAX} at most")));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Sends sockets; the receiver has its own descriptors of them then.
pub(super) fn send_sockets(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for some in sockets.chunks(SOCKETS_PER_MESSAGE) {
        let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&some)) {
            return Err(io::Error::other("the sockets do not fit into a message"));
        }
        // At least one byte must go with them.
        sendmsg(stream, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives `count` sockets.
pub(super) fn receive_sockets(stream: &UnixStream, count: usize) -> io::Result<Vec<TcpListener>> {
    if count > SOCKETS_MAX {
        return Err(io::Error::other(format!("{count} sockets: {SOCKETS_MAX} at most")));
    }
    let mut sockets: Vec<TcpListener> = Vec::with_capacity(count);
    while sockets.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0; 1];
        let received =
            recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = sockets.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors.map(TcpListener::from));
            }
        }
        if received.bytes == 0 || sockets.len() == before {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it ended before all sockets were there",
            ));
        }
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn messages_and_more_sockets_than_one_message_holds_arrive_in_order() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let listeners: Vec<_> =
            (0..SOCKETS_PER_MESSAGE + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: Vec<OwnedFd> = listeners.iter().map(|one| one.try_clone().unwrap().into()).collect();
        send(&mut here, b"before").unwrap();
        send_sockets(&here, &sockets).unwrap();
        send(&mut here, b"").unwrap();
        assert_eq!(receive(&mut there).unwrap(), b"before");
        let received = receive_sockets(&there, sockets.len()).unwrap();
        assert_eq!(receive(&mut there).unwrap(), b"");
        let addresses =
            |all: &[TcpListener]| all.iter().map(|one| one.local_addr().unwrap()).collect::<Vec<_>>();
        assert_eq!(addresses(&received), addresses(&listeners));
    }

    #[test]
    fn a_sender_that_breaks_off_or_lies_about_a_length_is_an_error() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(receive(&mut there).unwrap_err().to_string().contains("at most"));
        here.write_all(b"no socket with it").unwrap();
        drop(here);
        assert!(receive_sockets(&there, 1).is_err());
        assert!(receive_sockets(&there, SOCKETS_MAX + 1).is_err());
    }
}
