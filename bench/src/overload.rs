//! Whether a machine that has too little CPU makes nodes elect without need: three nodes of ours, four steady writers, and ten
//! threads that only burn for each core. Nobody dies, so each election that is counted is a false one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::Options;
use crate::cluster::{Cluster, NODES, Store};
use crate::failover::{beside_writers, longest};
use crate::process::Failed;
use crate::table::print;

/// Busy threads for each core.
const BURNERS_PER_CORE: usize = 10;

/// Threads that burn until they are dropped.
struct Burners {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Burners {
    fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let burn = |stop: Arc<AtomicBool>| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let threads = (0..count).map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || burn(stop))
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // an error is a panic of its own, which was told
        }
    }
}

/// What the nodes have counted so far.
struct Counted {
    /// The newest term: it rises by one with each election.
    term: f64,
    /// Times that any node asked to lead.
    campaigns: f64,
}

fn counted(cluster: &Cluster) -> Result<Counted, Failed> {
    let mut counted = Counted { term: 0.0, campaigns: 0.0 };
    for node in 0..NODES {
        let metrics = cluster.metrics(node)?;
        let values = |family: &'static str| {
            let rows = metrics.lines().filter(move |line| line.starts_with(family));
            rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        counted.term = values("penstock_raft_term ").fold(counted.term, f64::max);
        counted.campaigns += values("penstock_raft_campaigns_total{").sum::<f64>();
    }
    Ok(counted)
}

/// Burns for as long as the options say, and prints what was elected meanwhile.
pub(crate) async fn run(options: &Options) -> Result<(), Failed> {
    let cluster = Cluster::start(Store::Penstock, options.penstock.clone()).await?;
    let count = BURNERS_PER_CORE * std::thread::available_parallelism()?.get();
    let ((before, after, begun), successes) = beside_writers(&cluster, "overload", async |_| {
        let (before, begun) = (counted(&cluster)?, Instant::now());
        let _burners = Burners::start(count);
        tokio::time::sleep(options.overload).await;
        Ok((before, counted(&cluster)?, begun))
    })
    .await?;
    let ended = Instant::now();
    let writes = successes.iter().filter(|(_, end)| (begun..ended).contains(end)).count();
    let longest = longest(&successes, begun, ended).map_or(ended - begun, |(from, until)| until - from);
    let row = [
        format!("{}", (ended - begun).as_secs()),
        count.to_string(),
        format!("{:.0}", after.term - before.term),
        format!("{:.0}", after.campaigns - before.campaigns),
        writes.to_string(),
        format!("{:.0}", longest.as_secs_f64() * 1000.0),
    ];
    let head = ["seconds", "busy threads", "elections", "asked to lead", "writes", "longest ms without one"];
    print("Nobody dies, and the machine is overloaded (promised: no election)", &head, &[row.to_vec()]);
    Ok(())
}
