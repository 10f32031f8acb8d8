//! What goes wrong with clocks: they jump and drift. That they are skewed from the start each world draws for itself; that they
//! stand still comes with a pause of the process.

use super::node;
use crate::plan::{Act, Class};

/// Further than this no clock jumps: what the log forgets by time (outcomes of writes, after an hour) is no fault then.
const JUMP_MS_MAX: u64 = 60_000;

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "jump",
        weight: 2,
        draw: |chance, shape| {
            let by = i64::try_from(chance.below(2 * JUMP_MS_MAX)).unwrap_or(0) - JUMP_MS_MAX as i64;
            Some(Act::Jump { node: node(chance, shape), by_ms: by })
        },
    },
    Class {
        name: "drift",
        weight: 1,
        draw: |chance, shape| {
            let ppm = i64::try_from(chance.below(2001)).unwrap_or(0) - 1000;
            Some(Act::Drift { node: node(chance, shape), ppm })
        },
    },
];
