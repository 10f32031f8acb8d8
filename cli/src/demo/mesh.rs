//! The demo's mesh: three control nodes, the shop's instances in this process, and a proxy beside each of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use api::v1::{EndpointsRequest, Health, MembersResponse, QualifiedName};
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::child::{Child, flag, listed};
use super::scratch::{Ports, Scratch};
use super::screen::Screen;
use super::shop::{Instance, LOAD_WORKLOAD, PORT, SERVICES, Service, Tally, Ways, edges, serve};
use crate::answer::Failure;
use crate::args::{ConnectionArgs, Span};
use crate::commands::{ask_endpoints, ask_members};
use crate::connection::Connection;

/// Control nodes: the fewest that survive the loss of one.
pub(super) const NODES: usize = 3;

/// How long a step of the start may take on a loaded machine.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks at whether a step of the start is done.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// All that the demo has started.
pub(super) struct Mesh {
    scratch: Scratch,
    ports: Ports,
    /// Where clients ask, by node.
    pub(super) control: Vec<SocketAddr>,
    nodes: Vec<Child>,
    proxies: Vec<Child>,
    instances: JoinSet<()>,
    /// What the shop counts.
    pub(super) tally: Tally,
    /// The way of the load, by its own proxy.
    pub(super) load_ways: Ways,
}

impl Mesh {
    /// Takes a folder and ports; starts nothing yet.
    pub(super) fn new(keep: bool) -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| Failure::Refused(format!("cannot prepare the demo: {error}"));
        let proxies = 1 + SERVICES.iter().map(|service| service.instances).sum::<usize>();
        Ok(Self {
            scratch: Scratch::create(keep).map_err(wrong)?,
            ports: Ports::reserve(NODES * 3 + proxies * 3).map_err(wrong)?,
            control: Vec::new(),
            nodes: Vec::new(),
            proxies: Vec::new(),
            instances: JoinSet::new(),
            tally: Tally::default(),
            load_ways: Ways::new(),
        })
    }

    /// Starts everything, each step when the one before it is done.
    pub(super) async fn start(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let begun = Instant::now();
        let took = |begun: Instant| format!("{:.1} s", begun.elapsed().as_secs_f64());
        self.start_nodes()?;
        screen.progress(&format!("{NODES} control nodes start: {}", listed(&self.control)));
        let leader = self.leader_elected().await?;
        screen.progress(&format!("node {leader} leads ({})", took(begun)));
        self.start_shop().await?;
        screen.progress(&format!(
            "{} instances of {} services, a proxy beside each, one more for the load",
            self.proxies.len() - 1,
            SERVICES.len()
        ));
        self.registered().await?;
        screen.progress(&format!("every instance is registered ({}); load begins", took(begun)));
        Ok(())
    }

    fn start_nodes(&mut self) -> Result<(), Failure> {
        let mut addresses: Vec<[SocketAddr; 3]> = Vec::new();
        for _ in 0..NODES {
            addresses.push([self.ports.next(), self.ports.next(), self.ports.next()]);
        }
        let peers: Vec<String> =
            addresses.iter().enumerate().map(|(at, [_, peer, _])| format!("{}={peer}", at + 1)).collect();
        for (at, [client, peer, http]) in addresses.iter().enumerate() {
            let name = format!("control-{}", at + 1);
            let words = [
                "control".to_owned(),
                flag("node", at + 1),
                flag("cluster", "demo"),
                flag("peers", peers.join(",")),
                flag("client-address", client),
                flag("peer-address", peer),
                flag("http-address", http),
                flag("data-directory", self.scratch.path().join(&name).display()),
            ];
            self.nodes.push(Child::start(&name, self.scratch.path(), &words)?);
            self.control.push(*client);
        }
        Ok(())
    }

    async fn start_shop(&mut self) -> Result<(), Failure> {
        for service in &SERVICES {
            for number in 1..=service.instances {
                let outbound = self.ports.next();
                let wrong = |error| Failure::Refused(format!("the application cannot listen: {error}"));
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(wrong)?;
                let address = listener.local_addr().map_err(wrong)?;
                let instance = Instance::new(service, number, &ways(service.name, outbound), &self.tally);
                self.instances.spawn(serve(instance, listener));
                self.start_proxy(service.name, number, outbound, Some((service, address)))?;
            }
        }
        let outbound = self.ports.next();
        self.load_ways = ways(LOAD_WORKLOAD, outbound);
        self.start_proxy(LOAD_WORKLOAD, 1, outbound, None)
    }

    fn start_proxy(
        &mut self,
        workload: &str,
        number: usize,
        outbound: SocketAddr,
        application: Option<(&Service, SocketAddr)>,
    ) -> Result<(), Failure> {
        let name = format!("{workload}-{number}");
        let mut words = vec![
            "proxy".to_owned(),
            flag("name", &name),
            flag("workload", workload),
            flag("control", listed(&self.control)),
            flag("outbound-address", outbound),
            flag("admin-address", self.ports.next()),
            flag("leave-grace-ms", 0), // nobody calls any more when the demo ends
            flag("drain-seconds", 2),
            flag("drain-follows", "none"), // the shop ends with the demo itself, after its proxies
        ];
        let inbound = self.ports.next();
        if let Some((service, address)) = application {
            words.push(flag("application", address));
            words.push(flag("serves", format!("{}.default:{PORT}", service.name)));
            words.push(flag("protocol", service.protocol.as_str()));
            words.push(flag("inbound-address", inbound));
        }
        self.proxies.push(Child::start(&format!("proxy-{name}"), self.scratch.path(), &words)?);
        Ok(())
    }

    /// A way to the control nodes.
    pub(super) fn connection(&self) -> Connection {
        let control = self.control.iter().map(ToString::to_string).collect();
        let args = ConnectionArgs { control, timeout: Span(Duration::from_secs(5)) };
        Connection::new(&args).expect("the demo's own addresses are addresses")
    }

    async fn leader_elected(&mut self) -> Result<u64, Failure> {
        let deadline = Instant::now() + STEP_MAX;
        let mut connection = self.connection();
        loop {
            let seen = ask_members(&mut connection).await;
            if let Some(leader) = seen.as_ref().ok().and_then(leader) {
                return Ok(leader);
            }
            self.look(deadline, "no control node leads").await?;
        }
    }

    async fn registered(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + STEP_MAX;
        let expected: usize = SERVICES.iter().map(|service| service.instances).sum();
        let mut connection = self.connection();
        loop {
            let ready = match ask_endpoints(&mut connection, EndpointsRequest::default()).await {
                Ok(response) => response
                    .endpoints
                    .iter()
                    .filter(|row| {
                        row.endpoint.as_ref().is_some_and(|endpoint| endpoint.health() != Health::Draining)
                    })
                    .count(),
                Err(_) => 0,
            };
            if ready >= expected {
                return Ok(());
            }
            self.look(deadline, &format!("{ready} of {expected} instances are registered")).await?;
        }
    }

    /// Waits a moment; fails when a child has ended, or the time is up.
    async fn look(&mut self, deadline: Instant, state: &str) -> Result<(), Failure> {
        self.alive()?;
        if Instant::now() >= deadline {
            let folder = self.scratch.path().display();
            return Err(Failure::Refused(format!(
                "{state} after {} s: is this machine overloaded? logs: {folder} (kept with --keep)",
                STEP_MAX.as_secs()
            )));
        }
        sleep(LOOK_PAUSE).await;
        Ok(())
    }

    /// Whether every child still runs that should.
    ///
    /// # Errors
    /// With what the first one said that does not.
    pub(super) fn alive(&mut self) -> Result<(), Failure> {
        let ended = self.nodes.iter_mut().chain(&mut self.proxies).find_map(Child::ended);
        ended.map_or(Ok(()), Err)
    }

    /// Kills the control node `node` (from 1), as a power cut would.
    pub(super) async fn kill_node(&mut self, node: u64) -> Result<(), Failure> {
        let at = usize::try_from(node).unwrap_or(0).wrapping_sub(1);
        let child = self.nodes.get_mut(at).ok_or_else(|| {
            Failure::Refused(format!("the mesh names a leader that the demo did not start: {node}"))
        })?;
        child.kill().await.map_err(|error| Failure::Refused(format!("cannot kill node {node}: {error}")))
    }

    /// Where logs and data lie.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Ends every child, proxies first: they take their leave from control nodes.
    pub(super) async fn stop(&mut self) {
        for children in [&mut self.proxies, &mut self.nodes] {
            children.iter_mut().for_each(Child::terminate);
            join_all(children.iter_mut().map(Child::gone)).await;
        }
        self.instances.shutdown().await;
    }
}

/// The node that leads, as one node sees it.
pub(super) fn leader(seen: &MembersResponse) -> Option<u64> {
    seen.members.iter().find(|member| member.reachable && member.role == "leader").map(|member| member.node)
}

/// The way of each call of `workload`: its proxy.
fn ways(workload: &str, outbound: SocketAddr) -> Ways {
    edges().filter(|(caller, _)| *caller == workload).map(|(_, callee)| (callee, outbound)).collect()
}

/// A name in the namespace of the shop.
pub(super) fn named(name: &str) -> QualifiedName {
    QualifiedName { name: name.to_owned(), namespace: mesh::DEFAULT_NAMESPACE.to_owned() }
}
