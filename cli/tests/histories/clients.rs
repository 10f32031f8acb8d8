//! Clients that write and read a few keys through every node in turn, and record what they asked and what they were told. A key
//! is a service; what stands there is the port of its one instance.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, EndpointsRequest, LeaseKey, LeaveRequest, Protocol, QualifiedName};
use api::v1::{RegisterRequest, WriteId};
use simulation::{Deed, Operation, Seen, Told, Verdict, linearizable};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Status};

use crate::hosts::{NODES, address};

const CLIENTS: u64 = 6;
const KEYS: u64 = 24;
/// Between two calls of one client.
const PAUSE: Duration = Duration::from_millis(10);
/// After this nobody knows the outcome of a call.
const CALL_MAX: Duration = Duration::from_millis(500);
/// Values of a key begin anew after so many, as ports do.
const VALUES: u64 = 60_000;
const FIRST_PORT: u64 = 1024;

/// What all clients did, in the order in which requests went out and answers came.
#[derive(Default)]
struct Record {
    moment: u64,
    operations: Vec<(u64, Operation)>,
    writes: u64,
    reads: u64,
    unknown: u64,
}

/// Several clients that run until they are ended.
pub(crate) struct Clients {
    record: Rc<RefCell<Record>>,
    stop: watch::Sender<bool>,
    written: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Begins. Only on a LocalSet.
    pub(crate) fn begin() -> Self {
        let record = Rc::new(RefCell::new(Record::default()));
        let (stop, stopped) = watch::channel(false);
        let (tell, written) = watch::channel(0);
        let begin = |number| {
            let client = Client { number, record: Rc::clone(&record), written: tell.clone() };
            tokio::task::spawn_local(client.run(stopped.clone()))
        };
        let tasks = (0..CLIENTS).map(begin).collect();
        Self { record, stop, written, tasks }
    }

    /// Ready once so many more writes were acknowledged.
    pub(crate) async fn write(&mut self, more: u64) {
        let goal = *self.written.borrow() + more;
        self.written.wait_for(|written| *written >= goal).await.unwrap();
    }

    /// Ends all clients, and says whether what they were told is possible.
    pub(crate) async fn end(self) -> String {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
        let Record { operations, writes, reads, unknown, .. } = self.record.take();
        for key in 0..KEYS {
            let of_key: Vec<Operation> = operations
                .iter()
                .filter(|(of, operation)| *of == key && !operation.void)
                .map(|(_, operation)| *operation)
                .collect();
            let verdict = linearizable(&of_key);
            let told = || of_key.iter().map(|operation| format!("{operation:?}\n")).collect::<String>();
            assert_eq!(verdict, Verdict::Yes, "key {key}:\n{}", told());
        }
        format!("{writes} writes and {reads} reads answered, {unknown} calls never answered: linearizable")
    }
}

struct Client {
    number: u64,
    record: Rc<RefCell<Record>>,
    written: watch::Sender<u64>,
}

impl Client {
    async fn run(self, stopped: watch::Receiver<bool>) {
        let channels: Vec<Channel> = (1..=NODES).map(channel).collect();
        let mut turns = interval(PAUSE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = self.number;
        while !*stopped.borrow() {
            turns.tick().await;
            turn += 1;
            let key = turn * 5 % KEYS;
            let deed = match turn % 5 {
                0 | 2 => Deed::Put((turn * CLIENTS + self.number) % VALUES),
                4 if turn.is_multiple_of(3) => Deed::Take,
                _ => Deed::Read,
            };
            self.until_answered(&channels, key, deed, turn, &stopped).await;
        }
    }

    /// A write of which nobody knows the outcome is sent again, as the same write, to the next node, until it is answered.
    async fn until_answered(
        &self,
        channels: &[Channel],
        key: u64,
        deed: Deed,
        turn: u64,
        stopped: &watch::Receiver<bool>,
    ) {
        let operation = self.begins(key, deed);
        let mut tries = 0;
        let mut turns = interval(PAUSE);
        loop {
            turns.tick().await;
            let channel = channels[usize::try_from((turn + tries) % NODES).unwrap()].clone();
            let answered = timeout(CALL_MAX, self.call(channel, key, deed, turn)).await;
            match answered {
                Ok(Ok(told)) => return self.ends(operation, told),
                Ok(Err(status)) if tries == 0 && status.code() == Code::ResourceExhausted => {
                    self.record.borrow_mut().operations[operation].1.void = true;
                    return;
                }
                _ if deed == Deed::Read || *stopped.borrow() => {
                    self.record.borrow_mut().unknown += 1;
                    return;
                }
                _ => tries += 1,
            }
        }
    }

    async fn call(&self, channel: Channel, key: u64, deed: Deed, sequence: u64) -> Result<Told, Status> {
        let service = Some(QualifiedName { name: format!("key-{key}"), namespace: "default".to_owned() });
        let authority = Some(Authority { service: service.clone(), port: 80 });
        let id = Some(WriteId { client: format!("client-{}", self.number), sequence, since: None });
        match deed {
            Deed::Put(value) => {
                let endpoint = Endpoint {
                    instance: "one".to_owned(),
                    address: format!("10.0.0.1:{}", FIRST_PORT + value),
                    workload: service,
                    ..Endpoint::default()
                };
                let protocol = Protocol::Http1.into();
                let request = RegisterRequest {
                    id,
                    authority,
                    protocol,
                    endpoint: Some(endpoint),
                    lease_seconds: 3600,
                };
                RegistrationClient::new(channel).register(request).await.map(|_| Told::Done)
            }
            Deed::Take => {
                let lease = Some(LeaseKey { authority, instance: "one".to_owned() });
                let left = RegistrationClient::new(channel).leave(LeaveRequest { id, lease }).await;
                left.map(|_| Told::Done)
            }
            Deed::Read => {
                let request = EndpointsRequest { service, ..EndpointsRequest::default() };
                match QueryClient::new(channel).endpoints(request).await {
                    Ok(answer) => Ok(Told::Value(value(&answer.into_inner().endpoints))),
                    Err(status) if status.code() == Code::NotFound => Ok(Told::Value(None)),
                    Err(status) => Err(status),
                }
            }
        }
    }

    fn begins(&self, key: u64, deed: Deed) -> usize {
        let mut record = self.record.borrow_mut();
        record.moment += 1;
        let operation = Operation { deed, told: None, begun: record.moment, ended: None, void: false };
        record.operations.push((key, operation));
        record.operations.len() - 1
    }

    fn ends(&self, number: usize, told: Told) {
        let record = &mut *self.record.borrow_mut();
        record.moment += 1;
        let operation = &mut record.operations[number].1;
        operation.told = Some(told);
        operation.ended = Some(record.moment);
        if operation.deed == Deed::Read {
            record.reads += 1;
        } else {
            record.writes += 1;
            self.written.send_modify(|written| *written += 1);
        }
    }
}

fn channel(node: u64) -> Channel {
    Address::from_shared(format!("http://{}", address(node, 4100)))
        .unwrap()
        .connect_timeout(CALL_MAX)
        .connect_lazy()
}

fn value(rows: &[api::v1::EndpointRow]) -> Seen {
    let address = &rows.first()?.endpoint.as_ref()?.address;
    let port: u64 = address.rsplit(':').next()?.parse().ok()?;
    Some(port - FIRST_PORT)
}
