//! What a node says of itself, from its settings and from what it found when it started. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::catalog::versions;
use crate::metrics::PeerMetrics;
use crate::replica::Unstarted;
use crate::replica::peers::{Identity, Own, Roster};
use crate::settings::Settings;

/// A node as its peers see it, with its founders for a roster; `commands` if it is to know others than this program.
pub(super) fn identity(
    settings: &Settings,
    client: SocketAddr,
    peer: SocketAddr,
    unstarted: &Unstarted,
    commands: Option<u32>,
    metrics: &PeerMetrics,
) -> Arc<Identity> {
    let own = of(settings, client, peer, unstarted.disk(), commands.unwrap_or(versions::NEWEST));
    let roster = Arc::new(Roster::new(settings.node, &settings.peers));
    Arc::new(Identity::new(own, roster, unstarted.life(), metrics))
}

/// Of a node that listens on these addresses.
fn of(settings: &Settings, client: SocketAddr, peer: SocketAddr, disk: u64, commands: u32) -> Own {
    let listed = settings.peers.get(&settings.node).filter(|address| !address.is_empty());
    let host_listed = listed.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host.to_owned());
    let host = settings.advertise_host.clone().or(host_listed);
    let at = |listens: SocketAddr| match &host {
        Some(host) => Some(format!("{host}:{}", listens.port())),
        None if listens.ip().is_unspecified() => None,
        None => Some(listens.to_string()),
    };
    Own {
        node: settings.node,
        cluster: settings.cluster.clone(),
        peer_address: listed.cloned().or_else(|| at(peer)),
        client_address: at(client).unwrap_or_else(|| client.to_string()),
        disk,
        commands,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use consensus::NodeId;

    use super::*;

    fn own(change: impl Fn(&mut Settings), listens: &str) -> (Option<String>, String) {
        let mut settings = Settings::alone("data".into());
        change(&mut settings);
        let client: SocketAddr = format!("{listens}:4100").parse().unwrap();
        let own = of(&settings, client, SocketAddr::new(client.ip(), 4101), 1, 1);
        (own.peer_address, own.client_address)
    }

    #[test]
    fn a_node_is_where_its_peers_are_told_or_where_it_listens_or_where_a_person_says() {
        let listed = |settings: &mut Settings| {
            settings.peers.insert(NodeId(1), "a.example:9101".to_owned());
        };
        assert_eq!(own(listed, "0.0.0.0"), (Some("a.example:9101".to_owned()), "a.example:4100".to_owned()));
        assert_eq!(own(|_| {}, "10.0.0.1").0.unwrap(), "10.0.0.1:4101");
        assert_eq!(own(|_| {}, "0.0.0.0"), (None, "0.0.0.0:4100".to_owned()));
        let said = |settings: &mut Settings| settings.advertise_host = Some("b.example".to_owned());
        assert_eq!(own(said, "0.0.0.0"), (Some("b.example:4101".to_owned()), "b.example:4100".to_owned()));
    }
}
