//! The way to a control node: one of several addresses, the next when one fails, a deadline over all tries.
//! Every command that asks goes through here. Calls must bear being sent twice: reads do, writes carry a `WriteId`.

use std::error::Error as _;
use std::fmt::Write as _;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::answer::Failure;
use crate::args::ConnectionArgs;

/// Port of a control node whose address states none.
const DEFAULT_PORT: u16 = 4100;

/// Longest wait for one node. Shorter gives up on a loaded node that would answer; longer keeps the user waiting on a
/// frozen one while its siblings are well.
const TRY_MAX: Duration = Duration::from_secs(2);

/// Pause after every node was tried and one said that it cannot answer now; an election takes about ten times this.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// Largest answer: 10,000 endpoints of an authority, several times over.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One control node, as it was named.
struct Node {
    address: String,
    channel: Channel,
    /// Why its last try failed.
    complaint: Option<String>,
}

/// A way to whichever control node answers.
pub struct Connection {
    nodes: Vec<Node>,
    /// Asked first: the one that answered last.
    preferred: usize,
    timeout: Duration,
}

impl Connection {
    /// Reads the addresses; connects when asked to.
    ///
    /// # Errors
    /// If an address is none, or there is none.
    pub fn new(args: &ConnectionArgs) -> Result<Self, Failure> {
        let mut nodes = Vec::new();
        let mut wrong = Vec::new();
        for address in args.control.iter().map(|address| address.trim()).filter(|address| !address.is_empty())
        {
            match channel(address) {
                Some((address, channel)) => nodes.push(Node { address, channel, complaint: None }),
                None => {
                    wrong.push(format!("{address:?} is no address of a control node: expected HOST:PORT"));
                }
            }
        }
        if nodes.is_empty() && wrong.is_empty() {
            wrong.push("no control node is named: give --control HOST:PORT or PENSTOCK_CONTROL".to_owned());
        }
        if wrong.is_empty() {
            Ok(Self { nodes, preferred: 0, timeout: args.timeout.0 })
        } else {
            Err(Failure::Usage(wrong.join("\n       ")))
        }
    }

    /// The addresses, in the order in which they were named.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.address.as_str())
    }

    /// Asks until a node answers: an answer, or a refusal that every node would give. `call` is sent again to the next
    /// node when one cannot be reached, does not answer in time, or says that it cannot answer now.
    ///
    /// # Errors
    /// `Refused` with the node's own words; `Unreachable` with every node's complaint.
    pub async fn ask<R, C, F>(&mut self, call: C) -> Result<R, Failure>
    where
        C: Fn(Channel) -> F,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        loop {
            let (mut worth_waiting, mut pause) = (false, ROUND_PAUSE);
            for _ in 0..self.nodes.len() {
                match self.ask_preferred(&call, deadline).await {
                    Tried::Answered(answer) => return Ok(answer),
                    Tried::Refused(failure) => return Err(failure),
                    Tried::Unavailable { retriable } => worth_waiting |= retriable,
                    Tried::Busy { after } => {
                        worth_waiting = true;
                        pause = pause.max(spread(after));
                    }
                }
                self.preferred = (self.preferred + 1) % self.nodes.len();
                if Instant::now() >= deadline {
                    return Err(self.unreachable());
                }
            }
            if !worth_waiting || Instant::now() + pause >= deadline {
                return Err(self.unreachable());
            }
            sleep(pause).await;
        }
    }

    /// Asks the node at `index` alone, once.
    ///
    /// # Errors
    /// Its complaint, in one line.
    pub async fn ask_one<R, C, F>(&mut self, index: usize, call: C) -> Result<R, String>
    where
        C: Fn(Channel) -> F,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.preferred = index;
        match self.ask_preferred(&call, Instant::now() + self.timeout).await {
            Tried::Answered(answer) => Ok(answer),
            Tried::Refused(failure) => Err(failure.to_string()),
            Tried::Unavailable { .. } | Tried::Busy { .. } => {
                Err(self.nodes[index].complaint.clone().unwrap_or_default())
            }
        }
    }

    async fn ask_preferred<R, C, F>(&mut self, call: &C, deadline: Instant) -> Tried<R>
    where
        C: Fn(Channel) -> F,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let node = &mut self.nodes[self.preferred];
        let until = deadline.min(Instant::now() + TRY_MAX);
        let status = match timeout_at(until, call(node.channel.clone())).await {
            Ok(Ok(response)) => return Tried::Answered(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => {
                node.complaint = Some("did not answer in time".to_owned());
                return Tried::Unavailable { retriable: true };
            }
        };
        if let Some(after) = pushback(&status) {
            node.complaint = Some(complaint(&status));
            return Tried::Busy { after };
        }
        let Some(retriable) = unavailable(&status) else {
            return Tried::Refused(Failure::Refused(refusal(&status)));
        };
        node.complaint = Some(complaint(&status));
        Tried::Unavailable { retriable }
    }

    fn unreachable(&self) -> Failure {
        let mut said = "no control node answered".to_owned();
        for node in &self.nodes {
            let complaint = node.complaint.as_deref().unwrap_or("was not tried: the time was up");
            let _ = write!(said, "\n  {}: {complaint}", node.address);
        }
        said.push_str(
            "\nhint: does `penstock control` run there? name other nodes by --control or PENSTOCK_CONTROL",
        );
        Failure::Unreachable(said)
    }
}

enum Tried<R> {
    Answered(R),
    Refused(Failure),
    Unavailable {
        /// The node was reached: in a moment it may answer.
        retriable: bool,
    },
    /// The node has too much to do.
    Busy {
        /// The wait that it asks for.
        after: Duration,
    },
}

/// Metadata that names the wait before the next try (gRPC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The wait that a busy node asks for.
fn pushback(status: &Status) -> Option<Duration> {
    let said = status.metadata().get(PUSHBACK)?.to_str().ok()?;
    said.parse().ok().map(Duration::from_millis)
}

/// The wait, or up to twice of it: who were refused together do not come back together.
fn spread(after: Duration) -> Duration {
    let chance = RandomState::new().hash_one(std::process::id()) % 1000;
    after + after.mul_f64(f64::from(u32::try_from(chance).unwrap_or_default()) / 1000.0)
}

/// Whether another node, or the same in a moment, may answer; `Some(true)` when the node itself said so.
fn unavailable(status: &Status) -> Option<bool> {
    let transport = status.source().is_some();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Some(!transport),
        _ if transport => Some(false),
        _ => None,
    }
}

/// The innermost cause of a broken transport, or the node's own words.
fn complaint(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

fn refusal(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => {
            "the control node does not know this call: is it of an older version, or another program?"
                .to_owned()
        }
        _ if status.message().is_empty() => status.code().to_string(),
        _ => status.message().to_owned(),
    }
}

/// A channel that connects when first used, and its address with port.
fn channel(address: &str) -> Option<(String, Channel)> {
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let authority: http::uri::Authority = bare.parse().ok()?;
    let explicit = bare.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if explicit { bare.to_owned() } else { format!("{bare}:{DEFAULT_PORT}") };
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return None;
    }
    if explicit && authority.port_u16().is_none_or(|port| port == 0) {
        return None;
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    Some((address, endpoint.connect_timeout(TRY_MAX).tcp_nodelay(true).connect_lazy()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use api::v1::query_client::QueryClient;
    use tokio::net::TcpListener;

    use super::*;
    use crate::args::Span;

    #[test]
    fn a_busy_node_is_asked_again_after_the_wait_that_it_names_and_no_other_refusal_is() {
        let mut busy =
            Status::resource_exhausted("too many writes wait for their commit; try again in 250 ms");
        assert_eq!(pushback(&busy), None);
        busy.metadata_mut().insert(PUSHBACK, tonic::metadata::MetadataValue::from(250_u64));
        let wait = spread(pushback(&busy).unwrap());
        assert!((Duration::from_millis(250)..Duration::from_millis(500)).contains(&wait), "{wait:?}");
    }

    fn args(control: &[String], timeout: Duration) -> ConnectionArgs {
        ConnectionArgs { control: control.to_vec(), timeout: Span(timeout) }
    }

    async fn members(connection: &mut Connection) -> Result<api::v1::MembersResponse, Failure> {
        let call =
            |channel| async move { QueryClient::new(channel).members(api::v1::MembersRequest {}).await };
        connection.ask(call).await
    }

    /// An address where nobody listens.
    fn refusing() -> String {
        runtime::ports::addresses(1).unwrap()[0].to_string()
    }

    #[tokio::test]
    async fn addresses_are_checked_before_anything_is_tried() {
        for wrong in ["::", "host:99999", "host:0", "a b", "user@host"] {
            let failure = Connection::new(&args(&[wrong.to_owned()], TRY_MAX)).err().unwrap();
            assert!(failure.to_string().contains(wrong), "{wrong}: {failure}");
        }
        let connection = Connection::new(&args(&["node".to_owned(), "[::1]:5".to_owned()], TRY_MAX)).unwrap();
        assert_eq!(connection.addresses().collect::<Vec<_>>(), ["node:4100", "[::1]:5"]);
        assert!(Connection::new(&args(&[String::new()], TRY_MAX)).is_err());
    }

    #[tokio::test]
    async fn when_all_refuse_the_complaint_names_each_and_comes_before_the_deadline() {
        let (one, two) = (refusing(), refusing());
        let mut connection =
            Connection::new(&args(&[one.clone(), two.clone()], Duration::from_secs(600))).unwrap();
        let said = members(&mut connection).await.unwrap_err();
        let Failure::Unreachable(said) = said else { panic!("{said:?}") };
        assert!(said.contains(&one) && said.contains(&two) && said.contains("hint:"), "{said}");
        assert!(said.to_lowercase().contains("refused"), "{said}");
    }

    #[tokio::test]
    async fn a_node_that_accepts_and_never_answers_ends_with_the_deadline() {
        let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = frozen.local_addr().unwrap().to_string();
        let mut connection = Connection::new(&args(&[address], Duration::from_millis(50))).unwrap();
        let said = members(&mut connection).await.unwrap_err();
        assert!(
            matches!(&said, Failure::Unreachable(said) if said.contains("did not answer in time")),
            "{said}"
        );
    }
}
