//! Waits until it is clear what a connection speaks, and no longer: while its caller's bytes are awaited, the connection to
//! the far side is being made, and whoever says the first telling word decides. Where both are silent there is nothing
//! to carry; so nothing here is a stall.

use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::sight::{Sight, Spoken, sight};

/// How long the rest of an unclear beginning is waited for: half a request line, say. Longer: a protocol whose first message
/// looks like that waits for its answer. Shorter: a request that comes in pieces over a bad line is carried as bytes,
/// which does it no harm but is not routed. Also how late a connection is made where one is hardly needed.
const UNCLEAR_WAIT: Duration = Duration::from_millis(250);

/// What one read asks for: a request line or a hello as a rule.
const READ_BYTES: usize = 4 * 1024;

/// Who or what decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The caller's bytes.
    Bytes,
    /// The far side spoke first: then it is no server that waits for requests.
    ServerFirst,
    /// The beginning stayed unclear for too long.
    Waited,
    /// One side ended, or could not be reached, before anything was clear.
    Ended,
    /// What was seen before.
    Remembered,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen<R> {
    /// What the caller speaks.
    pub spoken: Spoken,
    /// Who decided.
    pub how: How,
    /// What was read of the caller.
    pub first: BytesMut,
    /// The far side, if it was reached (or not) meanwhile.
    pub reached: Option<R>,
}

/// What connections to one destination taught of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// HTTP/1: a connection to the far side is hardly needed before the request is read.
    Requests,
    /// Its servers speak first, so that nothing their callers say need be waited for.
    ServerFirst,
}

impl<R> Seen<R> {
    /// What it teaches, if anything. Bytes of a caller that are no request teach nothing: the next one may send one.
    #[must_use]
    pub fn learned(&self) -> Option<Learned> {
        match (&self.spoken, self.how) {
            (Spoken::Http1, _) => Some(Learned::Requests),
            (_, How::ServerFirst) => Some(Learned::ServerFirst),
            _ => None,
        }
    }
}

/// Looks at `caller`'s first bytes while `reaching` makes the connection to the far side: at once, or only where nothing is
/// said for a while. `None`: it was `closing` before anything was clear.
pub async fn look<C: AsRef<TcpStream>, E>(
    caller: &TcpStream,
    mut reaching: Pin<&mut impl Future<Output = Result<C, E>>>,
    reach_at_once: bool,
    closing: impl Future<Output = ()>,
) -> Option<Seen<Result<C, E>>> {
    let mut closing = pin!(closing);
    let (mut first, mut reached) = (BytesMut::new(), None);
    let (mut reaches, mut since) = (reach_at_once, Instant::now());
    let (spoken, how) = loop {
        if let Sight::Clear(spoken) = sight(&first) {
            break (spoken, How::Bytes);
        }
        let is_lost = matches!(reached, Some(Err(_)));
        tokio::select! {
            biased;
            () = closing.as_mut() => return None,
            ready = caller.readable() => {
                let was_silent = first.is_empty();
                match ready.and_then(|()| read(caller, &mut first)) {
                    Ok(Some(0)) | Err(_) => break (Spoken::Other, How::Ended),
                    Ok(Some(_)) if was_silent => since = Instant::now(),
                    Ok(_) => {}
                }
            }
            done = reaching.as_mut(), if reaches && reached.is_none() => {
                reached = Some(done);
                since = Instant::now();
            }
            has_spoken = far_side(reached.as_ref()) => {
                break (Spoken::Other, if has_spoken { How::ServerFirst } else { How::Ended });
            }
            () = sleep_until(since + UNCLEAR_WAIT), if !reaches || is_lost || !first.is_empty() => {
                if !first.is_empty() {
                    break (Spoken::Other, How::Waited);
                } else if is_lost {
                    break (Spoken::Other, How::Ended);
                }
                reaches = true;
            }
        }
    };
    Some(Seen { spoken, how, first, reached })
}

/// Reads what is there; `None` when that is nothing after all.
fn read(caller: &TcpStream, first: &mut BytesMut) -> io::Result<Option<usize>> {
    first.reserve(READ_BYTES);
    match caller.try_read_buf(first) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        read => read.map(Some),
    }
}

/// Whether the far side has spoken (or else ended), as soon as it did either.
async fn far_side<C: AsRef<TcpStream>, E>(reached: Option<&Result<C, E>>) -> bool {
    match reached {
        Some(Ok(far)) => matches!(far.as_ref().peek(&mut [0]).await, Ok(1..)),
        _ => pending().await,
    }
}
