//! What goes wrong with processes of nodes: they are killed (new leaders too), told to stop, stand still, and are started with another program.

use std::time::Duration;

use super::{millis, node};
use crate::plan::{Act, Class};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "kill",
        weight: 4,
        draw: |chance, shape| Some(Act::Kill { node: node(chance, shape), dead: millis(chance, 1, 3000) }),
    },
    Class {
        name: "kill-all",
        weight: 1,
        draw: |chance, _| Some(Act::KillAll { dead: millis(chance, 1, 1500) }),
    },
    Class {
        name: "kill-next-leader",
        weight: 2,
        draw: |chance, _| {
            // Mostly within the few round trips in which a leader gets its first entries committed.
            let micros_max = if chance.happens(700) { 4000 } else { 100_000 };
            let reign = Duration::from_micros(chance.below(micros_max));
            Some(Act::KillNextLeader { reign, dead: millis(chance, 1, 3000) })
        },
    },
    Class {
        name: "stop",
        weight: 3,
        draw: |chance, shape| {
            // Node 0 is whichever leads: that one has something to hand over.
            let node = if chance.happens(500) { 0 } else { node(chance, shape) };
            Some(Act::Stop { node, dead: millis(chance, 1, 3000) })
        },
    },
    Class {
        name: "upgrade",
        weight: 2,
        draw: |chance, shape| Some(Act::Upgrade { node: node(chance, shape), dead: millis(chance, 1, 1500) }),
    },
    Class {
        name: "downgrade",
        weight: 1,
        draw: |chance, shape| {
            Some(Act::Downgrade { node: node(chance, shape), dead: millis(chance, 1, 1500) })
        },
    },
    Class {
        name: "pause",
        weight: 3,
        draw: |chance, shape| {
            // Mostly a collector's or a hypervisor's stop; seldom a minute, which outlasts every timeout there is.
            let lasts =
                if chance.happens(100) { millis(chance, 5000, 60_000) } else { millis(chance, 100, 3000) };
            Some(Act::Pause { node: node(chance, shape), lasts })
        },
    },
];
