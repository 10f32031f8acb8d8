//! What writers notice when the leader goes: killed, frozen, stopped, or asked to hand over. Steady writers that ask every node
//! in turn see it as any client would.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use api::v1::TransferLeadershipRequest;
use api::v1::members_client::MembersClient;
use rustix::process::Signal;

use crate::cluster::{Cluster, NODES, Store};
use crate::etcd;
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
/// How long they run after a leader went in good order: its largest gap lies in here.
const WATCHED: Duration = Duration::from_millis(600);
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

/// One trial: milliseconds without the service, as [`Event::title`] says. The cluster is whole again after it.
pub(crate) async fn trial(cluster: &mut Cluster, event: Event, number: usize) -> Result<f64, Failed> {
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
    let figure = figure(event, &successes, happened);
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
    figure.ok_or_else(|| Failed::Other(format!("no write succeeded within {OUTAGE_MAX:?} of {event:?}")))
}

async fn until_served(successes: &RefCell<Vec<Success>>, happened: Instant) {
    let over = || successes.borrow().iter().any(|(begun, _)| *begun > happened);
    while !over() && happened.elapsed() < OUTAGE_MAX {
        tokio::time::sleep(PAUSE).await;
    }
}

fn figure(event: Event, successes: &[Success], happened: Instant) -> Option<f64> {
    let milliseconds = |span: Duration| span.as_secs_f64() * 1000.0;
    match event {
        Event::Killed | Event::Frozen => {
            let after = successes.iter().filter(|(begun, _)| *begun > happened).map(|(_, end)| *end).min()?;
            Some(milliseconds(after - happened))
        }
        Event::Stopped => gaps(successes, happened, happened + WATCHED).into_iter().max().map(milliseconds),
    }
}

/// Times without a write, from the last write before `from` on; also the one from the last write to `until`, since nothing may
/// have come at all.
pub(crate) fn gaps(successes: &[Success], from: Instant, until: Instant) -> Vec<Duration> {
    let mut ends: Vec<Instant> = successes.iter().map(|(_, end)| *end).collect();
    ends.sort_unstable();
    let first = ends.partition_point(|end| *end < from).saturating_sub(1);
    ends.push(ends.last().map_or(until, |last| until.max(*last)));
    ends[first..].windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// One trial of a hand-over that nobody dies of: the longest milliseconds without a write.
pub(crate) async fn hand_over(cluster: &Cluster, number: usize) -> Result<f64, Failed> {
    cluster.ready().await?;
    let leader = cluster.leader().await?;
    let (happened, successes) = beside_writers(cluster, &format!("hand-over-{number}"), async |_| {
        let happened = Instant::now();
        transfer(cluster, leader).await?;
        tokio::time::sleep(WATCHED.saturating_sub(happened.elapsed())).await;
        Ok(happened)
    })
    .await?;
    let figure = figure(Event::Stopped, &successes, happened);
    figure.ok_or_else(|| Failed::Other("no write succeeded beside a hand-over".to_owned()))
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
