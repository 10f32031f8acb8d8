//! Three nodes of ours and three of etcd on the same disk, in turn: writes, linearizable reads, memory, what happens to the
//! leader, restarts. Each scenario prints its figures; one table with all ratios comes last.

use std::time::{Duration, Instant};

use crate::Options;
use crate::asks::Ask;
use crate::cluster::{Cluster, NODES, Store};
use crate::failover::{self, Event, Outage};
use crate::load::{self, Load, To};
use crate::machine::Machine;
use crate::overload;
use crate::process::Failed;
use crate::restart;
use crate::summary::{Better, Summary};
use crate::table::{median, print};

/// Closed loops that run at once.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// Clients of the row that reads from followers.
const FOLLOWER_CLIENTS: usize = 64;
/// Entries, and things, that a restarted node holds.
const ENTRIES: u64 = 100_000;
/// Restarts of one node, and of all: each of ours is followed by one of etcd's.
const RESTARTS: (usize, usize) = (7, 5);

/// Outages that are told one by one, with what the machine did meanwhile: the slowest, of those longer than a hand-over is
/// promised to be.
const SLOW: (usize, f64) = (10, 20.0);

/// How long the trials of one kind of event go on at most, so that a slow machine ends with fewer of them.
const EVENTS_LAST: Duration = Duration::from_secs(200);

/// What can be run alone; `overload`, which has no peer, too.
const SCENARIOS: [&str; 7] = ["writes", "reads", "failover", "frozen", "stopped", "transfer", "restart"];

/// One run of the benchmark.
struct Run<'a> {
    options: &'a Options,
    ours: Cluster,
    theirs: Cluster,
    machine: Machine,
    summary: Summary,
}

/// Prints the tables of the scenarios asked for.
pub(crate) async fn run(options: &Options) -> Result<(), Failed> {
    if SCENARIOS.iter().any(|name| options.wants(name)) {
        beside_etcd(options).await?;
    }
    if options.wants("overload") {
        overload::run(options).await?;
    }
    Ok(())
}

async fn beside_etcd(options: &Options) -> Result<(), Failed> {
    let ours = Cluster::start(Store::Penstock, options.penstock.clone()).await?;
    let theirs = Cluster::start(Store::Etcd, options.etcd.clone()).await?;
    let machine = Machine::watch(ours.directory())?;
    let mut run = Run { options, ours, theirs, machine, summary: Summary::default() };
    let started = Instant::now();
    let ended = run.scenarios().await;
    run.summary.print(started.elapsed());
    ended
}

impl Run<'_> {
    async fn scenarios(&mut self) -> Result<(), Failed> {
        let wanted = SCENARIOS.map(|name| self.options.wants(name));
        let [writes, reads, failover, frozen, stopped, transfer, restart] = wanted;
        if writes || reads {
            self.memory("idle").await?;
        }
        if writes {
            self.loads(Ask::Write, "durable writes to the leader", false).await?;
        }
        if reads {
            self.loads(Ask::Read, "linearizable reads from the leader", false).await?;
            self.loads(Ask::Read, "linearizable reads from followers", true).await?;
        }
        for (wanted, event, trials) in [
            (failover, Event::Killed, (self.options.kills, self.options.etcd_kills)),
            (frozen, Event::Frozen, (self.options.kills.div_ceil(4), self.options.etcd_kills.div_ceil(2))),
            (stopped, Event::Stopped, (self.options.kills.div_ceil(4), self.options.etcd_kills)),
        ] {
            if wanted {
                self.event(event, trials).await?;
            }
        }
        if transfer {
            self.transfer().await?;
        }
        if restart {
            self.restart().await?;
        }
        Ok(())
    }

    /// Both stores in turn, `rounds` times, at each number of clients.
    async fn loads(&mut self, ask: Ask, title: &str, followers: bool) -> Result<(), Failed> {
        let mut rows = Vec::new();
        let counts = if followers { &[FOLLOWER_CLIENTS][..] } else { &CLIENTS };
        for clients in counts.iter().copied() {
            let (mut us, mut them) = (Vec::new(), Vec::new());
            for round in 0..self.options.rounds {
                for (cluster, loads) in [(&self.ours, &mut us), (&self.theirs, &mut them)] {
                    cluster.ready().await?;
                    let leader = cluster.leader().await?;
                    if ask == Ask::Read {
                        load::lay_out(cluster, leader)?;
                    }
                    let to = if followers { To::AllBut(leader) } else { To::One(leader) };
                    // Letters that a service's name may have.
                    let name = format!("{ask:?}-{clients}-{round}").to_lowercase();
                    loads.push(load::run(cluster, to, ask, clients, &name, self.options.measure)?);
                }
            }
            rows.push(load_row(clients, &us, &them));
            let per_second = |loads: &[Load]| loads.iter().map(|load| load.per_second).collect::<Vec<_>>();
            let what = format!("{title}, {clients} client{}: calls/s", if clients == 1 { "" } else { "s" });
            self.summary.row(what, &per_second(&us), &per_second(&them), Better::More, target(ask, clients));
        }
        let head = [
            "clients",
            "ours/s",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "etcd/s",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "ratio",
            "CPU ratio",
            "load us",
            "failed",
        ];
        print(&capitalized(title), &head, &rows);
        self.memory(&format!("after {title}")).await
    }

    async fn event(&mut self, event: Event, (ours, theirs): (usize, usize)) -> Result<(), Failed> {
        let (mut us, mut them) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + EVENTS_LAST;
        // One of etcd's among every few of ours, so that both see the same machine.
        let every = ours.div_ceil(theirs.max(1)).max(1);
        for number in 0..ours {
            if Instant::now() > deadline {
                break;
            }
            us.push(failover::trial(&mut self.ours, &self.machine, event, number).await?);
            if number % every == 0 && them.len() < theirs {
                them.push(failover::trial(&mut self.theirs, &self.machine, event, number).await?);
            }
        }
        self.outages(event.title(), &us, &them);
        Ok(())
    }

    async fn transfer(&mut self) -> Result<(), Failed> {
        let (mut us, mut them) = (Vec::new(), Vec::new());
        let (mut us_idle, mut them_idle) = (Vec::new(), Vec::new());
        for number in 0..self.options.etcd_kills {
            us.push(failover::hand_over(&self.ours, &self.machine, number).await?);
            them.push(failover::hand_over(&self.theirs, &self.machine, number).await?);
            us_idle.push(failover::nothing(&self.ours, &self.machine, number).await?);
            them_idle.push(failover::nothing(&self.theirs, &self.machine, number).await?);
        }
        self.outages("leadership handed over by command: longest ms without a write", &us, &them);
        self.outages("nothing happens for 600 ms: longest ms without a write", &us_idle, &them_idle);
        Ok(())
    }

    /// Times without a write, for the one table; those that took long also one by one.
    fn outages(&mut self, what: &str, ours: &[Outage], theirs: &[Outage]) {
        let times = |outages: &[Outage]| outages.iter().map(|outage| outage.ms).collect::<Vec<_>>();
        self.summary.spread(what, &mut times(ours), &mut times(theirs));
        let of_both =
            ours.iter().map(|outage| ("ours", outage)).chain(theirs.iter().map(|outage| ("etcd", outage)));
        let mut slow: Vec<_> = of_both.filter(|(_, outage)| outage.ms > SLOW.1).collect();
        slow.sort_by(|one, other| other.1.ms.total_cmp(&one.1.ms));
        let rows: Vec<Vec<String>> = slow
            .into_iter()
            .take(SLOW.0)
            .map(|(store, outage)| {
                let figures = [outage.ms, outage.disk_ms, outage.late_ms];
                std::iter::once(store.to_owned()).chain(figures.map(|ms| format!("{ms:.0}"))).collect()
            })
            .collect();
        let head = ["store", "ms", "the disk for a lone write", "a lone thread too late"];
        print(&format!("The slowest above {} ms, and the machine meanwhile: {what}", SLOW.1), &head, &rows);
    }

    async fn restart(&mut self) -> Result<(), Failed> {
        for cluster in [&self.ours, &self.theirs] {
            cluster.ready().await?;
            load::fill(cluster, cluster.leader().await?, ENTRIES, "fill")?;
        }
        self.memory("with 100,000 things").await?;
        let titles = ["node", "snapshots", "mean ms", "longest ms, at most"];
        print(
            "How long ours stood still to copy its catalog for a snapshot meanwhile",
            &titles,
            &self.ours.pauses()?,
        );
        let (mut us, mut them) = (Vec::new(), Vec::new());
        for _ in 0..RESTARTS.0 {
            us.push(restart::one_node(&mut self.ours).await?);
            them.push(restart::one_node(&mut self.theirs).await?);
        }
        self.summary.spread("one node restarted with 100,000 things: ms to a read", &mut us, &mut them);
        let (mut us, mut them) = (Vec::new(), Vec::new());
        for number in 0..RESTARTS.1 {
            us.push(restart::all_nodes(&mut self.ours, number).await?);
            them.push(restart::all_nodes(&mut self.theirs, number).await?);
        }
        self.summary.spread("all nodes killed and restarted with them: ms to a write", &mut us, &mut them);
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)] // MiB of a process
    async fn memory(&mut self, when: &str) -> Result<(), Failed> {
        self.ours.ready().await?;
        self.theirs.ready().await?;
        let mib = |cluster: &Cluster| -> Result<Vec<f64>, Failed> {
            Ok(cluster.resident_mib()?.into_iter().map(|mib| mib as f64).collect())
        };
        let (us, them) = (mib(&self.ours)?, mib(&self.theirs)?);
        debug_assert_eq!(us.len(), NODES);
        self.summary.row(format!("resident MiB of a node, {when}"), &us, &them, Better::Less, "");
        Ok(())
    }
}

/// What the design promises of a load.
fn target(ask: Ask, clients: usize) -> &'static str {
    match (ask, clients) {
        (Ask::Write, 1) => ">= 2",
        (Ask::Write, 64 | 256) => ">= 4",
        (Ask::Write, _) => "",
        (Ask::Read, _) => ">= 10",
    }
}

fn capitalized(title: &str) -> String {
    let mut characters = title.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + characters.as_str())
        .unwrap_or_default()
}

fn load_row(clients: usize, ours: &[Load], theirs: &[Load]) -> Vec<String> {
    let middle = |loads: &[Load], figure: fn(&Load) -> f64| median(loads.iter().map(figure).collect());
    let of_pairs = |figure: fn(&Load) -> f64| {
        format!(
            "{:.2}",
            median(ours.iter().zip(theirs).map(|(us, them)| figure(us) / figure(them)).collect())
        )
    };
    let mut row = vec![clients.to_string()];
    for loads in [ours, theirs] {
        row.push(format!("{:.0}", middle(loads, |load| load.per_second)));
        row.push(format!("{:.2}", middle(loads, |load| load.p50_ms)));
        row.push(format!("{:.2}", middle(loads, |load| load.p99_ms)));
        row.push(format!("{:.0}", middle(loads, |load| load.servers_us)));
    }
    row.push(of_pairs(|load| load.per_second));
    row.push(of_pairs(|load| load.servers_us));
    row.push(format!("{:.0}", middle(ours, |load| load.client_us)));
    row.push(ours.iter().chain(theirs).map(|load| load.failed).sum::<u64>().to_string());
    row
}
