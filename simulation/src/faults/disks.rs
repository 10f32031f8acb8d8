//! What goes wrong with disks: slow, full, an fsync or a read that fails, an fsync that lies, bits that turn, writes that
//! land elsewhere, a disk that is replaced by an empty one. Torn writes come with every kill.

use super::{millis, node};
use crate::plan::{Act, Class};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "slow-disk",
        weight: 3,
        draw: |chance, shape| {
            let factor = 10 + chance.below(1500);
            Some(Act::SlowDisk { node: node(chance, shape), factor, lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "fill-disk",
        weight: 2,
        draw: |chance, shape| {
            Some(Act::FillDisk { node: node(chance, shape), lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "fail-sync",
        weight: 2,
        draw: |chance, shape| {
            Some(Act::FailSync { node: node(chance, shape), dead: millis(chance, 1, 3000) })
        },
    },
    Class {
        name: "fail-read",
        weight: 1,
        draw: |chance, shape| {
            let after = chance.below(40);
            Some(Act::FailRead { node: node(chance, shape), after, dead: millis(chance, 1, 2000) })
        },
    },
    Class {
        name: "lose-sync",
        weight: 1,
        draw: |chance, shape| {
            let lasts = millis(chance, 20, 1000);
            Some(Act::LoseSync { node: node(chance, shape), lasts, dead: millis(chance, 1, 2000) })
        },
    },
    Class {
        name: "rot",
        weight: 1,
        draw: |chance, shape| {
            let place = chance.below(1 << 32);
            Some(Act::Rot { node: node(chance, shape), place, dead: millis(chance, 1, 2000) })
        },
    },
    Class {
        name: "wipe",
        weight: 2,
        draw: |chance, shape| Some(Act::Wipe { node: node(chance, shape), dead: millis(chance, 1, 2000) }),
    },
    Class {
        name: "misdirect",
        weight: 1,
        draw: |chance, shape| {
            let place = chance.below(1 << 48);
            Some(Act::Misdirect { node: node(chance, shape), place, dead: millis(chance, 1, 2000) })
        },
    },
];
