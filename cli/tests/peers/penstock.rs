//! Penstock's own proxy, a real process too, with HTTP backends in this one.

use std::net::SocketAddr;
use std::process::Stdio;

use api::v1::Protocol;
use tokio::process::{Child, Command};

use crate::found::free_addresses;
use crate::http;
use crate::story::Peer;

pub struct Penstock {
    _process: Child,
    pub(crate) outbound: SocketAddr,
    backends: [SocketAddr; 3],
}

impl Peer for Penstock {
    const ID: &'static str = "penstock-1";
    const WORKLOAD: &'static str = "cart";
    const SERVICE: &'static str = "stock";
    const PROTOCOL: Protocol = Protocol::Http1;

    async fn start(control: &[SocketAddr]) -> Self {
        let [outbound, admin] = free_addresses();
        let nodes: Vec<_> = control.iter().map(ToString::to_string).collect();
        let process = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .arg("proxy")
            .arg(format!("--end-with-parent={}", std::process::id()))
            .arg(format!("--name={}", Self::ID))
            .arg(format!("--workload={}", Self::WORKLOAD))
            .arg(format!("--control={}", nodes.join(",")))
            .arg(format!("--outbound-address={outbound}"))
            .arg(format!("--admin-address={admin}"))
            .arg("--log=error")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let backends = [http::backend("A").await, http::backend("B").await, http::backend("C").await];
        Self { _process: process, outbound, backends }
    }

    fn backends(&self) -> [SocketAddr; 3] {
        self.backends
    }

    async fn call(&mut self, next: bool) -> Result<String, String> {
        http::call(self.outbound, Self::SERVICE, next).await
    }
}
