//! Policies: what is attached to which service or route. Declared with services and routes, in one command, all or none.
//!
//! A target has one policy at most, so that nobody has to guess which of two rules; a second one is refused. A target
//! need not exist: its policy waits for it, as a route waits for its parents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::{PolicyName, PolicyTarget, RequestPolicy, RouteName, ServiceName, TrafficPolicy};

use super::declaring::{CHANGED, CREATED, DELETED, UNCHANGED};
use super::limits::POLICIES_MAX;
use super::refusal::Refusal;
use super::topology::{Moment, StoredPolicy, Topology, Touched};

impl Topology {
    pub(super) fn policies_fit(&self, policies: &[TrafficPolicy]) -> Result<(), Refusal> {
        let mut names = BTreeSet::new();
        if let Some(twice) = policies.iter().find(|policy| !names.insert(&policy.name)) {
            return Err(Refusal::invalid(format_args!("{} is there twice", shown(&twice.name))));
        }
        let fresh = names.iter().filter(|name| !self.policies.contains_key(name)).count();
        if self.policies.len() + fresh > POLICIES_MAX {
            return Err(Refusal::limit("policies", POLICIES_MAX, "delete some that are not used"));
        }
        let mut owners: BTreeMap<&PolicyTarget, &PolicyName> = BTreeMap::new();
        for policy in policies {
            for target in &policy.targets {
                let stored = self.policies_on.get(target).filter(|stored| !names.contains(stored));
                if let Some(owner) = owners.insert(target, &policy.name).or(stored) {
                    return Err(Refusal::in_use(format_args!(
                        "{}: {} has {} already, and one policy at most; say both in one",
                        shown(&policy.name),
                        target_shown(target),
                        shown(owner)
                    )));
                }
            }
        }
        Ok(())
    }

    /// Takes what the policies of one command replace out of the way, then declares each; a target may thus pass from
    /// one policy to another in one command.
    pub(super) fn put_policies(
        &mut self,
        at: Moment,
        policies: Vec<TrafficPolicy>,
        touched: &mut Touched,
    ) -> Vec<String> {
        let mut ruled = BTreeSet::new();
        let mut actions = Vec::with_capacity(policies.len());
        let changed: Vec<TrafficPolicy> = policies
            .into_iter()
            .filter(|policy| {
                let stored = self.policies.get(&policy.name);
                let action = match stored {
                    Some(stored) if *stored.policy == *policy => UNCHANGED,
                    Some(_) => CHANGED,
                    None => CREATED,
                };
                actions.push(action.to_owned());
                action != UNCHANGED
            })
            .collect();
        for policy in &changed {
            self.forget_policy(at, &policy.name, &mut ruled, touched);
        }
        for policy in changed {
            for target in &policy.targets {
                self.policies_on.insert(target.clone(), policy.name.clone());
                self.target_touched(at, target, &mut ruled, touched);
            }
            let name = policy.name.clone();
            self.policies.insert(name, StoredPolicy { policy: Arc::new(policy), revision: at.revision });
        }
        self.refresh_rules(&ruled, at, touched);
        actions
    }

    /// Takes a policy away.
    pub(super) fn delete_policy(
        &mut self,
        at: Moment,
        name: &PolicyName,
        touched: &mut Touched,
    ) -> Result<Vec<String>, Refusal> {
        let mut ruled = BTreeSet::new();
        if !self.forget_policy(at, name, &mut ruled, touched) {
            return Err(Refusal::not_found(shown(name)));
        }
        self.refresh_rules(&ruled, at, touched);
        Ok(vec![DELETED.to_owned()])
    }

    /// The policy on a service, if there is one.
    pub(super) fn policy_on_service(&self, service: &ServiceName) -> Option<&Arc<TrafficPolicy>> {
        self.policy_on(&PolicyTarget::Service(service.clone()))
    }

    /// What the policy on a route says of requests.
    pub(super) fn policy_on_route(&self, route: &RouteName) -> Option<&RequestPolicy> {
        self.policy_on(&PolicyTarget::Route(route.clone())).map(|policy| &policy.requests)
    }

    fn policy_on(&self, target: &PolicyTarget) -> Option<&Arc<TrafficPolicy>> {
        Some(&self.policies.get(self.policies_on.get(target)?)?.policy)
    }

    fn forget_policy(
        &mut self,
        at: Moment,
        name: &PolicyName,
        ruled: &mut BTreeSet<ServiceName>,
        touched: &mut Touched,
    ) -> bool {
        let Some(stored) = self.policies.remove(name) else { return false };
        for target in &stored.policy.targets {
            self.policies_on.remove(target);
            self.target_touched(at, target, ruled, touched);
        }
        true
    }

    fn target_touched(
        &mut self,
        at: Moment,
        target: &PolicyTarget,
        ruled: &mut BTreeSet<ServiceName>,
        touched: &mut Touched,
    ) {
        self.routing = at.revision;
        match target {
            PolicyTarget::Service(service) => {
                if let Some(stored) = self.services.get_mut(service) {
                    stored.policy_revision = at.revision;
                    touched.policies.insert(service.clone());
                }
            }
            PolicyTarget::Route(route) => {
                let stored = self.routes.get(route);
                ruled.extend(
                    stored
                        .iter()
                        .flat_map(|stored| stored.route.parents.iter().map(|(service, _)| service.clone())),
                );
            }
        }
    }
}

fn shown(name: &PolicyName) -> String {
    format!("TrafficPolicy {}/{}", name.namespace, name.name)
}

fn target_shown(target: &PolicyTarget) -> String {
    match target {
        PolicyTarget::Service(service) => format!("Service {service}"),
        PolicyTarget::Route(route) => route.to_string(),
    }
}
