//! Either listener of a proxy before one application, and curl, which is served by it whatever another caller does.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use mesh::Protocol;
use proxy::worker::Counters;
use proxy::worker::Limits;
use tokio::time::{MissedTickBehavior, interval};

use crate::instance::{Instance, status, web};
use crate::support::{Mesh, SHORT, mesh_with, run, settings, with_inbound};

/// From one request of curl's to the next.
const REST: Duration = Duration::from_millis(100);

/// What callers are held to where a bound must end them: short, and longer than curl ever pauses on a busy machine.
pub const STRICT: Limits = Limits { head: Duration::from_secs(2), idle: Duration::from_secs(5), ..SHORT };

/// One listener.
pub struct Side {
    pub is_outbound: bool,
    pub address: SocketAddr,
    mesh: Mesh,
}

/// Has the outbound listener of a caller's proxy and the inbound one of the application's stand `trial`, before an application that
/// behaves as `manner` says; both hold their callers to `STRICT`.
pub fn on_either_side(manner: &str, mut trial: impl AsyncFnMut(&Instance, Side)) {
    run(async {
        let instance = Instance::start(manner).await;
        let outbound = mesh_with(&settings(), STRICT, &[web(vec![instance.endpoint()])]);
        let inbound = mesh_with(&with_inbound(instance.address(), Protocol::Http1), STRICT, &[]);
        let (out_at, in_at) = (outbound.outbound, inbound.workers.inbound_address.unwrap());
        trial(&instance, Side { is_outbound: true, address: out_at, mesh: outbound }).await;
        trial(&instance, Side { is_outbound: false, address: in_at, mesh: inbound }).await;
    });
}

impl Side {
    /// Lets `another` run to its end; curl is served meanwhile and after it.
    pub async fn serves_beside<T>(&self, another: impl Future<Output = T>) -> T {
        let asking = async {
            let mut turns = interval(REST);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                assert_eq!(status(self.address).await, "200");
            }
        };
        let told = tokio::select! {
            told = another => told,
            () = asking => unreachable!("it asks without end"),
        };
        assert_eq!(status(self.address).await, "200");
        told
    }

    /// What its worker counted.
    pub async fn counters(&self) -> Counters {
        self.mesh.workers.take().await.counters
    }

    /// Its name, for what a test says.
    pub fn name(&self) -> &'static str {
        if self.is_outbound { "outbound" } else { "inbound" }
    }
}
