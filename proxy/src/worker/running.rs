//! One worker while it runs: accepts connections, sweeps, answers the control thread, and drains in steps.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use mesh::Direction;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::{DrainPlan, Listeners, Start, Taken};
use crate::http::connection::{self, Serve};
use crate::http::state::{Closing, WorkerState};
use crate::inbound::Inbound;
use crate::outbound::Outbound;

/// How long idle connections stay open after the last accept, so that a caller who is just sending gets its answer (and
/// the word that the connection closes) instead of a reset. At most half of what is left of the drain.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// How long accepting pauses when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the control thread says to a worker.
#[derive(Debug)]
pub(super) enum Message {
    /// Hand over what was counted.
    Take(oneshot::Sender<Taken>),
    /// Begin to end.
    Drain(DrainPlan),
}

/// The parts of a running worker.
struct Worker {
    state: Rc<WorkerState>,
    outbound: Rc<Outbound>,
    inbound: Option<Rc<Inbound>>,
}

/// Runs a worker until it has drained, or the control thread has let go of it.
pub(super) async fn run(start: Start) {
    let Start { settings, limits, number, published, demand, mut messages, last, .. } = start;
    let Listeners { outbound: listener, inbound: inbound_listener } = start.listeners;
    let seed = settings.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9));
    let state = WorkerState::new(&settings.workload, seed, limits);
    let worker = Worker {
        outbound: Outbound::new(&state, &published, demand),
        inbound: settings
            .inbound
            .as_ref()
            .map(|inbound| Inbound::new(&state, inbound.application, inbound.protocol, &inbound.serves)),
        state,
    };
    let registered = "a listener that was just bound can be registered";
    let listener = TcpListener::from_std(listener).expect(registered);
    let inbound_listener =
        inbound_listener.map(|listener| TcpListener::from_std(listener).expect(registered));
    let plan = {
        let accepting = async {
            let outbound = accept(&listener, Direction::Outbound, &worker.state, &worker.outbound);
            match (&inbound_listener, &worker.inbound) {
                (Some(listener), Some(inbound)) => {
                    let inbound = accept(listener, Direction::Inbound, &worker.state, inbound);
                    futures_util::future::join(outbound, inbound).await;
                }
                _ => outbound.await,
            }
        };
        let mut accepting = pin!(accepting);
        let plan = worker.listen(&mut messages, accepting.as_mut()).await;
        if let Some(plan) = &plan {
            worker.state.close_all(Closing::AfterAnswer);
            let accept_until = Instant::now() + plan.accept_for;
            worker.answer_until(&mut messages, accept_until, accepting.as_mut()).await;
        }
        plan
    };
    if let Some(plan) = plan {
        // What the kernel has accepted for us already must not be reset with the listener.
        take_rest(&listener, Direction::Outbound, &worker.state, &worker.outbound);
        if let (Some(listener), Some(inbound)) = (&inbound_listener, &worker.inbound) {
            take_rest(listener, Direction::Inbound, &worker.state, inbound);
        }
        drop((listener, inbound_listener));
        worker.finish(&mut messages, plan).await;
    }
    let _ = last.send(worker.taken()); // the control thread may have let go already
}

impl Worker {
    /// Serves until a drain is asked for; `None` when nobody can ask any more.
    async fn listen(
        &self,
        messages: &mut tokio::sync::mpsc::Receiver<Message>,
        mut accepting: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Option<DrainPlan> {
        let mut ticks = tokio::time::interval(self.state.limits.sweep);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut accepting => {}
                _ = ticks.tick() => self.sweep(),
                message = messages.recv() => match message? {
                    Message::Take(answer) => { let _ = answer.send(self.taken()); }
                    Message::Drain(plan) => return Some(plan),
                },
            }
        }
    }

    /// Goes on sweeping and answering, and polls `aside`, until `deadline` or until `aside` has ended.
    async fn answer_until(
        &self,
        messages: &mut tokio::sync::mpsc::Receiver<Message>,
        deadline: Instant,
        mut aside: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) {
        let mut ticks = tokio::time::interval(self.state.limits.sweep);
        loop {
            tokio::select! {
                () = &mut aside => return,
                () = tokio::time::sleep_until(deadline) => return,
                _ = ticks.tick() => self.sweep(),
                Some(message) = messages.recv() => {
                    if let Message::Take(answer) = message {
                        let _ = answer.send(self.taken());
                    }
                }
            }
        }
    }

    /// Lets what runs end: callers who send once more are told to close, then idle connections close, then time is up.
    async fn finish(&self, messages: &mut tokio::sync::mpsc::Receiver<Message>, plan: DrainPlan) {
        let left = plan.finish_within.saturating_sub(plan.accept_for);
        let deadline = Instant::now() + left;
        let grace = Instant::now() + IDLE_GRACE.min(left / 2);
        self.answer_until(messages, grace, pin!(self.all_closed())).await;
        self.state.close_all(Closing::WhenIdle);
        self.answer_until(messages, deadline, pin!(self.all_closed())).await;
        self.state.count(|counters| counters.cut_off_total += counters.requests_running);
    }

    async fn all_closed(&self) {
        loop {
            let ended = self.state.ended.notified();
            if self.state.open_connections() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.state.sweep(now);
        self.outbound.sweep(now.into_std());
        if let Some(inbound) = &self.inbound {
            inbound.sweep(now.into_std());
        }
    }

    fn taken(&self) -> Taken {
        let edges = self.state.edges.borrow_mut().take();
        Taken { edges, counters: self.state.counters() }
    }
}

/// Accepts for as long as it is polled.
async fn accept<S: Serve>(
    listener: &TcpListener,
    direction: Direction,
    state: &Rc<WorkerState>,
    service: &Rc<S>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open(stream, direction, state, service),
            Err(error) => {
                // A caller that left is nothing; a system without sockets gets better only with time.
                tracing::debug!(%error, "a connection could not be accepted");
                if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Takes in the connections that wait in the kernel, without waiting for more.
fn take_rest<S: Serve>(
    listener: &TcpListener,
    direction: Direction,
    state: &Rc<WorkerState>,
    service: &Rc<S>,
) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut cx) {
        open(stream, direction, state, service);
    }
}

fn open<S: Serve>(stream: TcpStream, direction: Direction, state: &Rc<WorkerState>, service: &Rc<S>) {
    let _ = stream.set_nodelay(true); // fails only on a socket that is gone, which its first read tells
    match state.open(direction) {
        Some(opened) => {
            tokio::task::spawn_local(connection::serve(stream, opened, Rc::clone(state), Rc::clone(service)));
        }
        None => {
            state.count(|counters| counters.connections_refused_total += 1);
            connection::turn_away(&stream);
        }
    }
}
