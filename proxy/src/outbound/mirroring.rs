//! Copies of requests for a mirror: sent beside the request by a task of their own, which waits until the request's body has
//! gone to its endpoint. Their answers are dropped, and their failures are nobody's; must never delay the request.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::request;
use http_body::Body;
use mesh::RouteRule;

use super::target::Target;
use super::trying::Way;
use crate::http::body::AnswerBody;
use crate::http::passing::{passed_back, unanswered};
use crate::http::replay::Replay;
use crate::http::request_body::RequestBody;
use crate::http::send::{Outgoing, Unsent};
use crate::http::signs::Signs;
use crate::http::state::WorkerState;
use crate::http::tally::Tally;

/// Most copies under way on one worker: a mirror that hangs must not gather the requests of minutes.
const COPIES_MAX: u32 = 256;

/// Longest time for one copy, the wait for the request's body included.
const COPY_TIME: Duration = Duration::from_secs(10);

/// Most bytes read of a copy's answer; past it the connection is closed instead of used again.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Counts a copy under way until it is dropped.
struct Running(Rc<WorkerState>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

/// Sends copies of `outgoing` to the mirrors of its rule, each to its share of requests.
pub(super) fn mirror(
    rule: &RouteRule,
    targets: &[Rc<Target>],
    outgoing: &mut Outgoing,
    state: &Rc<WorkerState>,
) {
    let mut replay: Option<Option<Replay>> = None;
    for (mirror, target) in rule.filters.mirrors.iter().zip(targets) {
        if state.chance.borrow_mut().below(1_000_000) >= u64::from(mirror.millionths) {
            continue;
        }
        if state.copies.get() >= COPIES_MAX {
            state.count(|counters| counters.copies_dropped_busy_total += 1);
            continue;
        }
        state.copies.set(state.copies.get() + 1);
        let running = Running(Rc::clone(state));
        let body = replay.get_or_insert_with(|| outgoing.upload.has_body().then(|| outgoing.keep_body()));
        let (head, body, target) = (outgoing.parts.clone(), body.clone(), Rc::clone(target));
        tokio::task::spawn_local(async move {
            let copying = copy(head, body, &target, &running.0);
            if tokio::time::timeout(COPY_TIME, copying).await.is_err() {
                running.0.count(|counters| counters.copies_dropped_late_total += 1);
            }
        });
    }
}

/// Sends one copy as soon as its body is there, and reads the answer away.
async fn copy(head: request::Parts, body: Option<Replay>, target: &Target, state: &Rc<WorkerState>) {
    let body = match body {
        None => RequestBody::Empty,
        Some(replay) => match replay.whole().await {
            Some(body) => body,
            None => return state.count(|counters| counters.copies_dropped_large_total += 1),
        },
    };
    state.count(|counters| counters.copies_sent_total += 1);
    let mut tally = Tally::open(state, &Rc::new(Signs::default()), target.unpicked, Instant::now());
    let mut outgoing = Outgoing::new(head, body);
    let sent = match &target.own {
        Some(cluster) => {
            let way = Way { state, cluster, target, key: None, pinned: None };
            way.send(&mut outgoing, &mut tally).await
        }
        None => Err(Unsent::Lost(crate::http::refusal::Refusal::NoEndpoint)),
    };
    match sent {
        Ok(answer) => read_away(passed_back(answer, tally).into_body()).await,
        Err(unsent) => drop(unanswered(unsent, false, tally)),
    }
}

async fn read_away(mut body: AnswerBody) {
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}
