//! What policies on requests do to real programs: curl and grpcio ask, and Node and grpcio answer late, by halves, not at all, or
//! with errors. How long anything takes is asserted from below only: a machine may be slow.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::{Abort, Balancer, CircuitBreaker, Fault, Protocol, RateLimit, Retry, RetryBudget};
use proxy::worker::{InboundSettings, WorkerSettings};
use tokio::time::timeout;

use crate::instance::{Instance, asking, status, statuses, web};
use crate::process::{PATIENCE, Server, curl, ended, node, python, said};
use crate::support::{Declared, Mesh, endpoint, mesh, run, settings, with_inbound};

/// Longer than any run of a test here, so that nothing is granted twice.
const LONG: Duration = Duration::from_secs(3600);

/// A caller's proxy before these instances of `web`, under what `changed` makes of its rule and policy.
fn before(instances: &[&Instance], changed: impl FnOnce(&mut Declared)) -> Mesh {
    let mut declared = web(instances.iter().map(|instance| instance.endpoint()).collect());
    changed(&mut declared);
    mesh(&settings(), &[declared])
}

fn retry(codes: &[u16], attempts: u32) -> Option<Retry> {
    let backoff = Duration::from_millis(1);
    Some(Retry { codes: codes.to_vec(), grpc_codes: Vec::new(), attempts, backoff })
}

/// The status of one request, and how many seconds curl waited for it.
async fn timed(mesh: &Mesh) -> (String, f64) {
    let told = said(asking(mesh.outbound, "%{http_code} %{time_total}", &[], "http://web/")).await;
    let (status, seconds) = told.split_once(' ').unwrap();
    (status.to_owned(), seconds.parse().unwrap())
}

#[test]
fn a_request_that_nobody_answers_is_told_so_when_its_time_is_over_and_not_before() {
    run(async {
        let silent = Instance::start("holds").await;
        let mesh = before(&[&silent], |web| web.rules[0].request_timeout = Some(Duration::from_millis(300)));
        let (status, seconds) = timed(&mesh).await;
        assert_eq!(status, "504");
        assert!(seconds >= 0.3, "{seconds}");
    });
}

#[test]
fn a_try_that_an_instance_leaves_unanswered_is_answered_by_another() {
    run(async {
        let (silent, well) = (Instance::start("holds").await, Instance::start("well").await);
        let mesh = before(&[&silent, &well], |web| {
            // In turn, so that one of two requests is led to the one that is silent. On a machine so busy that a try at the other
            // one takes too long too, there are more tries.
            web.policy.balancer = Balancer::RoundRobin;
            web.policy.retry_budget = Some(RetryBudget { percent: 100, ..RetryBudget::default() });
            web.rules[0].try_timeout = Some(Duration::from_secs(1));
            web.rules[0].policy.retry = retry(&[], 5);
        });
        let (first, second) = (timed(&mesh).await, timed(&mesh).await);
        assert_eq!((&*first.0, &*second.0), ("200", "200"));
        assert!(first.1.max(second.1) >= 1.0, "one of them waited for a try to end: {first:?} {second:?}");
        assert!(well.asked().await >= 2);
    });
}

#[test]
fn a_service_whose_instances_all_fail_counts_no_more_retries_than_its_budget_has() {
    run(async {
        let instances = [Instance::start("fails").await, Instance::start("fails").await];
        let mesh = before(&[&instances[0], &instances[1]], |web| {
            web.rules[0].policy.retry = retry(&[500], 1);
            let budget = RetryBudget { percent: 20, window: LONG, min_retries: 3, min_window: LONG };
            web.policy.retry_budget = Some(budget);
        });
        assert!(statuses(mesh.outbound, 100).await.iter().all(|status| status == "500"));
        let asked = instances[0].asked().await + instances[1].asked().await;
        assert_eq!(asked, 100 + 20 + 3, "without a budget each request would be sent twice");
    });
}

#[test]
fn before_each_further_try_there_is_a_wait_that_grows() {
    run(async {
        let failing = Instance::start("fails").await;
        let mesh = before(&[&failing], |web| {
            let backoff = Duration::from_millis(100);
            web.rules[0].policy.retry = retry(&[500], 3).map(|retry| Retry { backoff, ..retry });
        });
        let (status, seconds) = timed(&mesh).await;
        assert_eq!((&*status, failing.asked().await), ("500", 4));
        assert!(seconds >= 0.1 + 0.2 + 0.4, "{seconds}");
    });
}

#[test]
fn half_an_answer_that_never_goes_on_is_no_whole_one_for_curl() {
    // What curl ends with: a part of a file, and a stream that was reset.
    for (version, ends) in [("--http1.1", 18), ("--http2-prior-knowledge", 92)] {
        run(async {
            let halting = Instance::start("half").await;
            let mesh = before(&[&halting], |web| {
                web.rules[0].policy.stream_idle = Some(Duration::from_millis(300));
            });
            let command = asking(mesh.outbound, "%{http_code} %{time_total}", &[version], "http://web/");
            let (code, told, errors) = ended(command, b"").await;
            assert_eq!(code, Some(ends), "{version}: {told} {errors}");
            let seconds: f64 = told.strip_prefix("200 ").unwrap().parse().unwrap();
            assert!(seconds >= 0.3, "{version}: {seconds}");
        });
    }
}

/// A caller's proxy before a server of gRPC, with so much time for each call.
fn before_grpc(server: &Server, request_timeout: Option<Duration>) -> Mesh {
    let mut declared = web(vec![endpoint("web", server.address, 100)]);
    declared.protocol = Protocol::Grpc;
    declared.rules[0].request_timeout = request_timeout;
    mesh(&settings(), &[declared])
}

#[test]
fn the_time_that_a_call_has_is_told_to_its_server_and_ends_the_call_on_either_side() {
    run(async {
        let mut server = Server::ours(python("streams.py", &["grpc-server"])).await;
        // The caller's own word, and the route's for a caller that would wait for ever.
        let time = Duration::from_secs(3);
        for (route, caller) in [(None, &["3S"][..]), (Some(time), &[])] {
            let mesh = before_grpc(&server, route);
            let target = mesh.outbound.to_string();
            let told = said(python("streams.py", &[&["grpc-patient", &target], caller].concat())).await;
            assert!(told.starts_with("DEADLINE_EXCEEDED "), "{told}");
            let remaining = server.line().await;
            let seconds: f64 = remaining.strip_prefix("remaining ").unwrap().parse().unwrap();
            assert!(seconds > 0.0 && seconds <= time.as_secs_f64(), "{remaining}");
            assert_eq!(server.line().await, "cancelled");
        }
    });
}

/// A server that knows of deadlines ends a call itself, perhaps before the proxy does; this one does not.
#[test]
fn a_call_that_its_server_never_ends_is_ended_by_the_proxy() {
    run(async {
        let server = Server::ours(node("leaving.mjs", &["http2"])).await;
        let ours = "the route's request timeout, or the caller's deadline, passed before the answer";
        let time = Duration::from_millis(300);
        let mesh = before_grpc(&server, Some(time));
        let told = said(python("streams.py", &["grpc-patient", &mesh.outbound.to_string()])).await;
        assert!(told.starts_with("DEADLINE_EXCEEDED ") && told.contains(ours), "{told}");
        let mesh = before_grpc(&server, None);
        let to = format!("::{}", mesh.outbound);
        let headers = ["content-type: application/grpc", "te: trailers", "grpc-timeout: 300m"];
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let mut words =
            vec!["--http2-prior-knowledge", "--connect-to", &to, "--include", "--request", "POST"];
        words.extend(headers);
        words.extend(["--write-out", "%{time_total}", "http://web/test.Kinds/Unary"]);
        let told = said(curl(&words)).await;
        assert!(told.contains("grpc-status: 4\r\n") && told.contains(ours), "{told}");
        let seconds: f64 = told.lines().last().unwrap().parse().unwrap();
        assert!(seconds >= time.as_secs_f64(), "{told}");
    });
}

/// One request is held, one beside it is refused, and one after it is answered.
async fn one_at_a_time(proxy: SocketAddr, mut instance: Instance) {
    let first = tokio::task::spawn_local(status(proxy));
    instance.is_asked().await;
    assert_eq!(status(proxy).await, "503");
    instance.becomes("well").await;
    assert_eq!(first.await.unwrap(), "200");
    assert_eq!(status(proxy).await, "200");
    assert_eq!(instance.asked().await, 2, "what was refused never came");
}

#[test]
fn more_than_a_circuit_breaker_allows_is_refused_while_an_instance_holds_its_answer() {
    run(async {
        let holding = Instance::start("holds").await;
        let mesh = before(&[&holding], |web| {
            web.policy.breaker = Some(CircuitBreaker { max_requests: Some(1), ..CircuitBreaker::default() });
        });
        one_at_a_time(mesh.outbound, holding).await;
    });
}

#[test]
fn past_the_bound_on_connections_one_request_waits_for_that_of_another_and_a_third_is_refused() {
    run(async {
        let mut holding = Instance::start("holds").await;
        let mesh = before(&[&holding], |web| {
            web.policy.breaker = Some(CircuitBreaker {
                max_connections: Some(1),
                max_pending: Some(1),
                ..CircuitBreaker::default()
            });
        });
        let first = tokio::task::spawn_local(status(mesh.outbound));
        holding.is_asked().await;
        let others = [(); 2].map(|()| tokio::task::spawn_local(status(mesh.outbound)));
        let refused = async {
            while mesh.workers.take().await.counters.breaker_pending_total == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, refused).await.expect("one is refused");
        holding.becomes("well").await;
        assert_eq!(first.await.unwrap(), "200");
        let mut told = Vec::new();
        for other in others {
            told.push(other.await.unwrap());
        }
        told.sort();
        assert_eq!((told.join(" "), holding.asked().await), ("200 503".to_owned(), 2));
    });
}

#[test]
fn more_than_an_application_is_set_to_take_at_a_time_is_refused_by_its_own_proxy() {
    run(async {
        let holding = Instance::start("holds").await;
        let settings = with_inbound(holding.address(), Protocol::Http1);
        let inbound = settings.inbound.clone().unwrap();
        let inbound = Some(InboundSettings { requests_max: Some(1), ..inbound });
        let callee = mesh(&WorkerSettings { inbound, ..settings }, &[]);
        one_at_a_time(callee.workers.inbound_address.unwrap(), holding).await;
    });
}

#[test]
fn what_is_beyond_a_rate_limit_is_told_to_come_later_and_never_comes_to_the_application() {
    run(async {
        let well = Instance::start("well").await;
        let mesh = before(&[&well], |web| {
            web.policy.rate_limit = Some(RateLimit { requests: 1, interval: LONG, burst: 3 });
        });
        assert_eq!(statuses(mesh.outbound, 5).await, ["200", "200", "200", "429", "429"]);
        assert_eq!(well.asked().await, 3);
    });
}

#[test]
fn injected_faults_delay_what_curl_waits_for_and_abort_what_no_application_sees() {
    run(async {
        let well = Instance::start("well").await;
        let delay = Some((100, Duration::from_millis(300)));
        let faulty = |fault| before(&[&well], |web| web.rules[0].policy.fault = Some(fault));
        let (status, seconds) = timed(&faulty(Fault { delay, abort: None })).await;
        assert_eq!((&*status, well.asked().await), ("200", 1));
        assert!(seconds >= 0.3, "{seconds}");
        let (status, seconds) = timed(&faulty(Fault { delay, abort: Some((100, Abort::Http(418))) })).await;
        assert_eq!((&*status, well.asked().await), ("418", 1));
        assert!(seconds >= 0.3, "{seconds}");
    });
}
