//! Make before break: rules come into force when the endpoints of every backend that they name are known, never before.

use mesh::Revision;
use proxy::discovery::Resolution;
use proxy::snapshot::{Known, ServiceView};

use super::Violation;

/// Looks at what workers are told.
#[derive(Debug, Default)]
pub(crate) struct MakeBeforeBreak;

impl MakeBeforeBreak {
    /// `proxy` tells its workers this.
    pub(crate) fn resolved(&self, proxy: u64, resolution: &Resolution) -> Result<(), Violation> {
        match resolution {
            Resolution::Known(Known::Service(view)) => self.told(proxy, view),
            _ => Ok(()),
        }
    }

    /// `proxy` tells its workers that this is how a service is reached.
    pub(crate) fn told(&self, proxy: u64, view: &ServiceView) -> Result<(), Violation> {
        let backends = view.rules.iter().flat_map(|rule| &rule.backends).filter(|backend| backend.weight > 0);
        let unknown = backends.map(|backend| &backend.authority).find(|name| {
            let set = view.clusters.get(name);
            set.is_none_or(|set| set.revision == Revision::default())
        });
        match unknown {
            None => Ok(()),
            Some(name) => {
                let story = format!(
                    "the rules of proxy {proxy} for {} lead to {name}, of which it knows nothing yet",
                    view.authority
                );
                Err(Violation::new("make before break", story))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use mesh::{Authority, Backend, Protocol, RouteRule};
    use proxy::snapshot::EndpointSet;

    use super::*;

    #[test]
    fn rules_that_lead_to_an_unknown_cluster_are_a_violation_and_an_empty_one_is_known() {
        let (web, api): (Authority, Authority) = ("web".parse().unwrap(), "api".parse().unwrap());
        let rule = |weight| RouteRule {
            backends: vec![Backend { authority: api.clone(), weight }],
            ..RouteRule::default()
        };
        let set = |revision| {
            Arc::new(EndpointSet {
                authority: api.clone(),
                protocol: Protocol::default(),
                policy: Arc::default(),
                revision,
                endpoints: Vec::new(),
            })
        };
        let view = |weight, revision: Option<Revision>| ServiceView {
            authority: web.clone(),
            rules: vec![rule(weight)],
            clusters: revision
                .map(|revision| (api.clone(), set(revision)))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        };
        let broken = |view| MakeBeforeBreak.told(1, &view).is_err();
        assert!(broken(view(1, None)) && broken(view(1, Some(Revision::default()))));
        assert!(!broken(view(1, Some(Revision::new(1, 1)))) && !broken(view(0, None)));
    }
}
