//! Runs of `penstock simulate`, as if they had happened.

use std::time::Duration;

use cli::render::Simulated;
use simulation::{Measured, Requests, Scenario, Stretch};

const MS: Duration = Duration::from_millis(1);

/// A scenario, one run of it, three runs, and what the one was like.
pub(crate) fn runs() -> (Scenario, Vec<Simulated>, Vec<Simulated>, Measured) {
    let text = "seed 7\nshape nodes=3 proxies=10\n2s kill node=0 dead=1500ms\n";
    let measured = Measured {
        end: 32_000 * MS,
        acknowledged: (1..=100_u32)
            .map(|at| if at < 60 { at * 33 * MS } else { at * 33 * MS + 400 * MS })
            .collect(),
        leaders: vec![(310 * MS, 1, 2), (2015 * MS, 3, 3)],
        down: vec![(1, Stretch { from: 2000 * MS, to: 3500 * MS })],
        propagation: (1..=200_u32).map(|number| (number * 10 * MS, number * MS / 4)).collect(),
        requests: vec![Requests { at: 100 * MS, sent: 900, failed: 3, tried_again: 4.25 }],
        acts: vec![(2000 * MS, "node 1 is killed and stays dead for 1.5s".to_owned())],
    };
    let run = |seed: u64| Simulated {
        seed,
        trace: format!("{:016x}", seed * 0x1234_5678),
        seconds: 32.0,
        writes: 100,
        write_outages: 1,
        write_outage_ms: 433.0,
        longest_write_gap_ms: 433.0 + f64::from(u32::try_from(seed).unwrap()),
        changes: 200,
        propagation_ms_p50: 25.0,
        propagation_ms_p99: 49.5,
        propagation_ms_max: 50.0,
        requests: 900,
        requests_failed: 3,
        requests_tried_again: 4.3,
        leaders: 2,
    };
    (Scenario::read(text).unwrap(), vec![run(7)], vec![run(7), run(8), run(9)], measured)
}
