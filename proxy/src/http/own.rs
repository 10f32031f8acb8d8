//! What this worker dialled last, kept only where connections are intercepted: a connection of our own that comes back to us
//! (our user is not excluded from the rules) would be passed on to where it was going, and come back again without end.
//!
//! A worker is a thread. With several, one may get another's connection; the loop ends at the first that gets its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Connections kept. One that loops comes back while it is being made, so that it is among the last; more would only
/// be looked through.
const KEPT_MAX: usize = 64;

thread_local! {
    /// Our end and the far end of each; `None`: nothing is kept.
    static DIALLED: RefCell<Option<VecDeque<(SocketAddr, SocketAddr)>>> = const { RefCell::new(None) };
}

/// From now on, what this thread dials is kept.
pub(crate) fn keep() {
    DIALLED.with_borrow_mut(|dialled| {
        dialled.get_or_insert_default();
    });
}

pub(super) fn is_kept() -> bool {
    DIALLED.with_borrow(Option::is_some)
}

pub(super) fn note(ours: Option<SocketAddr>, far: SocketAddr) {
    let Some(ours) = ours else { return };
    DIALLED.with_borrow_mut(|dialled| {
        if let Some(dialled) = dialled {
            if dialled.len() == KEPT_MAX {
                dialled.pop_front();
            }
            dialled.push_back((ours, far));
        }
    });
}

/// Whether a connection from `peer` that was going to `destination` is one of ours: no two connections that are open have
/// both ends alike.
pub(crate) fn is_ours(peer: SocketAddr, destination: SocketAddr) -> bool {
    DIALLED
        .with_borrow(|dialled| dialled.as_ref().is_some_and(|dialled| dialled.contains(&(peer, destination))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_ends_together_make_a_connection_ours_and_only_the_last_are_kept() {
        let at = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        note(Some(at(1)), at(80));
        assert!(!is_ours(at(1), at(80)), "nothing is kept before it is asked for");
        keep();
        note(Some(at(1)), at(80));
        assert!(is_ours(at(1), at(80)) && !is_ours(at(1), at(81)) && !is_ours(at(2), at(80)));
        for port in 2..=65 {
            note(Some(at(port)), at(80));
        }
        assert!(!is_ours(at(1), at(80)) && is_ours(at(65), at(80)));
    }
}
