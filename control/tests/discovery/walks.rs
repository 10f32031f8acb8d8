//! Random walks: a client that subscribes, drops, refuses and reconnects at random, over a network that delays, against
//! a catalog that changes at random. When the chaos ends, it must hold exactly what there is. The walk is a function of
//! its seed, which a failure names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use control::catalog::Change;
use control::discovery::{Client, Kind, Output, Push, Session, Shelf, Way};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use mesh::{Protocol, Revision};

use crate::desk::{endpoints, full, node, service, split};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const KINDS: [Kind; 3] = [Kind::Cluster, Kind::Endpoints, Kind::Routes];
const STEPS: usize = 400;
/// As many as take a second or two; the first thousands were walked once.
const SEEDS: u64 = 100;

/// SplitMix64 (Steele, Lea, Flood 2014): enough chance for a walk.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

struct Walk {
    chance: Chance,
    way: Way,
    shelf: Shelf,
    index: u64,
    session: Session,
    fresh: bool,
    /// Answers on their way to the client.
    answers: VecDeque<Push>,
    wanted: BTreeSet<(Kind, String)>,
    held: BTreeMap<(Kind, String), Revision>,
    /// Versions that this client refuses whenever it sees them, or none.
    bad: BTreeSet<(Kind, String, Revision)>,
    /// The last version and nonce per kind, which the older variant repeats.
    last: BTreeMap<Kind, (String, String)>,
}

impl Walk {
    fn new(seed: u64, way: Way) -> Self {
        Self {
            chance: Chance(seed),
            way,
            shelf: Shelf::default(),
            index: 0,
            session: Session::new(way),
            fresh: true,
            answers: VecDeque::new(),
            wanted: BTreeSet::new(),
            held: BTreeMap::new(),
            bad: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        match self.chance.below(20) {
            0..6 => self.change(),
            6..10 => self.want(),
            10..12 => self.unwant(),
            12..19 => self.deliver(true),
            _ => self.reconnect(),
        }
    }

    fn change(&mut self) {
        self.index += 1;
        let (name, at) = (self.chance.one_of(&NAMES), self.index);
        let change = match self.chance.below(6) {
            0 => service(name, None, at),
            1 => service(name, Some(Protocol::Http2), at),
            2 => split(name, &[(self.chance.one_of(&NAMES), 1)], at),
            3 => endpoints(name, &[], at),
            _ => endpoints(name, &["10.0.0.1:80", "10.0.0.2:80"], at),
        };
        if self.chance.below(8) == 0 {
            self.bad.insert((self.chance.one_of(&KINDS), full(name), Revision::new(1, at)));
        }
        self.commit(&[change]);
    }

    fn commit(&mut self, changes: &[Change]) {
        let at = Revision::new(1, self.index);
        let mut out = Vec::new();
        for touch in self.shelf.changed(changes, at, at, false) {
            self.session.touched(&touch);
        }
        self.session.flush(&mut self.shelf, &mut out);
        self.sent(out);
    }

    fn sent(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(push) => self.answers.push_back(push),
                Output::Close(status) => panic!("closed: {status}"),
                _ => {}
            }
        }
    }

    fn want(&mut self) {
        let (kind, name) = (self.chance.one_of(&KINDS), full(self.chance.one_of(&NAMES)));
        self.wanted.insert((kind, name.clone()));
        match self.way {
            // Also what it follows already: then it has dropped it.
            Way::Delta => {
                self.held.remove(&(kind, name.clone()));
                self.delta(kind, |request| request.resource_names_subscribe = vec![name]);
            }
            Way::Whole => self.whole(kind, None),
        }
    }

    fn unwant(&mut self) {
        let (kind, name) = (self.chance.one_of(&KINDS), full(self.chance.one_of(&NAMES)));
        self.wanted.remove(&(kind, name.clone()));
        self.held.remove(&(kind, name.clone()));
        match self.way {
            Way::Delta => self.delta(kind, |request| request.resource_names_unsubscribe = vec![name]),
            // No name at all would ask for everything.
            Way::Whole if !self.names(kind).is_empty() => self.whole(kind, None),
            Way::Whole => {
                self.wanted.insert((kind, name));
                self.whole(kind, None);
            }
        }
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        self.wanted.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect()
    }

    fn delta(&mut self, kind: Kind, fill: impl FnOnce(&mut DeltaDiscoveryRequest)) {
        let node = Some(node("penstock"));
        let mut request = DeltaDiscoveryRequest { node, type_url: kind.type_url(), ..Default::default() };
        // An empty first request for clusters would ask for all of them.
        fill(&mut request);
        if std::mem::take(&mut self.fresh) && request.resource_names_subscribe.is_empty() {
            request.resource_names_subscribe = vec![full("none")];
        }
        let mut out = Vec::new();
        self.session.delta_request(&request, &mut self.shelf, &mut out);
        self.sent(out);
    }

    fn whole(&mut self, kind: Kind, error_detail: Option<Status>) {
        let (version_info, response_nonce) = self.last.get(&kind).cloned().unwrap_or_default();
        let request = DiscoveryRequest {
            node: Some(node("gRPC C-core")),
            type_url: kind.type_url(),
            resource_names: self.names(kind),
            version_info,
            response_nonce,
            error_detail,
            ..DiscoveryRequest::default()
        };
        let mut out = Vec::new();
        self.session.whole_request(&request, &mut self.shelf, &mut out);
        self.sent(out);
    }

    /// The client reads its next answer: takes what is good, says whether anything was not.
    fn deliver(&mut self, may_name: bool) {
        let Some(push) = self.answers.pop_front() else { return };
        let kind = push.kind;
        let is_bad = |name: &str, version| self.bad.contains(&(kind, name.to_owned(), version));
        let bad: Vec<_> = push
            .resources
            .iter()
            .filter(|r| is_bad(&r.name, r.version))
            .map(|r| r.name.to_string())
            .collect();
        // Half of all clients take the good part of a refused answer, the others none of it.
        let named = may_name && self.chance.below(2) == 0;
        if bad.is_empty() || named {
            self.take(&push, &bad);
        }
        let reason = if named { bad.join(", ") } else { "redacted".to_owned() };
        let error = (!bad.is_empty()).then(|| Status { message: reason, ..Status::default() });
        let nonce = push.nonce.to_string();
        match self.way {
            Way::Delta => self.delta(kind, |request| {
                request.response_nonce = nonce;
                request.error_detail = error;
            }),
            Way::Whole => {
                self.last.insert(kind, (push.version.to_string(), nonce));
                self.whole(kind, error);
            }
        }
    }

    fn take(&mut self, push: &Push, bad: &[String]) {
        let complete = self.way == Way::Whole && push.kind == Kind::Cluster;
        if complete {
            let there: BTreeSet<_> = push.resources.iter().map(|resource| &*resource.name).collect();
            self.held.retain(|(kind, name), _| *kind != push.kind || there.contains(name.as_str()));
        }
        for resource in push.resources.iter().filter(|resource| !bad.contains(&resource.name.to_string())) {
            let key = (push.kind, resource.name.to_string());
            if self.wanted.contains(&key) {
                let before = self.held.insert(key, resource.version);
                let still = self.shelf.version(push.kind, &self.client(), &resource.name);
                let fell = before.is_some_and(|before| before > resource.version);
                assert!(!fell || still.is_none(), "{} went back", resource.name);
            }
        }
        for name in &push.removed {
            self.held.remove(&(push.kind, name.to_string()));
        }
    }

    fn reconnect(&mut self) {
        self.session = Session::new(self.way);
        self.answers.clear();
        self.last.clear();
        self.fresh = true;
        for kind in KINDS {
            let names = self.names(kind);
            if names.is_empty() {
                continue;
            }
            match self.way {
                Way::Delta => {
                    let held = self.held.iter().filter(|((of, _), _)| *of == kind);
                    let shown =
                        held.map(|((_, name), version)| (name.clone(), version.to_string())).collect();
                    self.fresh = false;
                    self.delta(kind, |request| {
                        request.resource_names_subscribe = names;
                        request.initial_resource_versions = shown;
                    });
                }
                Way::Whole => self.whole(kind, None),
            }
        }
    }

    fn client(&self) -> Client {
        Client::of(Some(&node(if self.way == Way::Delta { "penstock" } else { "gRPC C-core" }))).unwrap()
    }

    /// The chaos ends: every answer arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.answers.is_empty() {
                return;
            }
            self.deliver(false);
        }
        panic!("answers without end");
    }

    fn differences(&self) -> Vec<String> {
        let client = self.client();
        let mut found = Vec::new();
        for (kind, name) in &self.wanted {
            let there = self.shelf.version(*kind, &client, name);
            let held = self.held.get(&(*kind, name.clone())).copied();
            let refused = there.is_some_and(|version| self.bad.contains(&(*kind, name.clone(), version)));
            // The older variant has no word for endpoints and routes that are gone: their cluster's absence says it.
            let unsayable = self.way == Way::Whole && *kind != Kind::Cluster && there.is_none();
            // What comes complete is taken or refused as a whole.
            let in_bad_company = self.way == Way::Whole && *kind == Kind::Cluster && !self.bad.is_empty();
            if there != held && !refused && !unsayable && !in_bad_company {
                found.push(format!("{} {name}: there is {there:?}, held {held:?}", kind.as_str()));
            }
        }
        found
    }
}

fn walk(way: Way) {
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed, way);
        for _ in 0..STEPS {
            walk.step();
        }
        walk.settle();
        assert_eq!(walk.differences(), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn an_incremental_client_holds_what_there_is_once_the_chaos_ends() {
    walk(Way::Delta);
}

#[test]
fn a_client_of_the_older_variant_holds_what_there_is_once_the_chaos_ends() {
    walk(Way::Whole);
}
