//! Endpoints whose hosts do not answer at all: what is sent to them is dropped, as by a host that lost its power or a firewall, so that
//! nothing but the time for a connection ends the wait.

use crate::services::CALLER_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};

/// One endpoint of two of `web` is lost, and the only one of `lost`; both services give a connection this long.
const POLICIES: &str = "\
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  balancer: {type: RoundRobin}
  timeouts: {connect: 400ms}
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: lost}
spec:
  targetRefs: [{group: '', kind: Service, name: lost}]
  timeouts: {connect: 400ms}
";

/// The same in seconds.
const CONNECT_SECONDS: f64 = 0.4;

/// What curl is told by `url`: status, seconds, and the proxy's reason.
fn told(stage: &Stage, url: &str) -> (String, f64, String) {
    let told = "%{http_code} %{time_total} %header{penstock-error}";
    let curl = ["curl", "--silent", "--max-time", "30", "--output", "/dev/null", "--write-out", told, url];
    let said = stage.said(Host::Caller, &curl);
    let mut words = said.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default().to_owned();
    (next(), next().parse().unwrap(), next())
}

#[test]
fn a_call_passes_over_an_endpoint_that_does_not_answer_and_is_told_so_when_there_is_no_other() {
    let mut stage = Stage::new().with_control();
    stage.applied(POLICIES);
    stage.web();
    stage.beside(1, "spare", "http", 8080, "web:80");
    stage.beside(2, "lost", "http", 8080, "lost:80");
    // Before the caller's proxy has a connection to any of them.
    let drop = "add table inet lost; add chain inet lost in { type filter hook input priority 0; }; \
                add rule inet lost in iifname v0 tcp dport { 4243, 4343 } drop";
    stage.said(Host::Callee, &["nft", drop]);
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let (web, lost) = ("http://10.96.0.10/hello", "http://10.96.0.17/hello");
    let count = |family: &str, labels: &str| stage.metric(Host::Caller, CALLER_ADMIN, family, labels);

    let of_web = "authority=\"web.default.svc.cluster.local:80\"";
    stage.until("a call met the lost endpoint first", || {
        let before = count("penstock_proxy_retries_total", of_web);
        let (status, seconds, reason) = told(&stage, web);
        assert_eq!(status, "200", "{reason}");
        let has_met = count("penstock_proxy_retries_total", of_web) > before;
        assert!(!has_met || seconds >= CONNECT_SECONDS, "{seconds}");
        has_met
    });
    assert_eq!(count("penstock_proxy_failures_total", of_web), 0.0);

    let (status, seconds, reason) = told(&stage, lost);
    assert_eq!(status, "503");
    assert!(
        seconds >= CONNECT_SECONDS && reason.contains("no connection to any endpoint"),
        "{seconds} {reason}"
    );
    assert!(count("penstock_proxy_failures_total", "reason=\"connect\"") >= 1.0);

    stage.said(Host::Callee, &["nft", "delete", "table", "inet", "lost"]);
    stage.until("the host that is back serves again", || told(&stage, lost).0 == "200");
}
