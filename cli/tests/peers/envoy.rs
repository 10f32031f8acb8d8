//! A real Envoy over incremental ADS, with HTTP backends in this process.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use api::v1::Protocol;
use tokio::process::{Child, Command};

use crate::found::{free_addresses, program};
use crate::http;
use crate::story::Peer;

pub struct Envoy {
    _process: Child,
    pub(crate) outbound: SocketAddr,
    backends: [SocketAddr; 3],
}

fn socket(address: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", address.ip(), address.port())
}

/// Its bootstrap: all nodes behind one cluster, discovery and load reports over it, and where its listener shall be.
fn bootstrap(control: &[SocketAddr], outbound: SocketAddr, admin: SocketAddr) -> String {
    let mut endpoints = String::new();
    for node in control {
        let _ = write!(endpoints, "{{endpoint: {{address: {}}}}}, ", socket(*node));
    }
    let service = "grpc_services: [{envoy_grpc: {cluster_name: penstock}}]";
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    format!(
        r#"
node:
  id: {id}
  cluster: {workload}.default
  metadata: {{penstock.outbound_address: "{outbound}"}}
admin: {{address: {admin}}}
dynamic_resources:
  ads_config: {{api_type: DELTA_GRPC, transport_api_version: V3, {service}}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
cluster_manager:
  load_stats_config: {{api_type: GRPC, transport_api_version: V3, {service}}}
static_resources:
  clusters:
  - name: penstock
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      {options}:
        "@type": type.googleapis.com/{options}
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: penstock
      endpoints: [{{lb_endpoints: [{endpoints}]}}]
"#,
        id = Envoy::ID,
        workload = Envoy::WORKLOAD,
        admin = socket(admin),
    )
}

impl Peer for Envoy {
    const ID: &'static str = "envoy-1";
    const WORKLOAD: &'static str = "checkout";
    const SERVICE: &'static str = "web";
    const PROTOCOL: Protocol = Protocol::Http1;

    async fn start(control: &[SocketAddr]) -> Self {
        let envoy = program("PENSTOCK_PEER_ENVOY", "lib/python/site-packages/envoy/_bin/envoy");
        let [outbound, admin] = free_addresses();
        // Shared memory of two Envoys on one machine is told apart by this number.
        let base_id = outbound.port().to_string();
        let process = Command::new(envoy)
            .args(["--base-id", &base_id, "--concurrency", "1", "--log-level", "error"])
            .args(["--config-yaml", &bootstrap(control, outbound, admin)])
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
