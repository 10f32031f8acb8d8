//! How a node does that is told to stop, as `control/src/node.rs` does on SIGTERM: it hands leadership over and ends once another
//! is seen to lead, or when that has taken too long. An operator starts it again.

use std::time::Duration;

use consensus::{NodeId, Role};

use super::event::Event;
use super::run::World;
use crate::invariants::{HAND_OVER_WAIT, Violation};
use crate::marks::Mark;
use crate::sabotage::Sabotage;

/// Wait before a leader asks again that found nobody fit, as the product has it (`control/src/replica/door.rs`).
const FIND_HEIR_AGAIN: Duration = Duration::from_millis(20);

/// Wait for a voter that was asked to take over, as the product has it.
const ASK_HEIR_AGAIN: Duration = Duration::from_millis(250);

/// How often it is looked whether another leads: the product is told at once.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A node that was told to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// How long it is dead then.
    dead: Duration,
    /// When it gives up handing over, and when it asks the next time; nothing before it has heard that it is to stop.
    tries: Option<(Duration, Duration)>,
}

impl World {
    /// An operator tells a node to stop; one that stands still hears it later.
    pub(super) fn tell_to_stop(&mut self, id: u64, dead: Duration) {
        let node = self.nodes.get_mut(&id).expect("a plan is checked against the shape");
        if node.running.is_some() && node.stopping.is_none() {
            node.stopping = Some(Stopping { dead, tries: None });
            let life = node.life;
            self.heap.put_in(Duration::ZERO, Event::Stops { node: id, life });
        }
    }

    /// A node that is to stop looks whether it may end by now, and otherwise asks another to lead.
    pub(super) fn stops(&mut self, id: u64, life: u64) -> Result<(), Violation> {
        let (now, node) = (self.heap.now(), &self.nodes[&id]);
        let Some((stopping, running)) =
            node.stopping.zip(node.running.as_ref()).filter(|_| node.life == life)
        else {
            return Ok(());
        };
        let (leads, leader) = (running.replica.role() == Role::Leader, running.replica.leader());
        let led = stopping.tries.is_some();
        if !led && leads {
            self.handing_over.told(id, now);
        }
        let (until, ask_at) = stopping.tries.unwrap_or((now + HAND_OVER_WAIT, now));
        let moved = leader.is_some_and(|leader| leader != NodeId(id));
        if moved || !led && !leads || now >= until || self.scenario.sabotage == Some(Sabotage::StopUnasked) {
            return self.end_in_peace(id, stopping.dead, led && moved);
        }
        let mut ask_again = ask_at;
        if now >= ask_at {
            let mut asked = false;
            self.with(id, Some(life), |running, _, _, _| {
                asked = running.replica.transfer_leadership(None).is_ok();
            })?;
            ask_again = now + if asked { ASK_HEIR_AGAIN } else { FIND_HEIR_AGAIN };
        }
        let tries = Some((until, ask_again));
        let node = self.nodes.get_mut(&id).expect("every node exists");
        // It may have ended itself in between.
        node.stopping = node.stopping.map(|stopping| Stopping { tries, ..stopping });
        self.heap.put_in(LOOK_AGAIN, Event::Stops { node: id, life });
        Ok(())
    }

    fn end_in_peace(&mut self, id: u64, dead: Duration, handed_over: bool) -> Result<(), Violation> {
        let now = self.heap.now();
        if handed_over {
            self.reached.insert(Mark::HandedOver);
        }
        let node = self.nodes.get_mut(&id).expect("every node exists");
        let leads = node.running.as_ref().is_some_and(|running| running.replica.role() == Role::Leader);
        node.end(&mut self.chance);
        self.tell(format!("node {id} ends{}", if handed_over { ", for another leads" } else { "" }));
        self.handing_over.ends(id, leads, now)?;
        self.ended(id);
        self.heap.put_in(dead, Event::Restart(id));
        Ok(())
    }
}
