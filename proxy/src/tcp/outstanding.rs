//! What the kernel knows of the bytes that a socket has sent: how many of them are not acknowledged, and how often it has asked for that in
//! vain. Asked one socket at a time through `sock_diag(7)`, as `ss` asks, which needs no right. `TCP_INFO` tells the same, but nobody
//! offers it to a program without `unsafe`.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `struct nlmsghdr` of `linux/netlink.h`.
const HEADER_BYTES: usize = 16;

/// `struct inet_diag_req_v2` of `linux/inet_diag.h`.
const QUESTION_BYTES: usize = 56;

/// `SOCK_DIAG_BY_FAMILY`, the kind of the question and of its answer.
const BY_FAMILY: u16 = 20;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// `struct inet_diag_msg` up to its end, and room for the attributes behind it, which are not read.
const ANSWER_BYTES_MAX: usize = 512;

/// Where the answer has its parts: the timer that runs, how often it went off in vain, and what is not acknowledged.
const TIMER_AT: usize = HEADER_BYTES + 2;
const UNANSWERED_AT: usize = HEADER_BYTES + 3;
const BYTES_AT: usize = HEADER_BYTES + 60;

/// Timers that ask for an acknowledgement: for bytes that were sent (1), and for room where the receiver has none (4).
const ASKING_TIMERS: [u8; 2] = [1, 4];

/// What one socket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outstanding {
    /// Bytes that were given to the kernel and are not acknowledged; the end of the stream is one.
    pub bytes: u32,
    /// How often in a row they were sent again, or room for them was asked for, without a word from the far host. A receiver that does
    /// not read answers, and leaves this at 0.
    pub unanswered: u8,
}

/// Asks the kernel. Each worker has one; it opens its socket with its first question.
#[derive(Debug, Default)]
pub(super) struct Questions {
    socket: OnceCell<Option<OwnedFd>>,
    has_failed: Cell<bool>,
}

impl Questions {
    /// What the connection from `local` to `peer` waits for; `None` where the kernel does not say, or knows no such connection.
    pub(super) fn outstanding(&self, local: SocketAddr, peer: SocketAddr) -> Option<Outstanding> {
        let socket =
            self.socket.get_or_init(|| opened().map_err(|error| self.failed(error)).ok()).as_ref()?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let asked = send(socket, &question(local, peer), SendFlags::empty())
            .and_then(|_| recv(socket, &mut answer[..], RecvFlags::empty()));
        match asked {
            Ok((_, length)) => answered(&answer[..length]),
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    /// Said once: whoever forbids it does so for good.
    fn failed(&self, error: Errno) {
        if !self.has_failed.replace(true) {
            tracing::warn!(
                %error,
                "the kernel does not say which bytes are acknowledged (sock_diag): opaque connections to hosts that are lost while bytes \
                 are on their way end after net.ipv4.tcp_retries2 (about 15 minutes)"
            );
        }
    }
}

fn opened() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for one socket.
fn question(local: SocketAddr, peer: SocketAddr) -> [u8; HEADER_BYTES + QUESTION_BYTES] {
    const TCP: u8 = 6;
    const NO_COOKIE: [u8; 8] = [0xff; 8];
    let mut question = [0; HEADER_BYTES + QUESTION_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        question[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    let length = u32::try_from(HEADER_BYTES + QUESTION_BYTES).expect("72 fits 32 bits");
    put(&length.to_ne_bytes());
    put(&BY_FAMILY.to_ne_bytes());
    put(&REQUEST.to_ne_bytes());
    put(&[0; 8]); // sequence and port: there is one question at a time
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let family = u8::try_from(family.as_raw()).expect("2 and 10 fit 8 bits");
    put(&[family, TCP, 0, 0]);
    put(&u32::MAX.to_ne_bytes()); // in any state
    put(&local.port().to_be_bytes());
    put(&peer.port().to_be_bytes());
    put(&sixteen_bytes(local.ip()));
    put(&sixteen_bytes(peer.ip()));
    put(&[0; 4]); // at any interface
    put(&NO_COOKIE);
    question
}

fn sixteen_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
    }
}

fn answered(answer: &[u8]) -> Option<Outstanding> {
    let kind = answer.get(4..6)?;
    if kind != BY_FAMILY.to_ne_bytes() {
        return None; // an error: the connection is gone
    }
    let bytes = u32::from_ne_bytes(answer.get(BYTES_AT..BYTES_AT + 4)?.try_into().ok()?);
    let (timer, unanswered) = (*answer.get(TIMER_AT)?, *answer.get(UNANSWERED_AT)?);
    Some(Outstanding { bytes, unanswered: if ASKING_TIMERS.contains(&timer) { unanswered } else { 0 } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair(at: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(at).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn asked(questions: &Questions, stream: &TcpStream) -> Option<Outstanding> {
        questions.outstanding(stream.local_addr().unwrap(), stream.peer_addr().unwrap())
    }

    #[test]
    fn bytes_that_a_receiver_has_no_room_for_are_outstanding_and_those_that_it_took_are_not() {
        let questions = Questions::default();
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (mut near, mut far) = pair(at);
            near.write_all(b"taken").unwrap();
            far.read_exact(&mut [0; 5]).unwrap();
            assert_eq!(asked(&questions, &near), Some(Outstanding::default()), "{at}");
            near.set_nonblocking(true).unwrap();
            let full = loop {
                if let Err(error) = near.write(&[0; 65536]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
            assert!(asked(&questions, &near).unwrap().bytes > 0, "{at}");
            assert_eq!(asked(&questions, &far), Some(Outstanding::default()), "{at}");
        }
        assert!(!questions.has_failed.get());
    }

    #[test]
    fn of_a_connection_that_does_not_exist_nothing_is_said() {
        let (near, far) = pair("127.0.0.1:0");
        let strangers = (near.local_addr().unwrap(), far.local_addr().unwrap());
        drop((near, far));
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(Questions::default().outstanding(strangers.0, nobody), None);
    }
}
