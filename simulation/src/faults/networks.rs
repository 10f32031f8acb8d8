//! What goes wrong between hosts: loss, repetition, heavy delays, cuts of every form, links that clog, connections that die
//! without a word or all at once, readers that stand still.

use std::time::Duration;

use super::{millis, node, proxy, two_nodes};
use crate::plan::{Act, Class};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "lose",
        weight: 2,
        draw: |chance, _| {
            Some(Act::Lose { per_mille: 10 + chance.below(290), lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "repeat",
        weight: 1,
        draw: |chance, _| {
            Some(Act::Repeat { per_mille: 10 + chance.below(490), lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "delay",
        weight: 2,
        draw: |chance, _| {
            let usual = Duration::from_millis(1 + chance.below(40));
            Some(Act::Delay { usual, lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "isolate",
        weight: 3,
        draw: |chance, shape| {
            let proxies = chance.happens(500);
            Some(Act::Isolate { node: node(chance, shape), proxies, lasts: millis(chance, 100, 4000) })
        },
    },
    Class {
        name: "one-way",
        weight: 3,
        draw: |chance, shape| {
            let (from, to) = two_nodes(chance, shape)?;
            Some(Act::OneWay { from, to, lasts: millis(chance, 100, 5000) })
        },
    },
    Class {
        name: "part",
        weight: 2,
        draw: |chance, shape| {
            let (one, other) = two_nodes(chance, shape)?;
            Some(Act::Part { one, other, lasts: millis(chance, 100, 5000) })
        },
    },
    Class {
        name: "cut-zone",
        weight: 1,
        draw: |chance, shape| {
            (shape.zones > 1)
                .then(|| Act::CutZone { zone: chance.below(shape.zones), lasts: millis(chance, 100, 4000) })
        },
    },
    Class {
        name: "half-open",
        weight: 2,
        draw: |chance, shape| {
            Some(Act::HalfOpen { proxy: proxy(chance, shape)?, lasts: millis(chance, 500, 5000) })
        },
    },
    Class {
        name: "slow-reader",
        weight: 2,
        draw: |chance, shape| {
            Some(Act::SlowReader { proxy: proxy(chance, shape)?, lasts: millis(chance, 300, 5000) })
        },
    },
    Class {
        name: "storm",
        weight: 1,
        draw: |chance, shape| (shape.proxies > 0).then(|| Act::Storm { times: 1 + chance.below(3) }),
    },
    Class {
        name: "swizzle",
        weight: 2,
        draw: |chance, shape| {
            let (nodes, order) = (1 + chance.below(shape.nodes), chance.below(1 << 16));
            Some(Act::Swizzle { nodes, order, lasts: millis(chance, 200, 5000) })
        },
    },
];
