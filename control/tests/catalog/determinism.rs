//! The same commands give the same state on every node, through snapshots too, and no bytes make the catalog panic.

use api::log::v1::command::Body;
use control::catalog::{Catalog, Change, RestoreError};
use mesh::{Authority, Protocol, Revision, ServiceName};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

use crate::script::*;

/// A command that is likely to have meaning, over few names so that commands meet.
fn chance_command(rng: &mut ChaCha8Rng, script: &Script) -> Body {
    let mut pick = |below: u64| rng.next_u64() % below;
    let at = format!("s{}:{}", pick(5), 80 + pick(2));
    let instance = format!("i{}", pick(6));
    let window = window_of(script.at_ms).saturating_sub(pick(70)) + pick(3);
    match pick(14) {
        0..=3 => register_as(
            &at,
            &instance,
            &format!("10.0.0.{}:4143", 1 + pick(3)),
            [Protocol::Http1, Protocol::Grpc][pick(8) as usize / 7],
        ),
        4 => leave(&at, &instance),
        5 => {
            let leases: Vec<_> = script
                .catalog
                .leases()
                .map(|lease| (lease.authority.to_string(), lease.instance.0.clone(), lease.registered_index))
                .collect();
            let few: Vec<_> = leases
                .iter()
                .filter(|_| pick(4) == 0)
                .map(|(at, instance, index)| (at.as_str(), instance.as_str(), *index))
                .collect();
            expire(&few)
        }
        6 => put(
            &[service(
                &format!("s{}", pick(5)),
                &[(80, Protocol::Http1), (82, Protocol::Http2)][pick(2) as usize..],
            )],
            &[],
        ),
        7 => {
            let port = (pick(2) == 0).then_some(80);
            put(
                &[],
                &[route(
                    &format!("r{}", pick(4)),
                    &format!("s{}", pick(5)),
                    port,
                    ["/", "/a", "/a/b"][pick(3) as usize],
                    &at,
                )],
            )
        }
        8 => delete_service(&format!("s{}", pick(5))),
        9 => delete_route(&format!("r{}", pick(4))),
        10 => {
            let target = match pick(2) {
                0 => on_service(&format!("s{}", pick(5))),
                _ => on_route(&format!("r{}", pick(4))),
            };
            put_policies(&[policy(&format!("p{}", pick(3)), &[target], 1 + pick(3) as u32)])
        }
        11 => delete_policy(&format!("p{}", pick(3))),
        _ => partial(
            &[pair(&format!("p{}", pick(3)), 1 + pick(2), window)],
            &[(window, vec![(edge(&at), successes(pick(4)))])],
        ),
    }
}

pub(crate) fn chance_script(seed: u64, commands: usize, wait_below: u64) -> Script {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut script = Script::new();
    for _ in 0..commands {
        script.at_ms += rng.next_u64() % wait_below;
        let body = chance_command(&mut rng, &script);
        let id = (rng.next_u64() % 2 == 0)
            .then(|| (["a", "b"][(rng.next_u64() % 2) as usize], 1 + rng.next_u64() % 90));
        script.command(id, body);
    }
    script
}

#[test]
fn the_same_commands_give_the_same_bytes_and_the_same_hash() {
    for seed in 0..6 {
        let script = chance_script(seed, 800, 20_000);
        let mut other = Catalog::new(1);
        for (at, bytes) in script.log.iter().enumerate() {
            other.apply(at as u64 + 1, bytes);
        }
        assert_eq!(other.state_hash(), script.catalog.state_hash(), "seed {seed}");
        assert_eq!(other.snapshot(), script.catalog.snapshot(), "seed {seed}");
    }
}

#[test]
fn a_node_restored_from_a_snapshot_goes_on_as_one_that_never_was() {
    for seed in 0..6 {
        let script = chance_script(seed, 700, 30_000);
        let mut never = Catalog::new(1);
        let mut restored = Catalog::new(1);
        for (at, bytes) in script.log.iter().enumerate() {
            if at % 97 == 96 {
                let bytes = restored.snapshot();
                restored = Catalog::restore(&bytes).unwrap();
                assert_eq!(restored.snapshot(), bytes, "seed {seed}, entry {at}");
                assert_eq!(restored.view(), never.view(), "seed {seed}, entry {at}");
            }
            let index = at as u64 + 1;
            assert_eq!(restored.apply(index, bytes), never.apply(index, bytes), "seed {seed}, entry {index}");
        }
        assert!(restored == never, "seed {seed}");
        assert_eq!(restored.state_hash(), never.state_hash());
    }
}

/// What makes a snapshot while writes go on: the copy shares nearly everything with what is written to.
#[test]
fn a_copy_of_which_a_snapshot_is_made_does_not_see_what_is_applied_meanwhile() {
    for seed in 0..6 {
        let script = chance_script(seed, 700, 30_000);
        let mut catalog = Catalog::new(1);
        let mut copies = Vec::new();
        for (at, bytes) in script.log.iter().enumerate() {
            if at % 97 == 96 {
                copies.push((catalog.clone(), catalog.snapshot()));
            }
            catalog.apply(at as u64 + 1, bytes);
        }
        assert!(copies.len() > 5);
        for (copy, bytes) in copies {
            assert_eq!(copy.snapshot(), bytes, "seed {seed}, entry {}", copy.applied());
        }
    }
}

#[test]
fn one_other_byte_in_the_log_gives_another_hash() {
    let (mut one, mut other) = (Script::new(), Script::new());
    one.done(register("web:80", "web-1", "10.0.0.1:4143"));
    other.done(register("web:80", "web-1", "10.0.0.2:4143"));
    assert_ne!(one.catalog.state_hash(), other.catalog.state_hash());
}

/// What a mirror made of changes holds: services by revision, endpoints and rules by authority.
#[derive(Debug, Default, PartialEq)]
struct Mirror {
    services: BTreeMap<ServiceName, (Revision, usize)>,
    endpoints: BTreeMap<Authority, (Revision, Vec<String>)>,
    rules: BTreeMap<Authority, (Revision, usize)>,
    policies: BTreeMap<ServiceName, (Revision, Option<u32>)>,
}

impl Mirror {
    fn take(&mut self, change: Change) {
        match change {
            Change::Service { name, service: None, .. } => {
                self.services.remove(&name);
                self.policies.remove(&name);
            }
            Change::Service { name, revision, service: Some(service) } => {
                self.services.insert(name, (revision, service.ports.len()));
            }
            Change::Endpoints { authority, endpoints: None, .. } => {
                self.endpoints.remove(&authority);
                self.rules.remove(&authority);
            }
            Change::Endpoints { authority, revision, endpoints: Some(endpoints) } => {
                let told = endpoints.iter().map(|endpoint| format!("{endpoint:?}")).collect();
                self.endpoints.insert(authority, (revision, told));
            }
            Change::Routes { authority, revision, rules } => {
                self.rules.insert(authority, (revision, rules.len()));
            }
            Change::Policy { service, revision, policy } => {
                let attempts = policy.and_then(|policy| Some(policy.requests.retry.as_ref()?.attempts));
                self.policies.insert(service, (revision, attempts));
            }
            Change::Traffic { .. } => {}
        }
    }
}

#[test]
fn a_mirror_that_follows_the_changes_equals_one_that_starts_from_the_view() {
    for seed in 0..4 {
        let script = chance_script(seed, 500, 60_000);
        let mut catalog = Catalog::new(1);
        let mut following = Mirror::default();
        for (at, bytes) in script.log.iter().enumerate() {
            catalog.apply(at as u64 + 1, bytes).changes.into_iter().for_each(|change| following.take(change));
            let mut fresh = Mirror::default();
            catalog.view().into_iter().for_each(|change| fresh.take(change));
            assert_eq!(following, fresh, "seed {seed}, entry {}", at + 1);
        }
    }
}

#[test]
fn no_bytes_make_the_catalog_panic_or_two_nodes_differ() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut script = chance_script(99, 200, 20_000);
    let valid = script.log.clone();
    for _ in 0..20_000 {
        let mut bytes = valid[(rng.next_u64() % valid.len() as u64) as usize].clone();
        if rng.next_u64() % 10 == 0 {
            bytes = vec![0; (rng.next_u64() % 60) as usize];
            rng.fill_bytes(&mut bytes);
        }
        for _ in 0..rng.next_u64() % 5 {
            let place = (rng.next_u64() % (bytes.len() as u64 + 1)) as usize;
            match rng.next_u64() % 3 {
                0 if place < bytes.len() => bytes[place] = rng.next_u64() as u8,
                1 => bytes.truncate(place),
                _ => bytes.insert(place, rng.next_u64() as u8),
            }
        }
        script.bytes(bytes);
    }
    let mut other = Catalog::new(1);
    for (at, bytes) in script.log.iter().enumerate() {
        other.apply(at as u64 + 1, bytes);
    }
    assert_eq!(other.state_hash(), script.catalog.state_hash());
    let snapshot = script.catalog.snapshot();
    assert!(Catalog::restore(&snapshot).unwrap() == script.catalog);
}

#[test]
fn a_damaged_snapshot_is_refused_or_read_and_never_a_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let snapshot = chance_script(3, 300, 20_000).catalog.snapshot();
    for _ in 0..2_000 {
        let mut bytes = snapshot.clone();
        for _ in 0..1 + rng.next_u64() % 3 {
            let place = (rng.next_u64() % bytes.len() as u64) as usize;
            bytes[place] = rng.next_u64() as u8;
        }
        bytes.truncate(bytes.len() - (rng.next_u64() % 3) as usize);
        if let Ok(mut catalog) = Catalog::restore(&bytes) {
            let index = catalog.applied().index.saturating_add(1).max(1);
            if index > catalog.applied().index {
                catalog.apply(index, b"");
            }
        }
    }
}

#[test]
fn a_snapshot_of_a_newer_format_is_refused_with_what_to_do() {
    let mut bytes = Catalog::new(1).snapshot();
    bytes[4] = 9;
    let error = Catalog::restore(&bytes).unwrap_err();
    assert!(matches!(error, RestoreError::NewerFormat { found: 9, known } if known < 9), "{error:?}");
    assert!(error.to_string().contains("start the newer version of penstock again"), "{error}");
    assert!(matches!(Catalog::restore(b"PSC"), Err(RestoreError::Malformed(_))));
    assert!(matches!(Catalog::restore(b"not a snapshot"), Err(RestoreError::Malformed(_))));
}
