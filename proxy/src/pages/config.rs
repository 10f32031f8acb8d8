//! `/config`: what config this proxy holds and acts on, with the revision of each part, so that a person can lay it beside
//! what the control plane says (`penstock get`, `penstock endpoints`).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mesh::{Authority, Backend, Endpoint, Health, MatchKind, PathMatch, RouteMatch, RouteRule};
use runtime::admin::Answer;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::query::value;
use crate::discovery::{Holding, Kind};
use crate::snapshot::{EndpointSet, Known, Published, ServiceView, Snapshot};

/// How long the control thread may take to say what it holds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where the control thread is asked what it holds.
pub(crate) type Questions = mpsc::Sender<oneshot::Sender<Holding>>;

/// Makes the page.
#[derive(Debug, Clone)]
pub(crate) struct ConfigPage {
    pub(crate) name: String,
    pub(crate) workload: String,
    pub(crate) published: Arc<Published>,
    pub(crate) questions: Questions,
}

impl ConfigPage {
    /// All services, or with `service=NAME` one.
    pub(crate) async fn answer(self, query: String) -> Answer {
        let wanted = match value(&query, "service").map(str::parse::<Authority>) {
            None => None,
            Some(Ok(authority)) => Some(authority),
            Some(Err(error)) => return Answer::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let Some(holding) = self.holding().await else {
            let busy = "the control thread does not answer; try again\n";
            return Answer::text(StatusCode::SERVICE_UNAVAILABLE, busy);
        };
        let mut page = shown(&self.published.current(), &holding, wanted.as_ref());
        page.insert("proxy".to_owned(), json!({ "name": self.name, "workload": self.workload }));
        let text = serde_json::to_string_pretty(&page).expect("a tree of texts and numbers is JSON");
        Answer::json(text + "\n")
    }

    async fn holding(&self) -> Option<Holding> {
        let (answer, answered) = oneshot::channel();
        // A full queue: somebody else asks more often than can be answered.
        self.questions.try_send(answer).ok()?;
        tokio::time::timeout(ANSWER_WITHIN, answered).await.ok()?.ok()
    }
}

fn shown(snapshot: &Snapshot, holding: &Holding, wanted: Option<&Authority>) -> Map<String, Value> {
    let revisions: BTreeMap<(Kind, &Authority), String> =
        holding.held.iter().map(|(kind, name, revision)| ((*kind, name), revision.to_string())).collect();
    let revision = |kind, name| revisions.get(&(kind, name)).cloned();
    let services = snapshot.services().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let services: BTreeMap<String, Value> = services
        .map(|(name, known)| {
            let shown = match known {
                Known::Unknown => json!({ "known": false, "revision": revision(Kind::Routes, name) }),
                Known::Service(view) => {
                    json!({
                        "known": true,
                        "revision": revision(Kind::Routes, name),
                        "rules": view.rules.iter().map(rule).collect::<Vec<_>>(),
                        "clusters": clusters(view, &revision),
                    })
                }
            };
            (name.to_string(), shown)
        })
        .collect();
    let mut page = Map::new();
    page.insert("snapshot".to_owned(), json!(snapshot.version()));
    page.insert("control_connected".to_owned(), json!(holding.is_connected));
    page.insert("config_age_seconds".to_owned(), json!(holding.age.as_secs()));
    page.insert("services".to_owned(), json!(services));
    page
}

fn clusters<'a>(
    view: &'a ServiceView,
    revision: &impl Fn(Kind, &'a Authority) -> Option<String>,
) -> BTreeMap<String, Value> {
    let cluster = |(name, set): (&'a Authority, &'a Arc<EndpointSet>)| {
        let shown = json!({
            "protocol": set.protocol.as_str(),
            "policy": asked(&*set.policy),
            "revision": revision(Kind::Clusters, name),
            "endpoints_revision": revision(Kind::Endpoints, name),
            "endpoints": set.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        });
        (name.to_string(), shown)
    };
    view.clusters.iter().map(cluster).collect()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "address": endpoint.address.to_string(),
        "instance": endpoint.instance.0,
        "workload": endpoint.workload.to_string(),
        "region": endpoint.locality.region,
        "zone": endpoint.locality.zone,
        "weight": endpoint.weight,
        "health": match endpoint.health { Health::Ready => "ready", Health::Draining => "draining" },
    })
}

fn rule(rule: &RouteRule) -> Value {
    let backend =
        |backend: &Backend| json!({ "service": backend.authority.to_string(), "weight": backend.weight });
    json!({
        "matches": rule.matches.iter().map(spelled).collect::<Vec<_>>(),
        "backends": rule.backends.iter().map(backend).collect::<Vec<_>>(),
        "request_timeout_ms": rule.request_timeout.map(|timeout| timeout.as_millis()),
        "try_timeout_ms": rule.try_timeout.map(|timeout| timeout.as_millis()),
        "filters": asked(&rule.filters),
        "policy": asked(&rule.policy),
    })
}

/// What an operator asked for, in the words of our types; nothing where nothing was.
fn asked<P: Debug + Default + PartialEq>(policy: &P) -> Option<String> {
    (*policy != P::default()).then(|| format!("{policy:?}"))
}

/// A match as a person would say it: `GET /cart/* x-canary: yes`.
fn spelled(one: &RouteMatch) -> String {
    let path = one.path.as_ref().map(|path| match path {
        PathMatch::Exact(exact) => exact.clone(),
        PathMatch::Pattern(pattern) => format!("~{pattern}"),
        PathMatch::Prefix(prefix) => format!("{}/*", prefix.trim_end_matches('/')),
    });
    let headers = one.headers.iter().map(|header| match header.kind {
        MatchKind::Exact => format!("{}: {}", header.name, header.value),
        MatchKind::Prefix => format!("{}: {}*", header.name, header.value),
        MatchKind::Present => format!("{}: *", header.name),
        MatchKind::Pattern => format!("{}: ~{}", header.name, header.value),
    });
    let query = one.query.iter().map(|query| match query.kind {
        MatchKind::Exact => format!("?{}={}", query.name, query.value),
        MatchKind::Prefix => format!("?{}={}*", query.name, query.value),
        MatchKind::Present => format!("?{}=*", query.name),
        MatchKind::Pattern => format!("?{}=~{}", query.name, query.value),
    });
    let grpc = one.grpc.as_ref().map(|_| "gRPC".to_owned());
    one.method
        .clone()
        .into_iter()
        .chain(grpc)
        .chain(path)
        .chain(query)
        .chain(headers)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::collections::HashMap;

    use mesh::{HeaderMatch, InstanceName, Locality, Protocol, Revision};

    use super::*;

    fn authority(name: &str) -> Authority {
        name.parse().unwrap()
    }

    fn snapshot() -> Snapshot {
        let endpoint = Endpoint {
            instance: InstanceName("web-1".to_owned()),
            address: "10.0.0.7:4143".parse().unwrap(),
            workload: "web".parse().unwrap(),
            locality: Locality { region: "eu".to_owned(), zone: "a".to_owned() },
            weight: 100,
            health: Health::Ready,
        };
        let set = EndpointSet {
            authority: authority("web"),
            protocol: Protocol::Http1,
            policy: Arc::default(),
            revision: Revision::new(1, 6),
            endpoints: vec![endpoint],
        };
        let header =
            HeaderMatch { name: "x-canary".to_owned(), value: "yes".to_owned(), kind: MatchKind::Exact };
        let matched = RouteMatch {
            path: Some(PathMatch::Prefix("/cart".to_owned())),
            headers: vec![header],
            query: Vec::new(),
            method: Some("GET".to_owned()),
            grpc: None,
        };
        let rules = vec![RouteRule {
            matches: vec![matched],
            backends: vec![Backend { authority: authority("web"), weight: 3 }],
            request_timeout: Some(Duration::from_millis(250)),
            ..RouteRule::default()
        }];
        let clusters = BTreeMap::from([(authority("web"), Arc::new(set))]);
        let view = ServiceView { authority: authority("web"), rules, clusters };
        Snapshot::new(HashMap::from([
            (authority("web"), Known::Service(Arc::new(view))),
            (authority("absent"), Known::Unknown),
        ]))
    }

    fn holding() -> Holding {
        let held = [(Kind::Clusters, 5), (Kind::Endpoints, 6), (Kind::Routes, 7)];
        let held = held.map(|(kind, index)| (kind, authority("web"), Revision::new(1, index))).to_vec();
        Holding { held, is_connected: true, age: Duration::ZERO }
    }

    #[test]
    fn every_part_is_shown_with_its_revision() {
        let page = shown(&snapshot(), &holding(), None);
        let revision = |index| Revision::new(1, index).to_string();
        let expected = json!({
            "known": true, "revision": revision(7),
            "rules": [{
                "matches": ["GET /cart/* x-canary: yes"], "request_timeout_ms": 250, "try_timeout_ms": null, "filters": null,
                "policy": null,
                "backends": [{ "service": "web.default.svc.cluster.local:80", "weight": 3 }],
            }],
            "clusters": { "web.default.svc.cluster.local:80": {
                "protocol": "http", "policy": null, "revision": revision(5), "endpoints_revision": revision(6),
                "endpoints": [{
                    "address": "10.0.0.7:4143", "instance": "web-1", "workload": "web.default", "region": "eu",
                    "zone": "a", "weight": 100, "health": "ready",
                }],
            } },
        });
        assert_eq!(page["services"]["web.default.svc.cluster.local:80"], expected);
        assert_eq!(
            page["services"]["absent.default.svc.cluster.local:80"],
            json!({ "known": false, "revision": null })
        );
    }

    #[test]
    fn one_service_can_be_asked_for() {
        let page = shown(&snapshot(), &holding(), Some(&authority("absent")));
        assert_eq!(page["services"].as_object().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_is_told_and_a_wrong_name_too() {
        let (questions, mut asked) = mpsc::channel(1);
        let published = Published::new();
        let page =
            ConfigPage { name: "web-1".to_owned(), workload: "web.default".to_owned(), published, questions };
        assert_eq!(page.clone().answer("service=a b".to_owned()).await.status, StatusCode::BAD_REQUEST);
        let waiting = tokio::spawn(page.clone().answer(String::new()));
        asked.recv().await.unwrap().send(holding()).unwrap();
        assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
        drop(asked);
        assert_eq!(page.answer(String::new()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
