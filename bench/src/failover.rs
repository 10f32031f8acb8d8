//! kill -9 of the leader under steady writes: how long until a write begun after the kill is acknowledged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NODES};
use crate::process::Failed;
use crate::writes::Writer;

/// Writers that go on throughout.
const WRITERS: usize = 4;
/// How long a writer waits before it asks another node.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);
/// Time from one write to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the writers run before and after a kill.
const SETTLE: Duration = Duration::from_millis(500);

/// When tries that succeeded began and ended. Only a try that began after the kill proves a new leader.
type Successes = Rc<RefCell<Vec<(Instant, Instant)>>>;

async fn write_on(cluster: &Cluster, name: String, successes: Successes, stop: Rc<Cell<bool>>) {
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
        successes.borrow_mut().push((begun, Instant::now()));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Milliseconds from each kill to the first acknowledgement of a write that was tried after it.
pub(crate) async fn unavailability(cluster: &mut Cluster, kills: usize) -> Result<Vec<f64>, Failed> {
    let mut figures = Vec::new();
    for kill in 0..kills {
        cluster.ready().await?;
        let leader = cluster.leader().await?;
        let (successes, stop) = (Successes::default(), Rc::new(Cell::new(false)));
        let killed = {
            let (mut victim, shared) = (cluster.take(leader), &*cluster);
            let writers = (0..WRITERS).map(|writer| {
                write_on(shared, format!("k{kill}-{writer}"), Rc::clone(&successes), Rc::clone(&stop))
            });
            let killer = async {
                tokio::time::sleep(SETTLE).await;
                let killed = Instant::now();
                victim.kill();
                let over = || successes.borrow().iter().any(|(begun, _)| *begun > killed);
                while !over() && killed.elapsed() < Duration::from_secs(20) {
                    tokio::time::sleep(PAUSE).await;
                }
                stop.set(true);
                killed
            };
            futures_util::future::join(futures_util::future::join_all(writers), killer).await.1
        };
        let ends = successes.borrow();
        let after = ends.iter().filter(|(begun, _)| *begun > killed).map(|(_, end)| *end).min();
        let first =
            after.ok_or_else(|| Failed::Other("no write succeeded within 20 s of a kill".to_owned()))?;
        figures.push((first - killed).as_secs_f64() * 1000.0);
        cluster.restart(leader)?;
    }
    Ok(figures)
}
