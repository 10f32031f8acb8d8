//! A connection to an endpoint whose bytes pass as they are: an opaque one, one after an upgrade, or after CONNECT. Keeps
//! its account from the moment it was made to its end, whoever ends it.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

use super::dial;
use super::signs::Signs;
use super::state::WorkerState;
use super::upstream::InFlight;
use crate::report::edges::EdgeHandle;
use crate::tcp::{self, End, Ends, Way};

/// A connection to an endpoint, ready to be joined with a caller's.
#[derive(Debug)]
pub struct Tunnel {
    endpoint: Option<TcpStream>,
    /// What was read of the endpoint beyond its last answer.
    unread: BytesMut,
    state: Rc<WorkerState>,
    edge: EdgeHandle,
    /// Weighs on the endpoint for as long as the connection is open.
    _in_flight: Option<InFlight>,
}

impl Tunnel {
    /// `endpoint` was counted as opened under `edge`; from here its bytes and its end are.
    #[must_use]
    pub fn new(
        endpoint: TcpStream,
        unread: BytesMut,
        state: &Rc<WorkerState>,
        edge: EdgeHandle,
        in_flight: Option<InFlight>,
    ) -> Self {
        state.count(|counters| counters.tunnels += 1);
        state.edges.borrow_mut().held(edge);
        Self { endpoint: Some(endpoint), unread, state: Rc::clone(state), edge, _in_flight: in_flight }
    }

    /// Carries bytes both ways until both sides have ended; `first` was read of the caller already. The caller's `signs` tell
    /// of the service and the bytes while it runs: it may be open for days.
    pub async fn carry(mut self, caller: TcpStream, first: Bytes, signs: &Signs) {
        let Some(endpoint) = self.endpoint.take() else { return };
        let _ = dial::unbound_silence(&endpoint); // fails only on a socket that is gone
        let ends = Rc::new(Ends::of(&caller, &endpoint));
        signs.ends.replace(Some(Rc::clone(&ends)));
        signs.edge.set(Some(self.edge));
        let carried = |way: Way, bytes: usize| {
            signs.bytes.set(signs.bytes.get() + bytes as u64);
            let mut edges = self.state.edges.borrow_mut();
            match way {
                Way::There => edges.carried(self.edge, bytes as u64, 0),
                Way::Back => edges.carried(self.edge, 0, bytes as u64),
            }
        };
        let unread = std::mem::take(&mut self.unread);
        let carrying = tcp::carry(caller, endpoint, first, unread, &self.state.tools, &ends, carried);
        if let Err(error) = carrying.await {
            tracing::debug!(%error, lost = ?ends.lost(), "a connection broke off");
            self.state.count(|counters| match ends.lost() {
                Some(End::Caller) => counters.callers_lost_total += 1,
                Some(End::Endpoint) => counters.endpoints_lost_total += 1,
                None => {}
            });
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.state.count(|counters| counters.tunnels -= 1);
        let mut edges = self.state.edges.borrow_mut();
        edges.closed(self.edge);
        edges.released(self.edge);
    }
}
