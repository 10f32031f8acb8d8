//! In the end every proxy holds exactly what the catalog holds about the services that it follows.

use std::collections::{BTreeMap, BTreeSet};

use control::catalog::Catalog;
use mesh::{Authority, Backend, Endpoint};
use proxy::discovery::{Resolution, Subscriber};
use proxy::snapshot::{Known, ServiceView};

use super::Violation;

const NAME: &str = "proxies converge";

/// Compares what a proxy tells its workers with the catalog.
pub(crate) fn converged(proxy: u64, subscriber: &Subscriber, catalog: &Catalog) -> Result<(), Violation> {
    for (authority, told) in subscriber.wanted() {
        let exists = catalog
            .service(&authority.service)
            .is_some_and(|stored| stored.service.port(authority.port).is_some());
        match told {
            Some(Resolution::Known(Known::Service(view))) if exists => same(proxy, authority, view, catalog)?,
            Some(Resolution::Known(Known::Unknown)) if !exists => {}
            _ => {
                let story = format!("proxy {proxy} was told {told:?} of {authority}, which exists: {exists}");
                return Err(Violation::new(NAME, story));
            }
        }
    }
    Ok(())
}

fn same(proxy: u64, authority: &Authority, view: &ServiceView, catalog: &Catalog) -> Result<(), Violation> {
    let rules = catalog.rules(authority).map(|(_, rules)| rules.to_vec()).unwrap_or_default();
    let told: Vec<_> = view.rules.iter().map(|rule| shares(&rule.backends)).collect();
    let true_ones: Vec<_> = rules.iter().map(|rule| shares(&rule.backends)).collect();
    // The last rule of a proxy is the plain one that sends everything to the authority itself.
    if told.len() < true_ones.len() || told[..true_ones.len()] != true_ones[..] {
        let story = format!("proxy {proxy} has rules {told:?} for {authority}, the catalog {true_ones:?}");
        return Err(Violation::new(NAME, story));
    }
    for (cluster, set) in &view.clusters {
        let told: BTreeSet<&Endpoint> = set.endpoints.iter().collect();
        let stored = catalog.endpoints(cluster);
        let stored: BTreeSet<&Endpoint> =
            stored.iter().flat_map(|(_, endpoints)| endpoints.iter().map(AsRef::as_ref)).collect();
        if told != stored {
            let story = format!("proxy {proxy} has endpoints {told:?} for {cluster}, the catalog {stored:?}");
            return Err(Violation::new(NAME, story));
        }
    }
    Ok(())
}

/// Who gets which share of a rule's requests. A lone backend gets all, whatever its weight.
fn shares(backends: &[Backend]) -> BTreeMap<&Authority, u32> {
    let mut shares = BTreeMap::new();
    for backend in backends.iter().filter(|backend| backend.weight > 0) {
        *shares.entry(&backend.authority).or_default() += backend.weight;
    }
    if shares.len() == 1 {
        shares.values_mut().for_each(|weight| *weight = 1);
    }
    shares
}
