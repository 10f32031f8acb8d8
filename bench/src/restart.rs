//! Restarts of nodes with a long log: one node until it serves a linearizable read, and all of them, after `kill -9`, until
//! the first write.

use std::time::{Duration, Instant};

use api::v1::EndpointsRequest;
use api::v1::query_client::QueryClient;

use crate::cluster::{Cluster, NODES, Store};
use crate::etcd;
use crate::process::Failed;
use crate::writes::Writer;

/// How long a restart may take before the benchmark is given up.
const LONGEST: Duration = Duration::from_secs(60);
/// How long one try may take before the next.
const TRY: Duration = Duration::from_secs(1);
/// Time between two tries: the resolution of the figure.
const PAUSE: Duration = Duration::from_millis(2);

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Tries until one succeeds; milliseconds from `since`.
async fn first_success<F: AsyncFnMut() -> bool>(
    since: Instant,
    what: &str,
    mut tried: F,
) -> Result<f64, Failed> {
    while !tokio::time::timeout(TRY, tried()).await.unwrap_or(false) {
        if since.elapsed() > LONGEST {
            return Err(Failed::Other(format!("{what} did not succeed within {LONGEST:?} of the start")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(milliseconds(since.elapsed()))
}

/// kill -9 of a follower, and from its start to the first linearizable read that it answers.
pub(crate) async fn one_node(cluster: &mut Cluster) -> Result<f64, Failed> {
    cluster.ready().await?;
    let node = (cluster.leader().await? + 1) % NODES;
    cluster.take(node).kill();
    cluster.restart(node)?;
    let (started, shared) = (Instant::now(), &*cluster);
    first_success(started, "a read of the restarted node", async || {
        let Ok(channel) = shared.fresh_channel(node) else { return false };
        match shared.store {
            Store::Etcd => etcd::range(channel, "no-such-key").await.is_ok(),
            Store::Penstock => {
                let none =
                    EndpointsRequest { namespace: "no-such".to_owned(), ..EndpointsRequest::default() };
                QueryClient::new(channel).endpoints(none).await.is_ok()
            }
        }
    })
    .await
}

/// kill -9 of all nodes at once, and from their start to the first write that any of them takes.
pub(crate) async fn all_nodes(cluster: &mut Cluster, number: usize) -> Result<f64, Failed> {
    cluster.ready().await?;
    let mut victims: Vec<_> = (0..NODES).map(|node| cluster.take(node)).collect();
    victims.iter_mut().for_each(crate::process::Process::kill);
    let started = Instant::now();
    for node in 0..NODES {
        cluster.restart(node)?;
    }
    let (shared, mut node) = (&*cluster, 0);
    let mut writer = Writer::new(shared.store, format!("restart-{number}"));
    let mut begun = false;
    first_success(started, "a write to the restarted cluster", async || {
        node = (node + 1) % NODES;
        let Ok(channel) = shared.fresh_channel(node) else { return false };
        match std::mem::replace(&mut begun, true) {
            false => writer.write(channel).await.is_ok(),
            true => writer.again(channel).await.is_ok(),
        }
    })
    .await
}
