//! `sessionPersistence` applied as documents and carried out by a real proxy: a client with a jar for cookies, and one that repeats a header,
//! stay with the endpoint that answered them first.

use std::collections::BTreeSet;

use crate::found::until;
use crate::http::{backend, request};
use crate::mesh::Mesh;
use crate::policies::HttpPeer;

/// Requests of one session that must all be answered by one endpoint.
const IN_A_ROW: usize = 20;

/// Sessions that begin anew: enough to be with more than one endpoint.
const SESSIONS: usize = 40;

const DOCUMENTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: SERVICE-sessions}
spec:
  parentRefs: [{group: "", kind: Service, name: SERVICE-sessions}]
  rules:
    - matches: [{path: {value: /session}}]
      backendRefs: [{name: SERVICE-sessions, port: 80}]
      sessionPersistence: {sessionName: cart}
    - matches: [{path: {value: /permanent}}]
      backendRefs: [{name: SERVICE-sessions, port: 80}]
      sessionPersistence:
        sessionName: cart
        absoluteTimeout: 1h
        cookieConfig: {lifetimeType: Permanent}
    - matches: [{path: {value: /header}}]
      backendRefs: [{name: SERVICE-sessions, port: 80}]
      sessionPersistence: {sessionName: X-Cart, type: Header}
"#;

/// Who answered one request of a session, and what else the answer gave; the jar keeps what is given.
async fn asked<P: HttpPeer>(
    peer: &P,
    path: &str,
    jar: &mut Option<(&'static str, String)>,
) -> Option<(String, String)> {
    let service = format!("{}-sessions", P::SERVICE);
    let headers: Vec<_> = jar.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = request(peer.outbound(), &service, path, &headers).await.ok()?;
    let text =
        |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (cookie, header) = (text("set-cookie").to_owned(), text("x-cart").to_owned());
    if let Some(pair) = cookie.split(';').next().filter(|pair| !pair.is_empty()) {
        *jar = Some(("cookie", pair.to_owned()));
    }
    if !header.is_empty() {
        *jar = Some(("x-cart", header));
    }
    (answer.status == 200).then_some((answer.body, cookie))
}

pub async fn are_kept<P: HttpPeer>() {
    let mut mesh = Mesh::start().await;
    let peer = P::start(&mesh.control()).await;
    for name in ["A", "B", "C"] {
        mesh.register::<P>(name, &format!("{}-sessions", P::SERVICE), backend(name).await).await;
    }
    mesh.apply::<P>(DOCUMENTS.replace("SERVICE", P::SERVICE)).await;
    for (path, attribute) in [("/session", None), ("/permanent", Some("Max-Age=3600")), ("/header", None)] {
        until(&format!("{}: {path} gives a session", P::ID), async || {
            let mut jar = None;
            asked(&peer, path, &mut jar).await?;
            jar
        })
        .await;
        let mut answered = BTreeSet::new();
        for _ in 0..SESSIONS {
            let mut jar = None;
            let (first, cookie) = asked(&peer, path, &mut jar).await.unwrap();
            let lives = cookie.split("; ").find(|part| part.starts_with("Max-Age"));
            assert_eq!(lives, attribute, "{cookie}");
            let bound_to = cookie.split("; ").find_map(|part| part.strip_prefix("Path="));
            assert_eq!(bound_to, Some(path).filter(|_| path != "/header"), "{cookie}");
            for _ in 0..IN_A_ROW {
                assert_eq!(asked(&peer, path, &mut jar).await.unwrap().0, first);
            }
            answered.insert(first);
        }
        // Not over each: a balancer that looks at latency leaves one alone for a while that had a hiccup.
        assert!(answered.len() > 1, "{path}: sessions are spread");
    }
    until("it has taken all of it in", async || mesh.followed(P::ID).await).await;
    mesh.stop().await;
}
