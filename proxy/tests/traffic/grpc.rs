//! grpcio on both sides: calls of all four kinds with their metadata, trailers and statuses, deadlines that are passed on, and
//! callers that leave.

use std::process::Stdio;

use mesh::Protocol;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::process::{PATIENCE, Server, python};
use crate::stage::Hops;
use crate::support::run;

const CALLS: [&str; 9] = [
    "unary hsem yes True",
    "large 4500000",
    "compressed",
    "client a+b+c",
    "server 500",
    "both ONE TWO THREE and 0 more",
    "status FAILED_PRECONDITION 'no: \u{fc} and\\nanother line, 100 %' True",
    "status UNIMPLEMENTED 'Method not found!' False",
    "deadline DEADLINE_EXCEEDED",
];

#[test]
fn calls_of_all_four_kinds_pass_with_metadata_statuses_deadlines_and_cancellation() {
    run(async {
        let mut server = Server::ours(python("streams.py", &["grpc-server"])).await;
        let hops = Hops::to(server.address, Protocol::Grpc);
        let target = hops.outbound().to_string();
        let mut client = python("streams.py", &["grpc-client", &target]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = client.stdin.take().unwrap();
        let mut told = BufReader::new(client.stdout.take().unwrap()).lines();
        let mut next = async || {
            let line = tokio::time::timeout(PATIENCE, told.next_line()).await.expect("the client goes on");
            line.unwrap().expect("the client goes on")
        };
        for call in CALLS {
            assert_eq!(next().await, call);
        }
        let remaining = server.line().await;
        let seconds: f64 = remaining.strip_prefix("remaining ").unwrap().parse().unwrap();
        assert!(seconds > 0.0 && seconds < 40.0, "the deadline comes to the application: {remaining}");
        assert_eq!(next().await, "waits");
        // It is told when that has passed, and a call without end is under way, of which it may hear first.
        let mut told = [server.line().await, server.line().await];
        told.sort();
        assert!(told[0] == "cancelled" && told[1].starts_with("remaining "), "{told:?}");
        input.write_all(b"leave\n").await.unwrap();
        assert_eq!(next().await, "left CANCELLED");
        assert_eq!(server.line().await, "cancelled", "the application is told that its caller left");
        input.write_all(b"end\n").await.unwrap();
        assert!(client.wait().await.unwrap().success());
        let taken = hops.caller.workers.take().await;
        assert_eq!(taken.counters.accepted_total, 1, "all calls shared the client's connection");
        let (asked, failed) = taken.edges.iter().fold((0, 0), |(asked, failed), (_, traffic)| {
            (asked + traffic.requests(), failed + traffic.requests() - traffic.successes)
        });
        // The deadline and the caller that left; what FAILED_PRECONDITION and UNIMPLEMENTED say is no failure of the service.
        assert_eq!((asked, failed), (11, 2), "{:?}", taken.edges);
    });
}
