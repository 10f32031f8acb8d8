//! A group of replicas under one virtual clock: a driver that carries outputs out as the contract says, on a
//! network that delays and loses, and on disks that need time. Everything follows from the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Batch, Log, LogSettings, Loss, Membership, NodeId, Output, PersistError, ProposeError, ReceiveError,
    Replica, ReplicaSettings, Role,
};

use crate::disk::{Disk, Unsynced};

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Deliver { from: u64, to: u64, life: u64, bytes: Bytes, data: Option<(u64, Bytes)> },
    Written { node: u64, life: u64 },
    PeerLost { node: u64, life: u64, peer: u64, loss: Loss },
}

pub(crate) struct Node {
    pub(crate) replica: Replica,
    log: Log,
    life: u64,
    queue: Vec<Batch>,
    writing: Vec<Batch>,
    /// The state machine: everything applied, in order.
    pub(crate) machine: Vec<Bytes>,
    machine_index: u64,
    pub(crate) reads: BTreeMap<u64, Result<usize, String>>,
    pub(crate) lost: BTreeMap<u64, ProposeError>,
    pub(crate) snapshots_installed: usize,
    /// Attempts to send a snapshot.
    pub(crate) attempts: Vec<u64>,
    /// Whether what is kept from now on cannot be read again, and whether what was kept last cannot.
    pub(crate) keeps_rotten: bool,
    is_rotten: bool,
}

pub(crate) struct Cluster {
    pub(crate) now: Duration,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) disks: BTreeMap<u64, Disk>,
    pub(crate) members: Vec<u64>,
    pub(crate) settings: fn(&mut ReplicaSettings),
    pub(crate) segment_bytes: u64,
    /// Nodes whose disks are in doubt when they start.
    pub(crate) doubtful: BTreeSet<u64>,
    /// One-way links that lose everything.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) fsync: Duration,
    /// What each message needs, before chance adds to it.
    pub(crate) latency: Duration,
    /// Nodes whose disk needs longer for an fsync.
    pub(crate) slow: BTreeMap<u64, Duration>,
    pub(crate) acknowledged: Vec<Bytes>,
    pub(crate) leaders: BTreeMap<u64, u64>,
    pub(crate) trace: u64,
    pub(crate) delivered: u64,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    lives: u64,
    chance: u64,
    next_token: u64,
}

impl Cluster {
    pub(crate) fn new(members: &[u64], seed: u64) -> Self {
        Self::with(members, seed, |_| {})
    }

    pub(crate) fn with(members: &[u64], seed: u64, settings: fn(&mut ReplicaSettings)) -> Self {
        let mut cluster = Self {
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            disks: members.iter().map(|node| (*node, Disk::new())).collect(),
            members: members.to_vec(),
            settings,
            segment_bytes: 1 << 14,
            doubtful: BTreeSet::new(),
            cut: BTreeSet::new(),
            fsync: MILLISECOND / 2,
            latency: Duration::ZERO,
            slow: BTreeMap::new(),
            acknowledged: Vec::new(),
            leaders: BTreeMap::new(),
            trace: 0,
            delivered: 0,
            events: BinaryHeap::new(),
            sequence: 0,
            lives: 0,
            chance: seed,
            next_token: 0,
        };
        for node in members {
            cluster.start(*node);
        }
        cluster
    }

    pub(crate) fn start(&mut self, node: u64) {
        let founders =
            Membership::of_voters(self.members.iter().filter(|id| **id != 9).map(|id| NodeId(*id)));
        let founders = if node == 9 { Membership::default() } else { founders };
        let mut settings = LogSettings::new(PathBuf::from("/data"), "test", NodeId(node), founders);
        settings.segment_bytes = self.segment_bytes;
        let disk = self.disks.entry(node).or_default().clone();
        let (log, mut recovered) = Log::open(disk.vfs(), &settings).unwrap();
        recovered.doubtful = self.doubtful.contains(&node);
        let mut settings = ReplicaSettings::new(NodeId(node), self.random());
        (self.settings)(&mut settings);
        let replica = Replica::new(settings, recovered, self.now);
        self.lives += 1;
        let node_value = Node {
            replica,
            log,
            life: self.lives,
            queue: Vec::new(),
            writing: Vec::new(),
            machine: Vec::new(),
            machine_index: 0,
            reads: BTreeMap::new(),
            lost: BTreeMap::new(),
            snapshots_installed: 0,
            attempts: Vec::new(),
            keeps_rotten: false,
            is_rotten: false,
        };
        self.nodes.insert(node, node_value);
        self.carry_out(node);
    }

    /// kill -9 of the process with loss of power: connections end at once on the other side.
    pub(crate) fn kill(&mut self, node: u64, unsynced: Unsynced) {
        self.nodes.remove(&node);
        self.disks[&node].restart(unsynced);
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.lose_connection(other, node);
        }
    }

    /// The host stops answering, and nobody is told.
    pub(crate) fn freeze(&mut self, node: u64) {
        for other in self.members.clone() {
            self.cut.insert((node, other));
            self.cut.insert((other, node));
        }
    }

    /// A node sees its connection to a peer end, dials again, and is refused if no process is there.
    pub(crate) fn lose_connection(&mut self, node: u64, peer: u64) {
        let life = self.nodes[&node].life;
        let delay = self.delay();
        self.push(delay, Event::PeerLost { node, life, peer, loss: Loss::Ended });
    }

    /// What a node is told of a peer, at once.
    pub(crate) fn tell_loss(&mut self, node: u64, peer: u64, loss: Loss) {
        let now = self.now;
        self.nodes.get_mut(&node).unwrap().replica.peer_lost(NodeId(peer), loss, now);
        self.carry_out(node);
    }

    fn random(&mut self) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.chance ^ (self.chance >> 29)
    }

    fn delay(&mut self) -> Duration {
        self.latency + Duration::from_micros(100 + self.random() % 400)
    }

    fn push(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay, self.sequence, event)));
    }

    /// Runs until `done` says so; panics after `limit` of virtual time.
    pub(crate) fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(end), "not within {limit:?}: {what}");
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Does the next thing before `end`, if there is one.
    fn step(&mut self, end: Duration) -> bool {
        let tick = self.nodes.iter().map(|(id, node)| (node.replica.next_deadline(), *id)).min();
        let event = self.events.peek().map(|Reverse((at, ..))| *at);
        let next = tick.map(|(at, _)| at).into_iter().chain(event).min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        if event.is_some_and(|at| at <= next) {
            let Reverse((_, _, event)) = self.events.pop().unwrap();
            self.happen(event);
        } else if let Some((_, node)) = tick {
            let now = self.now;
            self.nodes.get_mut(&node).unwrap().replica.tick(now);
            self.carry_out(node);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let alive =
            |cluster: &Self, node: u64, life: u64| cluster.nodes.get(&node).is_some_and(|n| n.life == life);
        match event {
            Event::Deliver { from, to, life, bytes, data } => {
                if self.cut.contains(&(from, to)) || !alive(self, from, life) || !self.nodes.contains_key(&to)
                {
                    return;
                }
                self.fold(&bytes);
                self.delivered += 1;
                if let Some((attempt, data)) = data {
                    let sender = &mut self.nodes.get_mut(&from).unwrap().replica;
                    sender.snapshot_sent(NodeId(to), attempt, true);
                    let receiver = &mut self.nodes.get_mut(&to).unwrap().replica;
                    receiver.receive_snapshot(NodeId(from), bytes, data, now).unwrap();
                    self.carry_out(from);
                } else {
                    let receiver = &mut self.nodes.get_mut(&to).unwrap().replica;
                    match receiver.receive(NodeId(from), bytes, now) {
                        Ok(()) | Err(ReceiveError::Unknown { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                self.carry_out(to);
            }
            Event::Written { node, life } if alive(self, node, life) => {
                let value = self.nodes.get_mut(&node).unwrap();
                let batches = std::mem::take(&mut value.writing);
                match value.log.persist(&batches) {
                    Ok(()) => {
                        value.replica.persisted(batches.last().unwrap().number, now);
                        self.carry_out(node);
                    }
                    Err(PersistError::DiskFull { .. }) => {
                        value.writing = batches;
                        self.push(MILLISECOND * 10, Event::Written { node, life });
                    }
                    Err(PersistError::Fatal { .. }) => self.kill(node, Unsynced::Torn(life)),
                }
            }
            Event::PeerLost { node, life, peer, loss } if alive(self, node, life) => {
                self.tell_loss(node, peer, loss);
                if loss == Loss::Ended && !self.nodes.contains_key(&peer) && !self.cut.contains(&(node, peer))
                {
                    let there_and_back = self.delay() + self.delay();
                    self.push(there_and_back, Event::PeerLost { node, life, peer, loss: Loss::Refused });
                }
            }
            Event::Written { .. } | Event::PeerLost { .. } => {}
        }
    }

    fn fold(&mut self, bytes: &[u8]) {
        let time = u64::try_from(self.now.as_nanos()).unwrap();
        for word in std::iter::once(time).chain(bytes.iter().map(|byte| u64::from(*byte))) {
            self.trace = (self.trace ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(5);
        }
    }

    pub(crate) fn carry_out(&mut self, node: u64) {
        let now = self.now;
        while let Some(value) = self.nodes.get_mut(&node) {
            let outputs = value.replica.outputs(now);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.carry_out_one(node, output);
            }
        }
        let Some(value) = self.nodes.get_mut(&node) else { return };
        if value.writing.is_empty() && !value.queue.is_empty() {
            value.writing = std::mem::take(&mut value.queue);
            let (life, fsync) = (value.life, self.slow.get(&node).copied().unwrap_or(self.fsync));
            self.push(fsync, Event::Written { node, life });
        }
    }

    fn carry_out_one(&mut self, node: u64, output: Output) {
        let delay = self.delay();
        let Some(value) = self.nodes.get_mut(&node) else { return };
        let life = value.life;
        match output {
            Output::RoleChanged { role, term, .. } => {
                if role == Role::Leader {
                    let other = self.leaders.insert(term, node);
                    assert!(other.is_none_or(|other| other == node), "two leaders in term {term}");
                }
            }
            Output::Send { to, bytes } => {
                self.push(delay, Event::Deliver { from: node, to: to.0, life, bytes, data: None });
            }
            Output::SendSnapshot { to, index, attempt, bytes } => {
                value.attempts.push(attempt);
                let _news = value.is_rotten && value.replica.snapshot_unreadable(index, attempt, self.now);
                let read = value.log.snapshots().read(index).unwrap();
                let Some(snapshot) = read.filter(|_| !value.is_rotten) else {
                    return value.replica.snapshot_sent(to, attempt, false);
                };
                let data = Some((attempt, snapshot.data));
                self.push(delay, Event::Deliver { from: node, to: to.0, life, bytes, data });
            }
            Output::Persist(batch) => value.queue.push(batch),
            Output::Apply(entries) => {
                for entry in entries {
                    assert_eq!(entry.index, value.machine_index.max(1) + 1, "node {node} skips entries");
                    value.machine_index = entry.index;
                    if !entry.data.is_empty() {
                        value.machine.push(entry.data.clone());
                    }
                    if entry.token.is_some() && !entry.data.is_empty() {
                        self.acknowledged.push(entry.data);
                    }
                }
                value.replica.applied(value.machine_index);
            }
            Output::InstallSnapshot { index, data, .. } => {
                value.machine = unpack(&data);
                value.machine_index = index;
                value.snapshots_installed += 1;
                value.replica.applied(index);
            }
            Output::ReadReady { token, .. } => {
                assert!(value.reads.insert(token, Ok(value.machine.len())).is_none(), "read answered twice");
            }
            Output::ReadFailed { token, reason } => {
                assert!(value.reads.insert(token, Err(reason.to_string())).is_none(), "read answered twice");
            }
            Output::ProposalLost { token, reason } => {
                value.lost.insert(token, reason);
            }
            Output::MakeSnapshot => value.replica.snapshot_made(value.machine_index, pack(&value.machine)),
            Output::KeepSnapshot(snapshot) => match value.log.snapshots().keep(&snapshot) {
                Ok(()) => {
                    value.is_rotten = value.keeps_rotten;
                    value.replica.snapshot_kept(snapshot.index);
                }
                Err(PersistError::DiskFull { .. }) => {}
                Err(PersistError::Fatal { .. }) => self.kill(node, Unsynced::Torn(life)),
            },
            Output::CompactLog { below } => {
                if value.log.compact(below).is_err() {
                    self.kill(node, Unsynced::Torn(life));
                }
            }
        }
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |(id, node): (&u64, &Node)| {
            let status = node.replica.status();
            (status.role == Role::Leader).then_some((status.term, *id))
        };
        self.nodes.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    pub(crate) fn elect(&mut self) -> u64 {
        self.until(Duration::from_secs(3), "a leader that everybody knows", |cluster| {
            let Some(leader) = cluster.leader() else { return false };
            cluster.nodes.values().all(|node| node.replica.status().leader == Some(NodeId(leader)))
        });
        self.leader().unwrap()
    }

    /// Proposes on `node`; returns the token.
    pub(crate) fn propose(&mut self, node: u64, data: &str) -> Result<u64, ProposeError> {
        self.next_token += 1;
        let token = self.next_token;
        let value = self.nodes.get_mut(&node).unwrap();
        value.replica.propose(token, Bytes::copy_from_slice(data.as_bytes()))?;
        self.carry_out(node);
        Ok(token)
    }

    pub(crate) fn read(&mut self, node: u64) -> u64 {
        self.next_token += 1;
        let (token, now) = (self.next_token, self.now);
        self.nodes.get_mut(&node).unwrap().replica.read(token, now).unwrap();
        self.carry_out(node);
        token
    }

    /// Waits until all that was acknowledged is applied on all nodes that run, in one order.
    pub(crate) fn converge(&mut self) {
        self.until(Duration::from_secs(10), "all nodes hold the same", |cluster| {
            let mut machines = cluster.nodes.values().map(|node| &node.machine);
            let first = machines.next().unwrap();
            let same = machines.all(|machine| machine == first);
            let held: BTreeSet<&Bytes> = first.iter().collect();
            same && cluster.acknowledged.iter().all(|data| held.contains(data))
        });
    }

    /// Nodes agree on what both have applied.
    pub(crate) fn check_agreement(&self) {
        let machines: Vec<&Vec<Bytes>> = self.nodes.values().map(|node| &node.machine).collect();
        for pair in machines.windows(2) {
            let both = pair[0].len().min(pair[1].len());
            assert_eq!(pair[0][..both], pair[1][..both]);
        }
    }
}

fn pack(machine: &[Bytes]) -> Bytes {
    let mut packed = vec![b'#'];
    for data in machine {
        packed.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        packed.extend_from_slice(data);
    }
    packed.into()
}

fn unpack(packed: &Bytes) -> Vec<Bytes> {
    let mut rest = packed.slice(packed.len().min(1)..);
    let mut machine = Vec::new();
    while rest.len() >= 4 {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        machine.push(rest.slice(4..4 + length));
        rest = rest.slice(4 + length..);
    }
    machine
}
