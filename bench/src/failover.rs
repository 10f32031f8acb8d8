//! What writers notice when the leader goes: killed, frozen, stopped, or asked to hand over. Steady writers that ask every node
//! in turn see it as any client would.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use api::v1::TransferLeadershipRequest;
use api::v1::members_client::MembersClient;
use rustix::process::Signal;

use crate::cluster::{Cluster, NODES, Store};
use crate::etcd;
use crate::machine::Machine;
use crate::process::Failed;
use crate::writes::Writer;

/// Writers that go on throughout.
const WRITERS: usize = 4;
/// How long a writer waits before it asks another node.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);
/// Time from one write to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the writers run before what happens to the leader.
const SETTLE: Duration = Duration::from_millis(300);
/// How long they run after a leader was stopped: its largest gap lies in here.
const WATCHED: Duration = Duration::from_millis(600);
/// How long they run after a hand-over was confirmed. The first write to the next leader follows within milliseconds, and what
/// stalls later has nothing to do with it.
const WATCHED_AFTER_HAND_OVER: Duration = Duration::from_millis(50);
/// How long an outage may last before the benchmark is given up.
const OUTAGE_MAX: Duration = Duration::from_secs(20);

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGKILL: its connections end.
    Killed,
    /// SIGSTOP: its connections stay, and it says nothing.
    Frozen,
    /// SIGTERM: it drains, as in a rolling restart.
    Stopped,
}

impl Event {
    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Killed => "leader killed (SIGKILL): ms to a write begun after it",
            Self::Frozen => "leader frozen (SIGSTOP): ms to a write begun after it",
            Self::Stopped => "leader stopped (SIGTERM): longest ms without a write",
        }
    }
}

/// A time without a write, and what the machine did in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    /// How long it was.
    pub(crate) ms: f64,
    /// The longest that a lone thread slept too long.
    pub(crate) late_ms: f64,
    /// The longest that the disk took for the write of that thread.
    pub(crate) disk_ms: f64,
}

impl Outage {
    fn new(machine: &Machine, (from, until): Span) -> Self {
        let (late, disk) = machine.worst(from, until);
        Self { ms: milliseconds(until - from), late_ms: milliseconds(late), disk_ms: milliseconds(disk) }
    }
}

/// From when to when.
type Span = (Instant, Instant);

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// When a try that succeeded began and ended. Only a try that began after the kill proves a new leader.
type Success = (Instant, Instant);

/// Runs `happen` beside steady writers once these have settled, and tells what they had written when it ended.
pub(crate) async fn beside_writers<T>(
    cluster: &Cluster,
    name: &str,
    happen: impl AsyncFnOnce(&RefCell<Vec<Success>>) -> Result<T, Failed>,
) -> Result<(T, Vec<Success>), Failed> {
    let (successes, stop) = (RefCell::default(), Cell::new(false));
    let writers = (0..WRITERS).map(|writer| write_on(cluster, format!("{name}-{writer}"), &successes, &stop));
    let happening = async {
        tokio::time::sleep(SETTLE).await;
        let happened = happen(&successes).await;
        stop.set(true); // also after a failure, or the writers would go on for ever
        happened
    };
    let happened = futures_util::future::join(futures_util::future::join_all(writers), happening).await.1?;
    Ok((happened, successes.take()))
}

/// Writes as `name` until it is told to stop, wherever a write is taken.
async fn write_on(cluster: &Cluster, name: String, successes: &RefCell<Vec<Success>>, stop: &Cell<bool>) {
    let mut writer = Writer::new(cluster.store, name);
    let mut node = 0;
    while !stop.get() {
        let mut begun = Instant::now();
        let mut answer = tokio::time::timeout(WRITE_TIMEOUT, writer.write(cluster.channel(node))).await;
        while !matches!(answer, Ok(Ok(()))) && !stop.get() {
            node = (node + 1) % NODES;
            tokio::time::sleep(PAUSE).await;
            begun = Instant::now();
            answer = tokio::time::timeout(WRITE_TIMEOUT, writer.again(cluster.channel(node))).await;
        }
        if matches!(answer, Ok(Ok(()))) {
            successes.borrow_mut().push((begun, Instant::now()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One trial: the time without the service, as [`Event::title`] says. The cluster is whole again after it.
pub(crate) async fn trial(
    cluster: &mut Cluster,
    machine: &Machine,
    event: Event,
    number: usize,
) -> Result<Outage, Failed> {
    cluster.ready().await?;
    let leader = cluster.leader().await?;
    let mut victim = cluster.take(leader);
    let name = format!("{event:?}-{number}").to_lowercase();
    let (happened, successes) = beside_writers(cluster, &name, async |successes| {
        let happened = Instant::now();
        match event {
            Event::Killed => victim.kill(),
            Event::Frozen => victim.signal(Signal::STOP)?,
            Event::Stopped => victim.signal(Signal::TERM)?,
        }
        match event {
            Event::Stopped => tokio::time::sleep(WATCHED).await,
            Event::Killed | Event::Frozen => until_served(successes, happened).await,
        }
        Ok(happened)
    })
    .await?;
    let outage = match event {
        Event::Killed | Event::Frozen => first_after(&successes, happened).map(|served| (happened, served)),
        Event::Stopped => longest(&successes, happened, happened + WATCHED),
    };
    match event {
        Event::Frozen => {
            victim.signal(Signal::CONT)?;
            cluster.give_back(leader, victim);
        }
        Event::Stopped => {
            victim.ended(10).await;
            cluster.restart(leader)?;
        }
        Event::Killed => cluster.restart(leader)?,
    }
    let outage = outage.map(|span| Outage::new(machine, span));
    outage.ok_or_else(|| Failed::Other(format!("no write succeeded within {OUTAGE_MAX:?} of {event:?}")))
}

async fn until_served(successes: &RefCell<Vec<Success>>, happened: Instant) {
    let over = || successes.borrow().iter().any(|(begun, _)| *begun > happened);
    while !over() && happened.elapsed() < OUTAGE_MAX {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The end of the first try that began after `happened`.
fn first_after(successes: &[Success], happened: Instant) -> Option<Instant> {
    successes.iter().filter(|(begun, _)| *begun > happened).map(|(_, end)| *end).min()
}

/// The longest time without a write.
pub(crate) fn longest(successes: &[Success], from: Instant, until: Instant) -> Option<Span> {
    gaps(successes, from, until).into_iter().max_by_key(|(from, until)| *until - *from)
}

/// Times without a write, from the last write before `from` on; also the one from the last write to `until`, since nothing may
/// have come at all.
fn gaps(successes: &[Success], from: Instant, until: Instant) -> Vec<Span> {
    let mut ends: Vec<Instant> = successes.iter().map(|(_, end)| *end).collect();
    ends.sort_unstable();
    let first = ends.partition_point(|end| *end < from).saturating_sub(1);
    ends.push(ends.last().map_or(until, |last| until.max(*last)));
    ends[first..].windows(2).map(|pair| (pair[0], pair[1])).take_while(|(begun, _)| *begun < until).collect()
}

/// One trial of a hand-over that nobody dies of: the longest time without a write.
pub(crate) async fn hand_over(cluster: &Cluster, machine: &Machine, number: usize) -> Result<Outage, Failed> {
    cluster.ready().await?;
    let leader = cluster.leader().await?;
    watched(cluster, machine, &format!("hand-over-{number}"), async || {
        transfer(cluster, leader).await?;
        tokio::time::sleep(WATCHED_AFTER_HAND_OVER).await;
        Ok(())
    })
    .await
}

/// The same while nothing happens, for as long as a stop is watched: what of a tail is not the hand-over's.
pub(crate) async fn nothing(cluster: &Cluster, machine: &Machine, number: usize) -> Result<Outage, Failed> {
    cluster.ready().await?;
    let happens = async || {
        tokio::time::sleep(WATCHED).await;
        Ok(())
    };
    watched(cluster, machine, &format!("nothing-{number}"), happens).await
}

/// The longest time without a write from the beginning of what happens to its end.
async fn watched(
    cluster: &Cluster,
    machine: &Machine,
    name: &str,
    happens: impl AsyncFnOnce() -> Result<(), Failed>,
) -> Result<Outage, Failed> {
    let ((from, until), successes) = beside_writers(cluster, name, async |_| {
        let from = Instant::now();
        happens().await?;
        Ok((from, Instant::now()))
    })
    .await?;
    let outage = longest(&successes, from, until).map(|span| Outage::new(machine, span));
    outage.ok_or_else(|| Failed::Other(format!("no write succeeded beside {name}")))
}

async fn transfer(cluster: &Cluster, leader: usize) -> Result<(), Failed> {
    let other = (leader + 1) % NODES;
    let failed = |status: tonic::Status| Failed::Other(format!("the hand-over was refused: {status}"));
    match cluster.store {
        Store::Penstock => {
            let request = TransferLeadershipRequest { node: other as u64 + 1 };
            MembersClient::new(cluster.channel(leader)).transfer(request).await.map_err(failed)?;
        }
        Store::Etcd => {
            let target = etcd::member(cluster.channel(other)).await.map_err(failed)?;
            etcd::move_leader(cluster.channel(leader), target).await.map_err(failed)?;
        }
    }
    Ok(())
}
