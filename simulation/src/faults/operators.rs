//! What operators do in the middle of it all: hand leadership over, change who votes, apply much at once, go back
//! to a backup.

use super::{millis, node};
use crate::plan::{Act, Class};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "transfer",
        weight: 3,
        draw: |chance, shape| Some(Act::Transfer { node: node(chance, shape) }),
    },
    Class {
        name: "members",
        weight: 3,
        draw: |chance, shape| {
            // One or two voters have no minority that could be taken away.
            (shape.nodes > 2).then(|| Act::Members { without: chance.below(shape.nodes + 1) })
        },
    },
    Class {
        name: "restore",
        weight: 1,
        draw: |chance, _| {
            Some(Act::Restore { back: millis(chance, 0, 4000), dead: millis(chance, 100, 2000) })
        },
    },
    Class { name: "push", weight: 1, draw: |chance, _| Some(Act::Push { count: 5 + chance.below(60) }) },
];
