//! No removal is lost: in the end no proxy knows an endpoint that the catalog does not have, nor a service that is gone
//! (the class of istio/istio#41494).

use control::catalog::Catalog;
use proxy::discovery::{Resolution, Subscriber};
use proxy::snapshot::Known;

use super::Violation;

/// Looks for what a proxy knows and the catalog does not.
pub(crate) fn no_removal_lost(
    proxy: u64,
    subscriber: &Subscriber,
    catalog: &Catalog,
) -> Result<(), Violation> {
    let lost =
        |what: String| Err(Violation::new("no removal is lost", format!("proxy {proxy} still {what}")));
    for (authority, told) in subscriber.wanted() {
        let Some(Resolution::Known(Known::Service(view))) = told else { continue };
        if catalog.port(authority).is_none() {
            return lost(format!("knows {authority}, which is gone"));
        }
        for (name, set) in &view.clusters {
            let stored = catalog.endpoints(name).map(|(_, endpoints)| endpoints);
            let known = |instance| {
                let mut endpoints = stored.iter().flat_map(|endpoints| endpoints.iter());
                endpoints.any(|endpoint| endpoint.instance == instance)
            };
            if let Some(gone) = set.endpoints.iter().find(|endpoint| !known(endpoint.instance.clone())) {
                return lost(format!("sends to {} of {name}, which has left", gone.instance.0));
            }
        }
    }
    Ok(())
}
