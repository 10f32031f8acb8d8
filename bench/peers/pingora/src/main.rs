//! The smallest Pingora proxy that does what `bench proxy` asks: `pingora-peer LISTEN UPSTREAM`, one thread, HTTP/1.1 and h2c.

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;

struct Peer(String);

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(&self.0, false, String::new());
        if session.is_http2() {
            peer.options.alpn = ALPN::H2;
        }
        Ok(Box::new(peer))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (listen, upstream) = (arguments.next().expect("LISTEN"), arguments.next().expect("UPSTREAM"));
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy(&server.configuration, Peer(upstream));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    proxy.server_options = Some(options);
    let mut service = pingora::services::listening::Service::new("peer".to_owned(), proxy);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
