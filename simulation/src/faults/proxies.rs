//! What goes wrong at the edge: proxies that die, refuse and change their mind; workloads that fall silent.

use super::{millis, proxy};
use crate::plan::{Act, Class};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "restart-proxy",
        weight: 2,
        draw: |chance, shape| Some(Act::RestartProxy { proxy: proxy(chance, shape)? }),
    },
    Class {
        name: "crash-loop",
        weight: 1,
        draw: |chance, shape| {
            Some(Act::CrashLoop { proxy: proxy(chance, shape)?, times: 2 + chance.below(6) })
        },
    },
    Class {
        name: "refuse",
        weight: 2,
        draw: |chance, shape| {
            let service = chance.below(shape.services);
            Some(Act::Refuse { proxy: proxy(chance, shape)?, service, lasts: millis(chance, 200, 4000) })
        },
    },
    Class {
        name: "flap",
        weight: 1,
        draw: |chance, shape| Some(Act::Flap { proxy: proxy(chance, shape)?, times: 3 + chance.below(20) }),
    },
    Class {
        name: "silence",
        weight: 2,
        draw: |chance, shape| {
            // Half of them come back about when their lease ends.
            let (short, long) = if chance.happens(500) { (3500, 6000) } else { (1000, 9000) };
            (shape.workloads > 0).then(|| Act::Silence {
                workload: chance.below(shape.workloads),
                lasts: millis(chance, short, long),
            })
        },
    },
    Class {
        name: "hush",
        weight: 2,
        draw: |chance, shape| {
            // Of fewer than three, the brake lets each window's share go and holds none that anybody would miss.
            let more = shape.workloads.checked_sub(2).filter(|more| *more > 0)?;
            Some(Act::Hush { workloads: 3 + chance.below(more), lasts: millis(chance, 5500, 12_000) })
        },
    },
];
