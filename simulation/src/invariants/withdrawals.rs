//! Where nothing is wrong, an endpoint that has left is soon nobody's: each proxy lets go of it within a bound of time, not only in
//! the end. Looked at again and again once everything has healed and every broken stream was dialled anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use control::catalog::Catalog;
use mesh::{Authority, InstanceName};
use proxy::discovery::{Resolution, Subscriber};
use proxy::snapshot::Known;

use super::Violation;

/// So long a proxy may know what has left: a round to a quorum, and the slowest way of an answer in a whole network, many times.
const BOUND: Duration = Duration::from_secs(1);

/// An endpoint as a proxy knows it.
type Place = (u64, Authority, InstanceName, SocketAddr);

/// Since when proxies were seen to know what has left.
#[derive(Debug, Default)]
pub(crate) struct WithdrawalsArrive(BTreeMap<Place, Duration>);

impl WithdrawalsArrive {
    /// Looks at what every proxy knows, beside the newest catalog.
    pub(crate) fn look<'a>(
        &mut self,
        proxies: impl Iterator<Item = (u64, &'a Subscriber)>,
        catalog: &Catalog,
        now: Duration,
    ) -> Result<(), Violation> {
        let known = proxies.flat_map(|(proxy, subscriber)| places(proxy, subscriber));
        let gone = known.filter(|(_, authority, instance, address)| {
            let registered = catalog.registration(authority, instance);
            registered.is_none_or(|registered| registered.endpoint.address != *address)
        });
        self.seen(gone.collect(), now)
    }

    /// These are known and have left.
    fn seen(&mut self, gone: Vec<Place>, now: Duration) -> Result<(), Violation> {
        let before = std::mem::take(&mut self.0);
        let since = |place: Place| {
            let since = before.get(&place).copied().unwrap_or(now);
            (place, since)
        };
        self.0 = gone.into_iter().map(since).collect();
        match self.0.iter().find(|(_, since)| now.saturating_sub(**since) > BOUND) {
            Some(((proxy, authority, instance, address), since)) => {
                let known = now.saturating_sub(*since);
                let story = format!(
                    "proxy {proxy} still knows {} ({address}) of {authority}, which left {known:?} ago",
                    instance.0
                );
                Err(Violation::new("withdrawals arrive", story))
            }
            None => Ok(()),
        }
    }
}

fn places(proxy: u64, subscriber: &Subscriber) -> Vec<Place> {
    let views = subscriber.wanted().filter_map(|(_, told)| match told {
        Some(Resolution::Known(Known::Service(view))) => Some(view),
        _ => None,
    });
    let mut places = Vec::new();
    for (authority, set) in views.flat_map(|view| &view.clusters) {
        for endpoint in &set.endpoints {
            places.push((proxy, authority.clone(), endpoint.instance.clone(), endpoint.address));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn what_has_left_may_be_known_for_a_moment_and_not_for_long() {
        let place = |port| {
            let address = SocketAddr::from(([10, 0, 0, 1], port));
            (1, "web".parse().unwrap(), InstanceName("web-1".to_owned()), address)
        };
        let mut invariant = WithdrawalsArrive::default();
        let at = Duration::from_millis;
        assert!(invariant.seen(vec![place(1)], at(0)).is_ok());
        assert!(invariant.seen(vec![place(1), place(2)], at(900)).is_ok());
        assert!(invariant.seen(vec![place(2)], at(1800)).is_ok(), "that was another place");
        assert!(invariant.seen(vec![], at(1900)).is_ok() && invariant.seen(vec![place(2)], at(2000)).is_ok());
        assert!(invariant.seen(vec![place(2)], at(3100)).is_err());
    }
}
