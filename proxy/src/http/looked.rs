//! Finds out what an intercepted connection speaks, for both directions alike, counts it, and remembers what that teaches of
//! the next one. Must never decide what becomes of the connection.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::signs::Signs;
use super::state::WorkerState;
use crate::detect::{How, Learned, Spoken, look};

/// What a connection speaks.
#[derive(Debug)]
pub enum Speaks<R> {
    /// Requests: what was read of them, and the far side, if it was reached (or not) meanwhile.
    Requests(BytesMut, Option<R>),
    /// Anything else, HTTP/2 included: what was read, and the far side that it is carried to, or why it was not reached.
    Bytes(BytesMut, R),
}

/// Looks at what `stream` speaks while `reaching` makes the connection to its far side. `None`: it closed before that was clear.
pub async fn looked_at<C: AsRef<TcpStream>, E>(
    stream: &TcpStream,
    signs: &Signs,
    state: &WorkerState,
    learned: &Cell<Option<Learned>>,
    reaching: impl Future<Output = Result<C, E>>,
) -> Option<Speaks<Result<C, E>>> {
    let mut reaching = pin!(reaching);
    if learned.get() == Some(Learned::ServerFirst) {
        state.count(|counters| counters.detected.add(&Spoken::Other, How::Remembered));
        signs.tunnel.set(true);
        return Some(Speaks::Bytes(BytesMut::new(), reaching.await));
    }
    let reach_at_once = learned.get() != Some(Learned::Requests);
    let mut seen = look(stream, reaching.as_mut(), reach_at_once, signs.closes()).await?;
    if seen.spoken != Spoken::Http1 && seen.reached.is_none() {
        seen.reached = Some(reaching.await);
    }
    state.count(|counters| counters.detected.add(&seen.spoken, seen.how));
    learned.set(seen.learned().or(learned.get()));
    match seen.reached {
        Some(reached) if seen.spoken != Spoken::Http1 => {
            signs.tunnel.set(true);
            Some(Speaks::Bytes(seen.first, reached))
        }
        reached => Some(Speaks::Requests(seen.first, reached)),
    }
}
