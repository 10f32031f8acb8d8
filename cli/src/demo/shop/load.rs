//! The load that enters the shop: requests at an even rate, whether or not earlier ones were answered (an open loop, so
//! that a slow answer is measured and does not slow the load down).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::caller::{Caller, Ways};
use super::services::{ENTRY, LOAD_WORKLOAD};
use super::tally::Tally;

/// Requests that may wait for their answers; at this many the load waits too, and the run is no open loop any more.
const IN_FLIGHT_MAX: usize = 512;

/// What the load did in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entered {
    /// Requests that were sent and ended.
    pub(crate) requests: u64,
    /// Ticks at which nothing was sent, because too many requests waited.
    pub(crate) held_back: u64,
}

/// Load that runs until it is stopped.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Entered>,
}

impl Load {
    /// Begins to send `rate` requests per second by `ways`.
    #[must_use]
    pub(crate) fn begin(rate: u32, ways: &Ways, tally: &Tally) -> Self {
        let (stop, stopped) = watch::channel(false);
        let caller = Caller::new(LOAD_WORKLOAD, ways, tally);
        Self { stop, task: tokio::spawn(send(rate, caller, stopped)) }
    }

    /// Sends nothing more, waits for every answer, and tells what was sent.
    pub(crate) async fn end(self) -> Entered {
        let _ = self.stop.send(true); // fails only when the task is over already
        self.task.await.unwrap_or_default()
    }
}

async fn send(rate: u32, caller: Caller, mut stopped: watch::Receiver<bool>) -> Entered {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut calls = JoinSet::new();
    let mut entered = Entered::default();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = calls.join_next() => entered.requests += 1,
            _ = ticks.tick() => match Arc::clone(&room).try_acquire_owned() {
                Err(_) => entered.held_back += 1,
                Ok(permit) => {
                    let caller = caller.clone();
                    calls.spawn(async move {
                        caller.call(ENTRY).await;
                        drop(permit);
                    });
                }
            },
        }
    }
    while calls.join_next().await.is_some() {
        entered.requests += 1;
    }
    entered
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use tokio::net::TcpListener;

    use super::super::{Instance, SERVICES, serve};
    use super::*;

    /// The shop without a mesh: calls go straight to the first instance of each service.
    async fn shop(tally: &Tally) -> Ways {
        let mut ways = Ways::new();
        for service in &SERVICES {
            for number in (1..=service.instances).rev() {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                tokio::spawn(serve(Instance::new(service, number, &ways, tally), listener));
                ways.insert(service.name, address); // the first instance is the last one inserted
            }
        }
        ways
    }

    #[tokio::test]
    async fn callers_and_callees_of_the_shop_count_the_same_and_reviews_is_to_blame() {
        let tally = Tally::default();
        let ways = shop(&tally).await;
        let load = Load::begin(500, &ways, &tally);
        while tally.books().callees.values().map(|told| told.good).sum::<u64>() < 200 {
            tokio::task::yield_now().await;
        }
        let entered = load.end().await;
        let books = tally.books();
        assert_eq!(books.reasons, std::collections::BTreeMap::default());
        for (caller, callee) in super::super::edges() {
            let edge = (caller.to_owned(), callee.to_owned());
            let (heard, told) = (&books.callers[&edge], books.callees[&edge]);
            assert_eq!((heard.good, heard.failures), (told.good, told.failures), "{caller} -> {callee}");
            assert_eq!(heard.latency.count(), heard.good + heard.failures);
            let faulty = ["web", "reviews"].contains(&callee);
            assert_eq!(told.failures > 0, faulty, "{caller} -> {callee}: {told:?}");
        }
        let web = &books.callers[&("traffic".to_owned(), "web".to_owned())];
        assert_eq!(web.good + web.failures, entered.requests);
    }

    #[tokio::test]
    async fn a_callee_that_is_not_there_is_a_failure_of_the_mesh_and_is_counted_once() {
        let tally = Tally::default();
        let gone = runtime::ports::addresses(1).unwrap()[0];
        let caller = Caller::new(LOAD_WORKLOAD, &Ways::from([(ENTRY, gone), ("pricing", gone)]), &tally);
        caller.call(ENTRY).await;
        caller.call("pricing").await;
        assert_eq!(tally.books().mesh_failures(), 2);
        assert_eq!(tally.books().reasons.len(), 2, "{:?}", tally.books().reasons);
    }
}
