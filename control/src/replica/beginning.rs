//! When a life of the cluster begins: whoever leads first after a founding, a restore or a recovery proposes it, before any other
//! write. A pure rule, asked by `driver.rs` and by the simulator whenever something happened.

use std::time::Duration;

use api::log::v1::Begin;
use mesh::Timestamp;

use crate::catalog::{Catalog, next_epoch};

/// When the begin of a life is proposed again, if it was refused at a bound. Shorter only fills the log of a busy node.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// How far this node is with beginning a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beginning {
    /// When it was last proposed under this leadership.
    tried: Option<Duration>,
}

impl Beginning {
    /// Leadership came or went: what was proposed before may be lost.
    pub fn leadership_changed(&mut self) {
        self.tried = None;
    }

    /// What is to be proposed now, if this node leads and the life of its catalog has not begun. `wall` is only asked then.
    #[must_use]
    pub fn due(
        &mut self,
        leads: bool,
        catalog: &Catalog,
        wall: impl FnOnce() -> Timestamp,
        now: Duration,
    ) -> Option<Begin> {
        if !leads || catalog.is_begun() || self.tried.is_some_and(|tried| now < tried + BEGIN_AGAIN) {
            return None;
        }
        self.tried = Some(now);
        Some(Begin { epoch: next_epoch(catalog.applied().epoch, wall()) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use api::log::v1::{Command, command::Body};
    use prost::Message as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A second in 2026.
    fn wall() -> Timestamp {
        Timestamp(1_767_225_700_000)
    }

    #[test]
    fn a_leader_begins_a_life_once_and_again_only_if_nothing_came_of_it() {
        let (mut beginning, mut catalog) = (Beginning::default(), Catalog::new(1));
        assert_eq!(beginning.due(false, &catalog, wall, SECOND), None);
        let begin = beginning.due(true, &catalog, wall, SECOND).unwrap();
        assert_eq!(begin.epoch, 100);
        assert_eq!(beginning.due(true, &catalog, wall, SECOND), None, "it is under way");
        assert!(beginning.due(true, &catalog, wall, SECOND * 2).is_some(), "it was refused");
        beginning.leadership_changed();
        assert!(beginning.due(true, &catalog, wall, SECOND * 2).is_some(), "it may be lost");
        let command = Command { id: None, at_ms: 0, body: Some(Body::Begin(begin)) };
        catalog.apply(2, &command.encode_to_vec());
        beginning.leadership_changed();
        assert_eq!(beginning.due(true, &catalog, wall, SECOND * 9), None, "it has begun");
    }
}
