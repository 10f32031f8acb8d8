//! Faults that a policy injects before a request is sent. Asked only where a rule has one; the shares are drawn by the
//! worker's own chance.

use mesh::{Abort, Fault};

use crate::balance::Chance;
use crate::http::refusal::Refusal;
use crate::http::state::WorkerState;

/// Lets the fault happen: waits, and answers whether the request is aborted instead of sent.
pub(super) async fn suffer(fault: &Fault, state: &WorkerState) -> Result<(), Refusal> {
    let hit = |percent: u32| hits(percent, &mut state.chance.borrow_mut());
    if let Some((percent, delay)) = fault.delay
        && hit(percent)
    {
        state.count(|counters| counters.faults_delayed_total += 1);
        tokio::time::sleep(delay).await;
    }
    match fault.abort {
        Some((percent, abort)) if hit(percent) => {
            state.count(|counters| counters.faults_aborted_total += 1);
            Err(refusal(abort))
        }
        _ => Ok(()),
    }
}

fn hits(percent: u32, chance: &mut Chance) -> bool {
    chance.below(100) < u64::from(percent)
}

/// Each caller is told in its own words; what has none there is told as gRPC maps HTTP's statuses, and as unavailable.
fn refusal(abort: Abort) -> Refusal {
    match abort {
        Abort::Grpc(grpc_status) => Refusal::Injected { status: 503, grpc_status },
        Abort::Http(status) => {
            let grpc_status = match status {
                200..=299 => 0,
                400 => 13,
                401 => 16,
                403 => 7,
                404 => 12,
                429 | 502..=504 => 14,
                _ => 2,
            };
            Refusal::Injected { status, grpc_status }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_is_hit_and_no_more() {
        let mut chance = Chance::seeded(5);
        for percent in [0, 1, 50, 99, 100] {
            let hit = (0..10_000).filter(|_| hits(percent, &mut chance)).count();
            let expected = percent as usize * 100;
            assert!(hit.abs_diff(expected) < 150, "{percent} %: {hit}");
        }
    }

    #[test]
    fn an_abort_is_told_in_the_callers_words() {
        assert_eq!(refusal(Abort::Http(503)), Refusal::Injected { status: 503, grpc_status: 14 });
        assert_eq!(refusal(Abort::Http(418)), Refusal::Injected { status: 418, grpc_status: 2 });
        assert_eq!(refusal(Abort::Grpc(8)), Refusal::Injected { status: 503, grpc_status: 8 });
    }
}
