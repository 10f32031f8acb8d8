//! What an application sees of its callers where connections come to its proxy as they are (`--inbound-mode tproxy`).

use crate::rules::{rules, without_counts};
use crate::services::WEB_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/peer_address.py");

/// Where the caller's proxy takes what knows of it.
const CALLER_OUTBOUND: u16 = 4140;

/// Where applications here listen.
const APPLICATION: u16 = 8080;

/// Another address of the caller's host.
const OTHER: &str = "10.77.0.7";

/// An application of `kind` at `addresses`, with a proxy beside it that may speak in its callers' names, and the rules.
fn stage(kind: &str, protocol: &str, addresses: &[&str]) -> Stage {
    let mut stage = Stage::new().with_control();
    stage.said(Host::Caller, &["ip", "address", "add", &format!("{OTHER}/24"), "dev", "v0"]);
    let port = APPLICATION.to_string();
    stage.start(Host::Callee, 0, &[&["python3", SCRIPT, kind, &port], addresses].concat());
    stage.beside_as_tproxy("web", protocol, APPLICATION, "web:80");
    stage
}

fn init(stage: &Stage, more: &[&str]) {
    let words = ["proxy", "init", "--inbound-mode=tproxy", "--skip-inbound-ports=22,4100,4191"];
    stage.penstock(Host::Callee, &[&words, more].concat());
}

/// Whom the application saw, as curl on the caller's host called `url`.
fn seen_by(stage: &Stage, url: &str, more: &[&str]) -> String {
    let curl = ["curl", "--silent", "--fail", "--globoff", "--max-time", "30", url];
    stage.said(Host::Caller, &[&curl, more].concat()).trim().to_owned()
}

fn callee_metric(stage: &Stage, family: &str) -> f64 {
    stage.metric(Host::Callee, WEB_ADMIN, family, "")
}

#[test]
fn an_application_sees_its_callers_addresses_whichever_tool_wrote_the_rules_and_nothing_of_them_is_left() {
    let mut stage = stage("http", "http", &["127.0.0.1", "::1"]);
    stage.calling(PROXY_USER);
    for backend in ["nft", "iptables", "iptables-legacy"] {
        let backend_flag = format!("--backend={backend}");
        init(&stage, &[&backend_flag]);
        let once = rules(&stage, Host::Callee);
        init(&stage, &[&backend_flag]);
        assert_eq!(
            without_counts(&rules(&stage, Host::Callee)),
            without_counts(&once),
            "{backend} is not idempotent"
        );
        let requests = callee_metric(&stage, "request_total");
        for _ in 0..3 {
            // In turn, so that a connection of one, kept for the next request, would be found with the other.
            assert_eq!(seen_by(&stage, "http://10.77.0.2:8080/", &[]), "10.77.0.1", "{backend}");
            assert_eq!(
                seen_by(&stage, "http://10.77.0.2:8080/", &["--interface", OTHER]),
                OTHER,
                "{backend}"
            );
            assert_eq!(seen_by(&stage, "http://[fd00:77::2]:8080/", &[]), "fd00:77::1", "{backend}");
        }
        // Through its caller's proxy, whose host is the caller's.
        let through_mesh =
            seen_by(&stage, &format!("http://127.0.0.1:{CALLER_OUTBOUND}/"), &["--header", "host: web"]);
        assert_eq!(through_mesh, "10.77.0.1", "{backend}");
        assert_eq!(callee_metric(&stage, "request_total"), requests + 10.0, "{backend}");
        // The callee's own connections are its own, in both directions.
        let own = stage.page(Host::Callee, "http://10.77.0.1:4191/live");
        assert!(own.is_some(), "{backend}: what the host itself asks for is not answered");

        // The last run counts: what the other mode needs goes.
        let redirect = ["proxy", "init", &backend_flag, "--skip-inbound-ports=22,4100,4191"];
        stage.penstock(Host::Callee, &redirect);
        let redirected = rules(&stage, Host::Callee).to_lowercase();
        assert!(
            !redirected.contains("tproxy") && !redirected.contains("lookup 4143"),
            "{backend}:\n{redirected}"
        );
        for _ in 0..2 {
            stage.penstock(Host::Callee, &["proxy", "init", "--remove"]);
        }
        let left = rules(&stage, Host::Callee).to_lowercase();
        assert!(!left.contains("penstock") && !left.contains("4143"), "{backend} leaves:\n{left}");
    }
    assert_eq!(callee_metric(&stage, "penstock_proxy_client_addresses_lost_total"), 0.0);
}

#[test]
fn a_server_that_speaks_first_sees_its_caller_too_and_what_was_open_before_the_rules_stays_open() {
    for backend in ["nft", "iptables"] {
        let mut stage = stage("tcp", "tcp", &["127.0.0.1", "::1"]);
        // A server that no proxy stands before, on which a connection is open when the rules come.
        stage.start(Host::Callee, 0, &["python3", SCRIPT, "tcp", "8081", "10.77.0.2"]);
        let go = stage.scratch.join("go");
        let say = "import os, socket, sys, time
s = socket.create_connection(('10.77.0.2', 8081), timeout=20)
f = s.makefile('rw')
first = f.readline().strip()
open(sys.argv[1] + '.open', 'w').close()
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
f.write('still\\n'); f.flush()
open(sys.argv[1] + '.done', 'w').write(first + ' ' + f.readline().strip())";
        stage.until("the other server listens", || {
            let probe = ["curl", "--silent", "--max-time", "1", "--output", "-", "telnet://10.77.0.2:8081"];
            !stage.run(Host::Caller, 0, &probe).stdout.is_empty()
        });
        let go = go.display().to_string();
        stage.start(Host::Caller, 0, &["python3", "-c", say, &go]);
        stage.until("it is open", || std::path::Path::new(&format!("{go}.open")).exists());
        init(&stage, &[&format!("--backend={backend}")]);
        std::fs::write(&go, "").unwrap();
        let done = format!("{go}.done");
        let word = || std::fs::read_to_string(&done).unwrap_or_default();
        stage.until(&format!("{backend}: it goes on"), || word() == "10.77.0.1 still");

        let read = "import socket, sys; s = socket.create_connection((sys.argv[1], 8080), timeout=20, \
                    source_address=(sys.argv[2], 0)); print(s.makefile().readline().strip())";
        for (to, from) in [("10.77.0.2", "10.77.0.1"), ("10.77.0.2", OTHER), ("fd00:77::2", "fd00:77::1")] {
            assert_eq!(
                stage.said(Host::Caller, &["python3", "-c", read, to, from]).trim(),
                from,
                "{backend}"
            );
        }
        assert_eq!(callee_metric(&stage, "tcp_open_total"), 3.0, "{backend}");
        // One that begins now, to a port that is not the application's: passed on as it would be without us.
        let other =
            stage.said(Host::Caller, &["python3", "-c", &read.replace("8080", "8081"), "10.77.0.2", OTHER]);
        assert_eq!(other.trim(), "10.77.0.2", "{backend}: in the proxy's own name");
        assert_eq!(callee_metric(&stage, "penstock_proxy_passed_through_total"), 1.0, "{backend}");
        assert_eq!(callee_metric(&stage, "penstock_proxy_refused_total"), 0.0, "{backend}: a loop");
    }
}

#[test]
fn a_caller_of_a_family_at_whose_loopback_nobody_listens_is_served_in_the_proxys_name_and_counted() {
    let stage = stage("http", "http", &["127.0.0.1"]);
    init(&stage, &[]);
    assert_eq!(seen_by(&stage, "http://[fd00:77::2]:8080/", &[]), "127.0.0.1");
    assert_eq!(seen_by(&stage, "http://10.77.0.2:8080/", &[]), "10.77.0.1");
    // Once though the application is reached for the connection before its first request has come, and again for that.
    assert_eq!(callee_metric(&stage, "penstock_proxy_client_addresses_lost_total"), 1.0);
}

#[test]
fn a_proxy_without_the_right_to_speak_in_others_names_says_what_grants_it() {
    let stage = Stage::new();
    let words = ["proxy", "--name=a", "--workload=a", "--intercept", "--inbound-mode=tproxy"];
    let at = format!("--application=127.0.0.1:{APPLICATION}");
    let application = [&at[..], "--serves=web"];
    let refused =
        stage.run(Host::Callee, PROXY_USER, &[&[&stage.program()[..]], &words[..], &application].concat());
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("CAP_NET_RAW") && said.contains("inbound_mode redirect"), "{said}");
}
