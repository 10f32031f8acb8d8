//! One worker while it runs: accepts connections, sweeps, answers the control thread, and drains in steps.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use mesh::Direction;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior};

use super::{DrainPlan, Idle, Listeners, Role, Start, Taken};
use crate::http::connection;
use crate::http::dial::keep_alive;
use crate::http::own;
use crate::http::refusal::Refusal;
use crate::http::signs::Closing;
use crate::http::state::{OpenConnection, Opened, WorkerState};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::resources::{Use, is_one_too_many};

/// How long idle connections stay open after the last accept, so that a caller who is just sending gets its answer (and
/// the word that the connection closes) instead of a reset. At most half of what is left of the drain.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Part of a drain for which idle connections are kept while another process takes the new ones.
const KEEP_PART: f32 = 0.8;

/// How long accepting pauses when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the control thread says to a worker.
#[derive(Debug)]
pub(super) enum Message {
    /// Hand over what was counted.
    Take(oneshot::Sender<Taken>),
    /// Say which connections are open: how many, and the oldest of them up to a limit.
    Connections(usize, oneshot::Sender<(usize, Vec<OpenConnection>)>),
    /// Say how many requests run, and how many connections are carried as bytes.
    Running(oneshot::Sender<u64>),
    /// Hand out descriptors of every listener.
    Listeners(oneshot::Sender<Vec<(Role, OwnedFd)>>),
    /// Begin to end.
    Drain(DrainPlan),
}

/// The parts of a running worker.
struct Worker {
    state: Rc<WorkerState>,
    outbound: Rc<Outbound>,
    inbound: Option<Rc<Inbound>>,
}

/// A listener, and what becomes of a connection that comes in there.
struct Door {
    role: Role,
    listener: TcpListener,
    direction: Direction,
    /// Only HTTP is spoken here: one connection too many can be told why.
    is_http: bool,
    take: Box<dyn Fn(TcpStream, Opened)>,
}

/// Runs a worker until it has drained, or the control thread has let go of it.
pub(super) async fn run(start: Start) {
    let Start { settings, limits, number, listeners, published, demand, mut messages, last } = start;
    let seed = settings.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9));
    let (pressure, recorder) = (settings.pressure.clone(), settings.recorder.clone());
    let state = WorkerState::new(&settings.workload, &settings.locality, seed, limits, pressure, recorder);
    let worker = Worker {
        outbound: Outbound::new(&state, &published, demand, settings.has_control),
        inbound: settings.inbound.as_ref().map(|inbound| {
            let super::InboundSettings { application, protocol, mode, serves, requests_max, .. } = inbound;
            Inbound::new(&state, *application, *protocol, *mode, serves, *requests_max)
        }),
        state,
    };
    if settings.intercept {
        own::keep();
    }
    let doors = worker.doors(listeners, settings.intercept);
    let plan = {
        let accepting = doors.iter().map(|door| Box::pin(door.accept(&worker.state)));
        let accepting = async {
            futures_util::future::join_all(accepting).await;
        };
        let mut accepting = pin!(accepting);
        let plan = worker.listen(&mut messages, accepting.as_mut(), &doors).await;
        if let Some(plan) = &plan {
            worker.state.close_all(Closing::AfterAnswer);
            let accept_until = Instant::now() + plan.accept_for;
            worker.answer_until(&mut messages, accept_until, accepting.as_mut()).await;
        }
        plan
    };
    if let Some(plan) = plan {
        // What the kernel has accepted for us already must not be reset with the listener.
        doors.iter().for_each(|door| door.take_rest(&worker.state));
        drop(doors);
        worker.finish(&mut messages, plan).await;
    }
    let _ = last.send(worker.taken()); // the control thread may have let go already
}

impl Worker {
    /// Every listener with what it is for.
    fn doors(&self, listeners: Listeners, intercept: bool) -> Vec<Door> {
        let mut doors = Vec::new();
        for listener in listeners.outbound {
            let (state, outbound) = (Rc::clone(&self.state), Rc::clone(&self.outbound));
            let port = port_of(&listener);
            let take = move |stream, opened| {
                let outbound = Rc::clone(&outbound);
                if intercept {
                    spawn_local(outbound.arrived(stream, opened, port));
                } else {
                    spawn_local(connection::serve(stream, opened, Rc::clone(&state), outbound));
                }
            };
            doors.push(Door::new(Role::Outbound, listener, Direction::Outbound, !intercept, take));
        }
        for (listener, inbound) in listeners.inbound.into_iter().zip(self.inbound.iter().cycle()) {
            let (inbound, is_http) = (Rc::clone(inbound), inbound.is_http() && !intercept);
            let port = port_of(&listener);
            let take = move |stream, opened| {
                let inbound = Rc::clone(&inbound);
                if intercept {
                    spawn_local(inbound.arrived(stream, opened, port));
                } else {
                    spawn_local(inbound.take(stream, opened));
                }
            };
            doors.push(Door::new(Role::Inbound, listener, Direction::Inbound, is_http, take));
        }
        for (authority, listener) in listeners.upstreams {
            let name = authority.to_string();
            let (outbound, text) = (Rc::clone(&self.outbound), Rc::<[u8]>::from(name.as_bytes()));
            let take = move |stream, opened| {
                spawn_local(Rc::clone(&outbound).take(stream, opened, Rc::clone(&text), false));
            };
            doors.push(Door::new(Role::Upstream(name), listener, Direction::Outbound, false, take));
        }
        doors
    }

    /// Serves until a drain is asked for; `None` when nobody can ask any more.
    async fn listen(
        &self,
        messages: &mut tokio::sync::mpsc::Receiver<Message>,
        mut accepting: std::pin::Pin<&mut impl Future<Output = ()>>,
        doors: &[Door],
    ) -> Option<DrainPlan> {
        let mut ticks = tokio::time::interval(self.state.limits.sweep);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut accepting => {}
                _ = ticks.tick() => self.sweep(),
                message = messages.recv() => match message? {
                    Message::Drain(plan) => return Some(plan),
                    Message::Listeners(answer) => {
                        drop(answer.send(doors.iter().filter_map(Door::handed_out).collect()));
                    }
                    question => self.answer(question),
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
                Some(message) = messages.recv() => self.answer(message),
            }
        }
    }

    /// Answers a question; who asked may have gone. A second drain changes nothing.
    fn answer(&self, message: Message) {
        match message {
            Message::Take(answer) => drop(answer.send(self.taken())),
            Message::Connections(limit, answer) => {
                let shown = self.state.oldest_connections(limit);
                drop(answer.send((self.state.open_connections(), shown)));
            }
            Message::Running(answer) => {
                let counters = self.state.counters.borrow();
                let _ = answer.send(counters.requests_running + counters.tunnels);
            }
            // Who drains hands nothing out; that a question stays unanswered says so.
            Message::Drain(_) | Message::Listeners(_) => {}
        }
    }

    /// Lets what runs end: callers who send once more are told to close, then idle connections close, then time is up.
    async fn finish(&self, messages: &mut tokio::sync::mpsc::Receiver<Message>, plan: DrainPlan) {
        let left = plan.finish_within.saturating_sub(plan.accept_for);
        let deadline = Instant::now() + left;
        let idle = match plan.idle {
            Idle::CloseSoon => IDLE_GRACE.min(left / 2),
            Idle::KeepLong => left.mul_f32(KEEP_PART),
        };
        let grace = Instant::now() + idle;
        self.answer_until(messages, grace, pin!(self.all_closed())).await;
        self.state.close_all(Closing::WhenIdle);
        self.answer_until(messages, deadline, pin!(self.all_closed())).await;
        self.state.count(|counters| counters.cut_off_total += counters.requests_running + counters.tunnels);
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
        let now = std::time::Instant::now();
        let taken = self.state.edges.borrow_mut().take(now);
        if taken.evicted {
            self.outbound.forget_evicted();
            if let Some(inbound) = &self.inbound {
                inbound.forget_evicted();
            }
        }
        let (counters, sets) = (self.state.counters(), self.outbound.sets(now));
        Taken { edges: taken.edges, statuses: taken.statuses, counters, sets }
    }
}

fn port_of(listener: &std::net::TcpListener) -> u16 {
    listener.local_addr().expect("a listener that is bound has an address").port()
}

impl Door {
    /// `take` is told of each connection.
    fn new(
        role: Role,
        listener: std::net::TcpListener,
        direction: Direction,
        is_http: bool,
        take: impl Fn(TcpStream, Opened) + 'static,
    ) -> Self {
        let _ = keep_alive(&listener); // a socket that was bound takes these
        let listener =
            TcpListener::from_std(listener).expect("a listener that does not block can be registered");
        Self { role, listener, direction, is_http, take: Box::new(take) }
    }

    /// A descriptor of its socket for another process.
    fn handed_out(&self) -> Option<(Role, OwnedFd)> {
        Some((self.role.clone(), self.listener.as_fd().try_clone_to_owned().ok()?))
    }

    /// Accepts for as long as it is polled.
    async fn accept(&self, state: &Rc<WorkerState>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.open(stream, peer, state),
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
    fn take_rest(&self, state: &Rc<WorkerState>) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        while let std::task::Poll::Ready(Ok((stream, peer))) = self.listener.poll_accept(&mut cx) {
            self.open(stream, peer, state);
        }
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr, state: &Rc<WorkerState>) {
        let _ = stream.set_nodelay(true); // fails only on a socket that is gone, which its first read tells
        let opened = if is_one_too_many(&stream, Use::Caller) {
            Err(Refusal::OutOfFiles)
        } else {
            state.open(self.direction).ok_or(Refusal::TooManyConnections)
        };
        match opened {
            Ok(opened) => {
                opened.signs.peer.set(Some(peer));
                (self.take)(stream, opened);
            }
            Err(refusal) => {
                state.count_refusal(refusal);
                if self.is_http {
                    connection::turn_away(&stream, refusal);
                }
            }
        }
    }
}
