//! nginx on three ports, each of which tells its number: who answered is read off the answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh::Endpoint;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{PATIENCE, Scratch, Server, free_addresses, program};
use crate::support::endpoint;

const NGINX: &str = "
daemon off; master_process off; error_log stderr error; pid FOLDER/nginx.pid;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  server { LISTEN location / { return 200 \"$server_port\\n\"; } }
}
";

/// nginx on three ports, each of which answers with its number.
pub struct Ports {
    _server: Server,
    _scratch: Scratch,
    pub addresses: [SocketAddr; 3],
}

impl Ports {
    pub async fn start(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let addresses: [SocketAddr; 3] = free_addresses();
        let listen: String = addresses.iter().map(|address| format!("listen {address}; ")).collect();
        let config = NGINX.replace("FOLDER", &scratch.0.display().to_string()).replace("LISTEN", &listen);
        std::fs::write(scratch.0.join("nginx.conf"), config).unwrap();
        let mut nginx = program("nginx");
        nginx.args(["-e", "stderr", "-c", &scratch.path("nginx.conf")]);
        let server = Server::at(nginx, addresses[0]).await;
        let listens = async {
            for address in &addresses[1..] {
                while TcpStream::connect(address).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        };
        timeout(PATIENCE, listens).await.expect("nginx listens on every port");
        Self { _server: server, _scratch: scratch, addresses }
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.addresses.iter().map(|address| endpoint("web", *address, 100)).collect()
    }
}

/// How often each port answered.
pub fn shares(told: &str) -> BTreeMap<u16, usize> {
    let mut shares = BTreeMap::new();
    for port in told.split_whitespace() {
        *shares.entry(port.parse().unwrap()).or_default() += 1;
    }
    shares
}
