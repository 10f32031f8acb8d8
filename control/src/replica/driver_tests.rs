//! The driver as a value, with a real log in a directory of its own and nobody to talk to: what it does with one batch.

use std::path::PathBuf;

use actix::{AsyncContext as _, Context};
use api::log::v1::outcome::Result as Told;
use api::log::v1::{DeleteConfig, RaiseVersion};
use api::v1::QualifiedName;
use consensus::{Log, LogSettings, ReplicaSettings, StdVfs};
use runtime::dial::Dialler;
use tokio::task::LocalSet;

use super::*;
use crate::catalog::versions;
use crate::metrics::Metrics;
use crate::replica::clock::system_wall;
use crate::replica::peers::{Identity, Own, Roster};

/// A node alone; its directory goes with it.
struct Alone {
    driver: Driver,
    durable: watch::Receiver<u64>,
    replica: Addr<ReplicaActor>,
    now: Duration,
    directory: PathBuf,
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Alone {
    /// In the current LocalSet.
    fn new(name: &str) -> Self {
        let node = NodeId(1);
        let directory = std::env::temp_dir().join(format!("penstock-driver-{}-{name}", std::process::id()));
        let founders = Membership::of_voters([node]);
        let settings = LogSettings::new(directory.clone(), "test", node, founders);
        let (log, recovered) = Log::open(std::sync::Arc::new(StdVfs), &settings).unwrap();
        let (metrics, life) = (Metrics::new(), OwnLife::new(Life::After(FIRST_EPOCH)));
        let own = Own {
            node,
            cluster: "test".to_owned(),
            peer_address: None,
            client_address: "127.0.0.1:4100".to_owned(),
            disk: 1,
            commands: versions::NEWEST,
        };
        let roster = std::sync::Arc::new(Roster::new(node, &BTreeMap::new()));
        let identity = std::sync::Arc::new(Identity::new(own, roster, life.clone(), &metrics.peers));
        let files = log.snapshots();
        let (told, durable) = watch::channel(0);
        let parts = Parts {
            replica: Replica::new(ReplicaSettings::new(node, 1), recovered, Duration::ZERO),
            links: Links::new(identity, Dialler::System, metrics.peers.clone()),
            catalog: Rc::new(RefCell::new(Catalog::new(FIRST_EPOCH))),
            disk: Disk::start_here(log, 0, told, metrics.disk.clone()),
            files,
            subscribers: Subscribers::new(Vec::new(), metrics.replica.subscriber_overruns.clone()),
            leadership: watch::channel(Leadership::unknown(node)).0,
            life,
            proposals_in_flight: 1000,
            wall: system_wall,
            metrics: metrics.replica.clone(),
            commands: versions::NEWEST,
        };
        let replica = Context::<ReplicaActor>::new().address();
        Self { driver: Driver::new(parts), durable, replica, now: Duration::ZERO, directory }
    }

    /// Goes on until the disk has answered for everything so far.
    async fn settle(&mut self) {
        while self.driver.replica.disk_owes() > Duration::ZERO || self.turn() {
            self.durable.changed().await.unwrap();
            let number = *self.durable.borrow_and_update();
            self.driver.replica.persisted(number, self.now);
        }
    }

    /// Carries out what is due; whether the disk has something to do.
    fn turn(&mut self) -> bool {
        self.now += Duration::from_millis(1);
        self.driver.replica.tick(self.now);
        self.driver.carry_out(&self.replica, self.now);
        self.now += Duration::from_millis(1);
        self.driver.replica.tick(self.now);
        self.driver.replica.disk_owes() > Duration::ZERO
    }
}

/// What only members of the fourth version understand, about a route that is not there.
fn newer() -> Body {
    let name = QualifiedName { name: "absent".to_owned(), namespace: "default".to_owned() };
    Body::DeleteConfig(DeleteConfig { grpc_route: Some(name), ..DeleteConfig::default() })
}

/// A leader refuses what not all know before it proposes it, so that these orders come about on followers, and after a restart.
#[tokio::test]
async fn each_entry_of_a_batch_is_judged_by_the_version_in_force_at_its_place() {
    let set = LocalSet::new();
    set.run_until(async {
        let mut alone = Alone::new("raise");
        while !alone.driver.leadership.borrow().is_here() || !alone.driver.catalog.borrow().is_begun() {
            alone.settle().await;
        }
        let raise = Body::RaiseVersion(RaiseVersion { version: versions::ROUTES_SAY_MORE });
        let before = alone.driver.catalog.borrow().applied().index;
        let mut answers = Vec::new();
        for body in [newer(), raise, newer()] {
            let (answer, answered) = oneshot::channel();
            let command = Command { id: None, at_ms: 0, body: Some(body) };
            let admitted = alone.driver.admission.offered(Class::Discovery, (command, answer), alone.now);
            let Verdict::Go((command, answer)) = admitted else { panic!("nothing else is under way") };
            alone.driver.propose_now(command, Class::Discovery, answer, alone.now);
            answers.push(answered);
        }
        let mut applied = Vec::new();
        while applied.last() != Some(&(before + 3)) {
            alone.settle().await;
            applied.push(alone.driver.catalog.borrow().applied().index);
        }
        assert!(
            applied.iter().all(|index| *index == before || *index == before + 3),
            "one batch: {applied:?}"
        );
        let mut said = Vec::new();
        for answered in answers {
            said.push(answered.await.unwrap().unwrap().result);
        }
        let [Some(Told::Refused(early)), Some(Told::Done(_)), Some(Told::Refused(late))] = &said[..] else {
            panic!("{said:?}")
        };
        assert!(early.message.contains("is of version 4 of commands"), "{early:?}");
        assert!(!late.message.contains("version"), "it was read, and there is no such route: {late:?}");
    })
    .await;
}
