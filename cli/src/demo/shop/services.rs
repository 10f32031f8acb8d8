//! Which services the shop has, and who calls whom.

use std::time::Duration;

use mesh::Protocol;

/// Port of every service of the shop, as callers name it.
pub(crate) const PORT: u16 = 80;

/// The workload that makes the load.
pub(crate) const LOAD_WORKLOAD: &str = "traffic";

/// The service through which load enters.
pub(crate) const ENTRY: &str = "web";

/// One service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Service {
    /// Its name, and that of its workload; in the namespace `default`.
    pub(crate) name: &'static str,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// How many instances run.
    pub(crate) instances: usize,
    /// How long its own work takes.
    pub(crate) work: Duration,
    /// Whom it calls, for each of its own calls once.
    pub(crate) calls: &'static [&'static str],
    /// Every how many of its answers is a failure of its own, if it fails at all.
    pub(crate) fails_every: Option<u64>,
    /// How long the last instance's work takes longer than that of the others.
    pub(crate) last_slower: Duration,
}

const fn service(name: &'static str, protocol: Protocol, calls: &'static [&'static str]) -> Service {
    Service {
        name,
        protocol,
        instances: 2,
        work: Duration::from_millis(1),
        calls,
        fails_every: None,
        last_slower: Duration::ZERO,
    }
}

/// Every service, callees first, so that each can serve when its callers start.
pub(crate) const SERVICES: [Service; 5] = [
    Service { last_slower: Duration::from_millis(80), ..service("pricing", Protocol::Grpc, &[]) },
    Service { fails_every: Some(4), ..service("reviews", Protocol::Http1, &[]) },
    Service { instances: 1, ..service("cart", Protocol::Http1, &["pricing"]) },
    service("catalog", Protocol::Grpc, &["pricing"]),
    service("web", Protocol::Http1, &["catalog", "cart", "reviews"]),
];

/// Every pair of caller and callee, from the load's entry on.
pub(crate) fn edges() -> impl Iterator<Item = (&'static str, &'static str)> {
    let inside =
        SERVICES.iter().rev().flat_map(|caller| caller.calls.iter().map(|callee| (caller.name, *callee)));
    std::iter::once((LOAD_WORKLOAD, ENTRY)).chain(inside)
}

/// The service of this name.
///
/// # Panics
/// If the shop has none: names are only written in this file.
pub(super) fn named(name: &str) -> &'static Service {
    SERVICES.iter().find(|service| service.name == name).expect("callers name services of this file")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_is_called_and_most_have_two_instances_in_two_protocols() {
        let called: BTreeSet<&str> = edges().map(|(_, callee)| callee).collect();
        assert_eq!(called.len(), SERVICES.len());
        assert_eq!(edges().count(), 6);
        assert!(SERVICES.iter().filter(|service| service.instances > 1).count() > SERVICES.len() / 2);
        let protocols: BTreeSet<Protocol> = SERVICES.iter().map(|service| service.protocol).collect();
        assert_eq!(protocols, BTreeSet::from([Protocol::Http1, Protocol::Grpc]));
    }
}
