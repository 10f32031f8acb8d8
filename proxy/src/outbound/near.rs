//! The endpoints in the caller's own zone, and how many of its requests they can take. Looked at by the worker's sweep, asked
//! by each pick where a policy prefers the zone.

use std::cell::Cell;

use mesh::{Locality, ZonePreference};

use super::cluster::Group;
use crate::balance::staying_share;

/// The caller's zone among a cluster's endpoints.
#[derive(Debug)]
pub(super) struct Near {
    policy: ZonePreference,
    pub(super) group: Group,
    /// Of each member: its weight, and whether it stands in the zone.
    members: Vec<(u64, bool)>,
    zones: usize,
    share: Cell<f64>,
}

impl Near {
    /// `None` when nobody serves in the caller's zone, everybody does, or it is not known.
    pub(super) fn of(
        policy: ZonePreference,
        weights: &[u32],
        localities: &[&Locality],
        here: &Locality,
    ) -> Option<Self> {
        let indexes: Vec<usize> = (0..localities.len()).filter(|index| localities[*index] == here).collect();
        if here.zone.is_empty() || indexes.is_empty() || indexes.len() == localities.len() {
            return None;
        }
        let mut zones = localities.to_vec();
        zones.sort_unstable();
        zones.dedup();
        let near: Vec<u32> = indexes.iter().map(|index| weights[*index]).collect();
        let members = weights.iter().zip(localities);
        Some(Self {
            policy,
            group: Group::new(&near, Some(indexes)),
            members: members.map(|(weight, at)| (u64::from((*weight).max(1)), *at == here)).collect(),
            zones: zones.len(),
            share: Cell::new(0.0),
        })
    }

    /// Looks who is `ready`, and sets the share of requests that stay.
    pub(super) fn look(&self, ready: impl Fn(usize) -> bool) {
        let (mut own, mut all, mut count) = (0, 0, 0);
        for (index, (weight, is_near)) in self.members.iter().enumerate() {
            if ready(index) {
                all += weight;
                own += if *is_near { *weight } else { 0 };
                count += u32::from(*is_near);
            }
        }
        let is_enough = count >= self.policy.min_endpoints;
        self.share.set(if is_enough { staying_share(own, all, self.zones) } else { 0.0 });
    }

    /// The share of requests, 0 to 1, that stay in the zone.
    pub(super) fn staying_share(&self) -> f64 {
        self.share.get()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn at(zone: &str) -> Locality {
        Locality { region: "eu".to_owned(), zone: zone.to_owned() }
    }

    #[test]
    fn requests_stay_while_the_zone_has_enough_ready_endpoints() {
        let (a, b, c) = (at("a"), at("b"), at("c"));
        let localities = [&a, &a, &b, &b, &c, &c];
        let policy = ZonePreference { min_endpoints: 2 };
        let near = Near::of(policy, &[100; 6], &localities, &a).unwrap();
        near.look(|_| true);
        assert_eq!(near.staying_share(), 1.0);
        near.look(|index| index != 1);
        assert_eq!(near.staying_share(), 0.0, "fewer than the policy asks for");
        let near = Near::of(ZonePreference::default(), &[100; 6], &localities, &a).unwrap();
        near.look(|index| index != 1);
        assert!((0.8..0.9).contains(&near.staying_share()), "{}", near.staying_share());
    }

    #[test]
    fn there_is_no_preference_where_the_zone_is_unknown_empty_or_the_only_one() {
        let (a, b) = (at("a"), at("b"));
        let of = |localities: &[&Locality], here: &Locality| {
            Near::of(ZonePreference::default(), &vec![1; localities.len()], localities, here).is_some()
        };
        assert!(of(&[&a, &b], &a));
        assert!(!of(&[&b, &b], &a) && !of(&[&a, &a], &a) && !of(&[], &a));
        assert!(!of(&[&Locality::default(), &a], &Locality::default()));
    }
}
