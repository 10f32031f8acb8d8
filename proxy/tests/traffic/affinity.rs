//! Requests that belong together come to one endpoint: by the cookies that curl keeps in its jar, by a header that it repeats, on a ring
//! or in a session. When an endpoint leaves only those move that were with it.

use std::time::Duration;

use mesh::{Balancer, Endpoint, HashKey, ServicePolicy, Session, SessionToken};

use crate::instance::web;
use crate::ports::Ports;
use crate::process::{Scratch, curl, said};
use crate::support::{Declared, Mesh, mesh, run, settings, snapshot};

/// Callers that are told apart. That all of them are led to one of three ports has a chance of 3^-19, below 1e-9.
const CALLERS: usize = 20;

const HOUR: Duration = Duration::from_secs(3600);

/// One caller, who keeps what it is given.
struct Caller {
    words: Vec<String>,
}

impl Caller {
    /// With a jar for its cookies.
    fn with_jar(scratch: &Scratch, number: usize) -> Self {
        let jar = scratch.path(&format!("jar-{number}"));
        std::fs::write(&jar, "").unwrap();
        let words = ["--cookie", &jar, "--cookie-jar", &jar];
        Self { words: words.map(str::to_owned).to_vec() }
    }

    /// The port that answers all of its next three requests.
    async fn port(&self, mesh: &Mesh) -> u16 {
        let to = format!("::{}", mesh.outbound);
        let mut words = vec!["--connect-to", &to];
        words.extend(self.words.iter().map(String::as_str));
        let told = said(curl(&[&words[..], &["http://web/[1-3]"]].concat())).await;
        let ports: Vec<u16> = told.split_whitespace().map(|port| port.parse().unwrap()).collect();
        assert!(
            ports.len() == 3 && ports.iter().all(|port| *port == ports[0]),
            "{:?}: {ports:?}",
            self.words
        );
        ports[0]
    }
}

/// Has every caller ask, twice; then the endpoint of the first one leaves, of which those that are with others notice nothing.
async fn keep_to_their_ports(
    nginx: &Ports,
    callers: &[Caller],
    declared: impl Fn(Vec<Endpoint>) -> Declared,
) {
    let mesh = mesh(&settings(), &[declared(nginx.endpoints())]);
    let mut ports = Vec::new();
    for caller in callers {
        ports.push(caller.port(&mesh).await);
    }
    for (caller, port) in callers.iter().zip(&ports) {
        assert_eq!(caller.port(&mesh).await, *port);
    }
    let gone = ports[0];
    let left = nginx.endpoints().into_iter().filter(|endpoint| endpoint.address.port() != gone).collect();
    mesh.published.publish(snapshot(&[declared(left)]));
    let mut kept = 0;
    for (caller, port) in callers.iter().zip(&ports) {
        let now = caller.port(&mesh).await;
        assert_ne!(now, gone);
        if *port != gone {
            assert_eq!(now, *port, "it moved though its endpoint stayed");
            kept += 1;
        }
        assert_eq!(caller.port(&mesh).await, now, "wherever it came to it stays");
    }
    assert!(kept > 0, "all of them came to one port: {ports:?}");
}

/// On a ring, by what leads there.
fn on_ring(endpoints: Vec<Endpoint>, hash: HashKey) -> Declared {
    let policy = ServicePolicy { balancer: Balancer::RingHash, ..ServicePolicy::default() };
    let mut declared = Declared { policy, ..web(endpoints) };
    declared.rules[0].policy.hash = Some(hash);
    declared
}

#[test]
fn the_cookie_in_curls_jar_leads_to_the_same_place_of_a_ring() {
    run(async {
        let (nginx, scratch) = (Ports::start("ring-jar").await, Scratch::new("jars-ring"));
        let callers: Vec<_> = (0..CALLERS).map(|number| Caller::with_jar(&scratch, number)).collect();
        let hash = HashKey::Cookie { name: "user".to_owned(), ttl: Some(HOUR) };
        keep_to_their_ports(&nginx, &callers, |endpoints| on_ring(endpoints, hash.clone())).await;
        let jar = std::fs::read_to_string(scratch.path("jar-0")).unwrap();
        assert_eq!(jar.matches("\tuser\t").count(), 1, "{jar}");
    });
}

#[test]
fn a_header_that_curl_repeats_leads_to_the_same_place_of_a_ring() {
    run(async {
        let nginx = Ports::start("ring-header").await;
        let caller = |number| Caller { words: vec!["--header".to_owned(), format!("x-user: {number}")] };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        let hash = HashKey::Header("x-user".to_owned());
        keep_to_their_ports(&nginx, &callers, |endpoints| on_ring(endpoints, hash.clone())).await;
    });
}

/// In turn, so that without their sessions each request of a caller would be another port's.
fn in_sessions(endpoints: Vec<Endpoint>, token: SessionToken) -> Declared {
    let policy = ServicePolicy { balancer: Balancer::RoundRobin, ..ServicePolicy::default() };
    let mut declared = Declared { policy, ..web(endpoints) };
    declared.rules[0].policy.session = Some(Session { name: "x-cart".to_owned(), token });
    declared
}

#[test]
fn the_cookie_in_curls_jar_keeps_its_session_with_one_endpoint() {
    for token in [SessionToken::Cookie(None), SessionToken::Cookie(Some(HOUR))] {
        run(async {
            let (nginx, scratch) = (Ports::start("session-jar").await, Scratch::new("jars-session"));
            let callers: Vec<_> = (0..CALLERS).map(|number| Caller::with_jar(&scratch, number)).collect();
            keep_to_their_ports(&nginx, &callers, |endpoints| in_sessions(endpoints, token)).await;
        });
    }
}

#[test]
fn the_header_that_curl_was_given_and_repeats_keeps_its_session_with_one_endpoint() {
    run(async {
        let nginx = Ports::start("session-header").await;
        let declared = |endpoints| in_sessions(endpoints, SessionToken::Header);
        let mesh = mesh(&settings(), &[declared(nginx.endpoints())]);
        let to = format!("::{}", mesh.outbound);
        let mut met = std::collections::BTreeSet::new();
        // In turn: each of the three is the first of one session.
        for _ in 0..3 {
            let words = ["--connect-to", &to, "--write-out", "%header{x-cart}", "http://web/"];
            let told = said(curl(&words)).await;
            let (port, token) = told.split_once('\n').unwrap();
            let caller = Caller { words: vec!["--header".to_owned(), format!("x-cart: {token}")] };
            assert_eq!(caller.port(&mesh).await.to_string(), port);
            met.insert((port.parse::<u16>().unwrap(), token.to_owned()));
        }
        assert_eq!(met.len(), 3, "{met:?}");
        let (gone, _) = met.first().unwrap().clone();
        let left = nginx.endpoints().into_iter().filter(|endpoint| endpoint.address.port() != gone).collect();
        mesh.published.publish(snapshot(&[declared(left)]));
        for (port, token) in met {
            let words = [
                "--connect-to",
                &to,
                "--header",
                &format!("x-cart: {token}"),
                "--write-out",
                "%header{x-cart}",
                "http://web/",
            ];
            let told = said(curl(&words)).await;
            let (now, given) = told.split_once('\n').unwrap();
            let now: u16 = now.parse().unwrap();
            if port == gone {
                assert!(now != gone && given != token && !given.is_empty(), "a new session begins: {told}");
            } else {
                assert_eq!((now, given), (port, ""), "the session goes on, and needs no new token");
            }
        }
    });
}
