//! Both ends of a connection that is carried as bytes, and which of their hosts is lost: gone without a word, by its power or by a
//! firewall. Keep-alive finds that where nothing is on its way (`http/dial.rs`); while bytes are, the kernel sends these again for a
//! quarter of an hour. Its own shorter bound, `TCP_USER_TIMEOUT`, would also end connections whose receiver only does not read.
//! `Silence` decides, and knows neither clock nor kernel.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flow::Tools;
use super::outstanding::Outstanding;

/// How long nothing may be heard of an end, though bytes went to it, until the kernel is asked, and how often it is asked. Shorter: a
/// stream in one direction costs two system calls more often. Longer: a lost host is found so much later.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How long what was sent may be sent again without a word from the far host, as `TCP_USER_TIMEOUT` bounds it where requests are carried.
const UNANSWERED_MAX: Duration = Duration::from_secs(20);

/// And how often at least: a receiver that has had no room for hours is asked only each two minutes, and one loss is none of the host.
const UNANSWERED_TIMES: u8 = 3;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Who connected to us.
    Caller,
    /// Whom we connected to.
    Endpoint,
}

/// Both ends of one connection.
#[derive(Debug)]
pub struct Ends {
    caller: Far,
    endpoint: Far,
    lost: Cell<Option<End>>,
    told: Notify,
}

/// One of them.
#[derive(Debug)]
struct Far {
    /// Our address and its.
    between: io::Result<(SocketAddr, SocketAddr)>,
    /// How much came from it; its end counts as one.
    heard: Cell<u64>,
    silence: RefCell<Silence>,
}

impl Far {
    fn of(stream: &TcpStream) -> Self {
        let between = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
        Self { between, heard: Cell::new(0), silence: RefCell::default() }
    }
}

impl Ends {
    /// Those of two sockets.
    #[must_use]
    pub fn of(caller: &TcpStream, endpoint: &TcpStream) -> Self {
        Self {
            caller: Far::of(caller),
            endpoint: Far::of(endpoint),
            lost: Cell::default(),
            told: Notify::new(),
        }
    }

    /// So many bytes came from `end`, to go to the other.
    pub(super) fn heard(&self, end: End, bytes: usize) {
        let heard = &self.far(end).heard;
        heard.set(heard.get() + bytes as u64);
    }

    /// Whose host was lost, if that is why the connection ended.
    #[must_use]
    pub fn lost(&self) -> Option<End> {
        self.lost.get()
    }

    /// Ready once the host at one end is lost.
    pub(super) async fn silence(&self) {
        while self.lost.get().is_none() {
            self.told.notified().await;
        }
    }

    /// The kernel gave the connection to `end` up.
    pub(super) fn lose(&self, end: End) {
        self.lost.set(Some(end));
        self.told.notify_one();
    }

    /// Asks after an end that says nothing although bytes went to it. Called by the worker's sweep.
    pub fn sweep(&self, tools: &Tools, now: Instant) {
        for (end, other) in [(End::Caller, End::Endpoint), (End::Endpoint, End::Caller)] {
            let (far, sent) = (self.far(end), self.far(other).heard.get());
            let mut silence = far.silence.borrow_mut();
            if !silence.is_suspicious(far.heard.get(), sent, now) {
                continue;
            }
            let asked = far.between.as_ref().ok().map(|(local, peer)| tools.outstanding(*local, *peer));
            if silence.is_lost(asked.flatten().unwrap_or_default(), sent, now) {
                self.lose(end);
            }
        }
    }

    fn far(&self, end: End) -> &Far {
        match end {
            End::Caller => &self.caller,
            End::Endpoint => &self.endpoint,
        }
    }
}

/// How long an end has been silent, and what that means.
#[derive(Debug, Default)]
struct Silence {
    /// What was heard of it and sent to it as of the last look.
    heard: u64,
    sent: u64,
    /// Of what was sent, what surely came there.
    arrived: u64,
    /// Since when nothing was heard, or when the kernel was asked last.
    since: Option<Instant>,
    /// How often in a row the kernel asked in vain, and since when.
    unanswered: Option<(u8, Instant)>,
}

impl Silence {
    /// Whether to ask the kernel after it: something was sent to it that may not have come there, and for a while nothing came back.
    fn is_suspicious(&mut self, heard: u64, sent: u64, now: Instant) -> bool {
        if heard != self.heard {
            // It heard us too, but for what was sent since the last look, perhaps after it spoke.
            (self.arrived, self.unanswered, self.since) = (self.sent, None, None);
        }
        (self.heard, self.sent) = (heard, sent);
        if sent == self.arrived {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= ASK_EVERY
    }

    /// Whether its host is lost, as the kernel says `outstanding` of what was `sent` to it.
    fn is_lost(&mut self, outstanding: Outstanding, sent: u64, now: Instant) -> bool {
        self.since = Some(now);
        if outstanding.bytes == 0 {
            (self.arrived, self.since) = (sent, None);
        }
        self.unanswered = match (outstanding.unanswered, self.unanswered) {
            (0, _) => None,
            (times, Some((before, since))) if times >= before => Some((times, since)),
            (times, _) => Some((times, now)),
        };
        self.unanswered.is_some_and(|(times, since)| {
            times >= UNANSWERED_TIMES && now.duration_since(since) >= UNANSWERED_MAX
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says at each second, and the second in which the end counts as lost: 8 bytes went to it at the first.
    fn lost_at(kernel: impl Fn(u64) -> Outstanding) -> Option<u64> {
        let (mut silence, start) = (Silence::default(), Instant::now());
        (0..3600).find(|second| {
            let now = start + Duration::from_secs(*second);
            silence.is_suspicious(0, 8, now) && silence.is_lost(kernel(*second), 8, now)
        })
    }

    const fn outstanding(bytes: u32, unanswered: u8) -> Outstanding {
        Outstanding { bytes, unanswered }
    }

    #[test]
    fn a_host_that_does_not_acknowledge_for_twenty_seconds_is_lost_and_one_that_only_does_not_read_never_is()
    {
        let doubling = |second: u64| {
            let gone_off = (second * 5 + 1).ilog2(); // after 0.2 s, and then twice as long each time
            outstanding(8, gone_off.try_into().unwrap_or(u8::MAX))
        };
        assert_eq!(lost_at(doubling), Some(25));
        // A receiver without room answers each time that it is asked, but for one that got lost on its way.
        assert_eq!(lost_at(|_| outstanding(8, 0)), None);
        assert_eq!(lost_at(|second| outstanding(8, u8::from(second % 120 < 115))), None);
        // It was slow to answer, again and again.
        assert_eq!(lost_at(|second| outstanding(8, (second % 15).try_into().unwrap_or(0))), None);
    }

    #[test]
    fn a_receiver_that_has_no_room_for_hours_is_lost_only_when_it_is_asked_three_times_in_vain() {
        let asked_each_two_minutes = |second: u64| outstanding(8, (second / 120).try_into().unwrap_or(0));
        assert_eq!(lost_at(asked_each_two_minutes), Some(360));
    }

    #[test]
    fn the_kernel_is_asked_only_while_something_that_was_sent_may_not_have_come() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        assert!((0..60).all(|second| !silence.is_suspicious(0, 0, at(second))), "nothing was sent");
        assert!(!silence.is_suspicious(0, 4, at(60)));
        assert!(!silence.is_suspicious(0, 4, at(64)));
        assert!(silence.is_suspicious(0, 4, at(65)));
        assert!(!silence.is_lost(outstanding(4, 1), 4, at(65)));
        assert!(!silence.is_suspicious(0, 4, at(69)), "it was asked four seconds ago");
        assert!(silence.is_suspicious(0, 4, at(70)));
        assert!(!silence.is_lost(outstanding(0, 0), 4, at(70)));
        assert!((71..99).all(|second| !silence.is_suspicious(0, 4, at(second))), "all of it came there");
        // What it says and what is sent between two looks have no order: that may not have come.
        assert!(!silence.is_suspicious(9, 8, at(100)));
        assert!(silence.is_suspicious(9, 8, at(105)));
        // It speaks again: alive.
        assert!(!silence.is_suspicious(10, 8, at(106)));
        assert!((107..200).all(|second| !silence.is_suspicious(10, 8, at(second))));
    }
}
