//! A proxy's discovery on a host of its own: the real carrier, subscriber and feed over the simulated network. It keeps what
//! its workers would see, and breaks the run if a revision ever falls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::xds::pb::envoy::config::core::v3::Node;
use mesh::{Authority, Revision};
use proxy::discovery::{Addresses, Asked, Bounds, Feed, Subscriber, carry};
use proxy::metrics::Metrics;
use proxy::snapshot::{Demand, Known, Published};
use tokio::sync::{mpsc, watch};

use crate::stage::{NODES, Stage, address, dialler, pause};

/// How often the snapshot is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a follower has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Instances of the service, as of now.
    pub(crate) instances: usize,
    /// Their revision.
    pub(crate) revision: Option<Revision>,
    /// Revisions that it went back by; must stay empty.
    pub(crate) fell: Vec<(Revision, Revision)>,
    /// Whether a stream stands.
    pub(crate) connected: bool,
}

/// A handle to what one follower has seen.
pub(crate) type Shared = Arc<Mutex<Seen>>;

/// Starts a follower of `service` on the host `name`.
pub(crate) fn begin(stage: &mut Stage, name: &'static str, service: &'static str) -> Shared {
    let seen = Shared::default();
    let handed = Arc::clone(&seen);
    stage.sim.host(name, move || follow(name, service, Arc::clone(&handed)));
    seen
}

async fn follow(name: &'static str, service: &'static str, seen: Shared) -> turmoil::Result {
    let published = Published::new();
    let metrics = Metrics::new();
    let (event_sender, events) = mpsc::channel(64);
    let (uplink_sender, uplink) = watch::channel(None);
    let (demand, demands) = mpsc::channel(16);
    let (_used, used) = mpsc::channel(1);
    let addresses = Addresses::new((1..=NODES).map(address).collect(), name).over(dialler());
    // Jitter spreads proxies; one alone needs none.
    tokio::task::spawn_local(carry(addresses, event_sender, uplink_sender, metrics.stream.clone(), || 0.5));
    let node = Node { id: name.to_owned(), user_agent_name: "penstock".to_owned(), ..Node::default() };
    let feed =
        Feed::new(Subscriber::new(node, Bounds::default()), Arc::clone(&published), metrics.feed.clone());
    let (_nobody, questions) = mpsc::channel(1);
    let asked = Asked { demands, questions, uplink: uplink.clone() };
    tokio::task::spawn_local(feed.run(asked, used, events));
    let authority: Authority = service.parse()?;
    demand.send(Demand::Service(authority.clone())).await?;
    loop {
        look(&published, &authority, uplink.borrow().is_some(), &mut seen.lock().unwrap());
        pause(LOOK_EVERY).await;
    }
}

fn look(published: &Published, authority: &Authority, connected: bool, seen: &mut Seen) {
    seen.connected = connected;
    let snapshot = published.current();
    let Some(Known::Service(view)) = snapshot.service(authority) else { return };
    let Some(set) = view.clusters.get(authority) else { return };
    if let Some(before) = seen.revision.filter(|before| set.revision < *before) {
        seen.fell.push((before, set.revision));
    }
    seen.revision = Some(set.revision);
    seen.instances = set.endpoints.len();
}

/// Waits until the follower sees `instances`.
///
/// # Panics
/// If it does not, or ever went back.
pub(crate) fn converges(stage: &mut Stage, seen: &Shared, instances: u64) {
    let told = Arc::clone(seen);
    let converged =
        stage.until(Duration::from_secs(20), move || told.lock().unwrap().instances as u64 >= instances);
    let seen = seen.lock().unwrap();
    assert!(converged, "a follower stays at {} of {instances} instances: {seen:?}", seen.instances);
    assert!(seen.fell.is_empty(), "a follower went back: {:?}", seen.fell);
}
