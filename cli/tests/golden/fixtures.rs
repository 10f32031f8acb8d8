//! Answers of a small shop, as a control node would give them.

use api::v1::{self, QualifiedName};
use cli::commands::{Facts, Sighting};
use cli::demo::{Counts, EdgeReport, LeaderKill, Report, ServiceReport};
use cli::render;

/// When everything here happens, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_790_000_000_000;

fn name(text: &str) -> QualifiedName {
    let (name, namespace) = text.split_once('.').unwrap();
    QualifiedName { name: name.to_owned(), namespace: namespace.to_owned() }
}

fn authority(text: &str) -> v1::Authority {
    let (service, port) = text.split_once(':').unwrap();
    v1::Authority { service: Some(name(service)), port: port.parse().unwrap() }
}

fn revision(index: u64) -> v1::Revision {
    v1::Revision { epoch: 1, index }
}

/// The head of a backup, and the sum of its file.
pub(crate) fn backup_head() -> (v1::BackupHead, [u8; 32]) {
    let head = v1::BackupHead {
        cluster: "production".to_owned(),
        revision: Some(v1::Revision { epoch: 28_495_200, index: 8123 }),
        taken_ms: NOW_MS,
        node: 2,
        version: "0.1.0".to_owned(),
        bytes: 1_258_291,
    };
    (head, [0xab; 32])
}

/// What `inspect` finds in it.
pub(crate) fn backup() -> render::BackupView {
    let (head, sha256) = backup_head();
    let sizes = control::catalog::Sizes {
        services: 12,
        endpoints: 340,
        routes: 5,
        clients: 88,
        edges: 120,
        history_bytes: 912_000,
        ..control::catalog::Sizes::default()
    };
    render::BackupView::of(&head, &sizes, &sha256, 1_258_380)
}

/// What `restore` made of it.
pub(crate) fn restored() -> control::backup::Restored {
    control::backup::Restored {
        from: "production".to_owned(),
        revision: mesh::Revision::new(28_495_200, 8123),
        cluster: "staging".to_owned(),
        node: 1,
        directory: "/var/lib/penstock".into(),
        founders: vec![1, 2, 3],
    }
}

/// What a node that is left holds.
pub(crate) fn findings() -> control::backup::Findings {
    control::backup::Findings {
        cluster: "production".to_owned(),
        node: 3,
        voters: vec![1, 2, 3],
        last: mesh::Revision::new(28_495_200, 8123),
        unconfirmed: 4,
        last_heard: mesh::Timestamp(NOW_MS),
    }
}

/// Successes, then failures by reason; half a request per second for each.
fn traffic(successes: u64, failures: &[u64]) -> v1::EdgeTraffic {
    v1::EdgeTraffic {
        successes,
        failures: failures.to_vec(),
        retries: failures.len() as u64,
        connections: 2,
        request_bytes: successes * 120,
        response_bytes: successes * 5_000,
        ..v1::EdgeTraffic::default()
    }
}

fn row(successes: u64, failures: &[u64], latency_us: [u64; 3]) -> v1::StatRow {
    let requests = successes + failures.iter().sum::<u64>();
    v1::StatRow {
        traffic: Some(traffic(successes, failures)),
        requests_per_second: requests as f64 / 60.0,
        p50_us: latency_us[0],
        p95_us: latency_us[1],
        p99_us: latency_us[2],
        counted: v1::Direction::Inbound.into(),
        ..v1::StatRow::default()
    }
}

fn stat(rows: Vec<v1::StatRow>) -> v1::StatResponse {
    v1::StatResponse {
        stale_ms: 0,
        rows,
        from_ms: NOW_MS - 60_000,
        to_ms: NOW_MS,
        revision: Some(revision(8123)),
        folded_edges: 0,
    }
}

/// A good, a bad, a nearly good service, and one that was not called.
pub(crate) fn services_stat() -> v1::StatResponse {
    let of = |service: &str, row: v1::StatRow| v1::StatRow { authority: Some(authority(service)), ..row };
    stat(vec![
        of("catalog.default:80", row(2400, &[], [1_240, 4_700, 12_300])),
        of("reviews.default:80", row(1800, &[600], [870, 2_100, 9_800])),
        of("web.default:80", row(239_999, &[0, 0, 1], [12_600, 48_000, 131_000])),
        of("idle.other-team:9000", row(0, &[], [0, 0, 0])),
    ])
}

/// The same per workload, one of them unknown.
pub(crate) fn workloads_stat() -> v1::StatResponse {
    let of = |workload: &str, row: v1::StatRow| v1::StatRow { callee: Some(name(workload)), ..row };
    stat(vec![
        of("catalog.default", row(2400, &[], [1_240, 4_700, 12_300])),
        row(0, &[0, 0, 0, 0, 12], [0, 0, 0]),
    ])
}

/// Callers, services and callees, an unknown among each.
pub(crate) fn edges_stat() -> v1::StatResponse {
    let of = |from: Option<&str>, service: &str, to: Option<&str>, row: v1::StatRow| v1::StatRow {
        caller: from.map(name),
        authority: Some(authority(service)),
        callee: to.map(name),
        counted: v1::Direction::Outbound.into(),
        ..row
    };
    let web = Some("web.default");
    stat(vec![
        of(web, "catalog.default:80", Some("catalog.default"), row(2400, &[], [1_240, 4_700, 12_300])),
        of(web, "reviews.default:80", Some("reviews.default"), row(1800, &[600], [870, 2_100, 9_800])),
        of(None, "web.default:80", web, row(1800, &[600, 1, 2, 3], [2_400, 9_100, 31_000])),
        of(web, "gone.default:80", None, row(0, &[0, 0, 0, 0, 7], [0, 0, 0])),
    ])
}

pub(crate) fn services() -> v1::ServicesResponse {
    let port = |name: &str, port: u32, protocol: v1::Protocol| v1::ServicePort {
        name: name.to_owned(),
        port,
        protocol: protocol.into(),
    };
    let row = |service: &str, ports: Vec<v1::ServicePort>, ready: u32, all: u32, index: u64| v1::ServiceRow {
        service: Some(v1::Service { name: Some(name(service)), ports, ..v1::Service::default() }),
        ready_endpoints: ready,
        endpoints: all,
        routes: u32::from(ready > 1),
        revision: Some(revision(index)),
    };
    v1::ServicesResponse {
        stale_ms: 0,
        services: vec![
            row("catalog.default", vec![port("", 80, v1::Protocol::Grpc)], 2, 3, 97),
            row("ledger.shop", Vec::new(), 0, 0, 4),
            row(
                "web.default",
                vec![port("main", 80, v1::Protocol::Http1), port("admin", 8080, v1::Protocol::Opaque)],
                1,
                1,
                8123,
            ),
        ],
    }
}

pub(crate) fn endpoints() -> v1::EndpointsResponse {
    let row = |instance: &str, address: &str, health: v1::Health, zone: &str| v1::EndpointRow {
        authority: Some(authority("web.default:80")),
        endpoint: Some(v1::Endpoint {
            instance: instance.to_owned(),
            address: address.to_owned(),
            workload: Some(name("web.default")),
            locality: Some(v1::Locality { region: "eu".to_owned(), zone: zone.to_owned() }),
            weight: 0,
            health: health.into(),
        }),
        revision: Some(revision(97)),
        lease_seconds: 15,
    };
    v1::EndpointsResponse {
        stale_ms: 0,
        endpoints: vec![
            row("web-1", "10.0.0.7:4143", v1::Health::Ready, "eu-1"),
            row("web-2", "[fd00::7]:4143", v1::Health::Draining, ""),
        ],
    }
}

fn member(node: u64, role: &str, applied: u64) -> v1::MemberRow {
    v1::MemberRow {
        node,
        client_address: format!("10.0.0.{node}:4100"),
        peer_address: format!("10.0.0.{node}:4101"),
        role: role.to_owned(),
        term: 7,
        commit: 8123,
        applied,
        lag: 8123 - applied,
        version: "0.1.0".to_owned(),
        reachable: role != "unreachable",
        now_ms: NOW_MS,
        seat: if role == "learner" { "learner" } else { "voter" }.to_owned(),
        commands: 2,
        last_index: 8123,
        snapshot_index: 5000,
        campaigns: node,
        disk_free_bytes: if role == "unreachable" { 0 } else { node << 32 },
    }
}

pub(crate) fn members() -> v1::MembersResponse {
    let lost = v1::MemberRow {
        client_address: String::new(),
        version: String::new(),
        ..member(3, "unreachable", 0)
    };
    v1::MembersResponse {
        cluster: "shop-1".to_owned(),
        members: vec![member(1, "follower", 8120), member(2, "leader", 8123), lost],
        answered_by: 1,
        commands: 2,
    }
}

pub(crate) fn members_changed() -> v1::MembersChanged {
    v1::MembersChanged {
        message: "node 4 is a member without a vote; it gets a vote as soon as it has caught up".to_owned(),
        voters: vec![1, 2, 3],
        learners: vec![4],
    }
}

pub(crate) fn proxies() -> v1::ProxiesResponse {
    let row = |proxy: &str, client: &str, state: &str, held: u64, refusal: &str| v1::ProxyRow {
        proxy: proxy.to_owned(),
        client: client.to_owned(),
        node: 2,
        acknowledged: Some(revision(held)),
        latest: Some(revision(8123)),
        resources: 12,
        refused: u32::from(!refusal.is_empty()),
        refusal: refusal.to_owned(),
        state: state.to_owned(),
        connected_ms: NOW_MS - 90_400,
    };
    v1::ProxiesResponse {
        proxies: vec![
            row("web-1.default", "penstock", "current", 8123, ""),
            row("edge-envoy", "envoy", "refused", 97, "route 3: unknown header matcher"),
            row("web-2.default", "penstock", "behind", 8101, ""),
        ],
        missing_nodes: vec![3],
    }
}

pub(crate) fn outcomes() -> (Vec<v1::Outcome>, v1::Revision) {
    let outcome = |kind: &str, of: &str, action: &str| v1::Outcome {
        kind: kind.to_owned(),
        name: Some(name(of)),
        action: action.to_owned(),
    };
    let all = vec![
        outcome("Service", "web.default", "unchanged"),
        outcome("HTTPRoute", "canary.default", "created"),
        outcome("HTTPRoute", "legacy.shop", "changed"),
    ];
    (all, revision(8124))
}

pub(crate) fn complaints() -> Vec<v1::Complaint> {
    let complaint = |file: &str, line: u32, field: &str, message: &str| v1::Complaint {
        file: file.to_owned(),
        line,
        column: line.min(1) * 15,
        field: field.to_owned(),
        message: message.to_owned(),
    };
    vec![
        complaint(
            "shop.yaml",
            12,
            "spec.rules[0].backendRefs[1].weight",
            "-1 is no weight: expected 0 to 1000000",
        ),
        complaint("shop.yaml", 19, "", "not valid YAML: did not find expected key"),
        complaint("-", 0, "", "holds no document"),
    ]
}

pub(crate) fn documents() -> v1::GetResponse {
    let document = |kind: &str, of: &str, index: u64, yaml: &str| v1::Document {
        kind: kind.to_owned(),
        name: Some(name(of)),
        revision: Some(revision(index)),
        yaml: yaml.to_owned(),
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: default\nspec:\n  ports:\n  - port: 80\n    appProtocol: http\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: canary\n  namespace: default\n";
    v1::GetResponse {
        documents: vec![
            document("Service", "web.default", 97, service),
            document("HTTPRoute", "canary.default", 8124, route),
        ],
    }
}

fn sighting(members: v1::MembersResponse) -> Sighting {
    Sighting { members, asked_ms: NOW_MS - 1, answered_ms: NOW_MS + 1 }
}

/// Nothing to complain of.
pub(crate) fn healthy() -> Facts {
    let seen = |node: u64| {
        let members =
            vec![member(1, "leader", 8123), member(2, "follower", 8123), member(3, "follower", 8122)];
        let cluster = "shop-1".to_owned();
        let members = v1::MembersResponse { cluster, members, answered_by: node, commands: 2 };
        (format!("10.0.0.{node}:4100"), Ok(sighting(members)))
    };
    let mut services = services();
    services.services.remove(1);
    let mut proxies = proxies();
    proxies.proxies.truncate(1);
    Facts { nodes: vec![seen(1), seen(2)], services: Ok(services), proxies: Ok(proxies) }
}

/// One of each fault that a mesh can have and still answer.
pub(crate) fn wounded() -> Facts {
    let mut members = members();
    members.members[0].version = "0.0.9".to_owned();
    members.members[0].now_ms = NOW_MS - 4_200;
    members.members[0].lag = 5_000;
    members.members[1].role = "candidate".to_owned();
    let nodes = vec![
        ("10.0.0.1:4100".to_owned(), Ok(sighting(members))),
        ("10.0.0.3:4100".to_owned(), Err("Connection refused (os error 111)".to_owned())),
    ];
    let complaint = "no control node answered within 10s".to_owned();
    Facts { nodes, services: Err(complaint), proxies: Ok(proxies()) }
}

/// Nobody is there.
pub(crate) fn silent() -> Facts {
    let refused = |address: &str| (address.to_owned(), Err("Connection refused (os error 111)".to_owned()));
    let unknown = || "no control node answered".to_owned();
    let nodes = vec![refused("10.0.0.1:4100"), refused("10.0.0.2:4100")];
    Facts { nodes, services: Err(unknown()), proxies: Err(unknown()) }
}

/// A run of the demo in which one party counted a request less.
pub(crate) fn demo_report() -> Report {
    let counts = |requests: u64, successes: u64| Counts::of(successes, requests - successes);
    let edge = |from, to, mesh, callees: Counts| EdgeReport {
        from,
        to,
        mesh,
        callers: mesh,
        callees,
        agree: mesh == callees,
        latency_us: [2_400, 9_100, 81_000],
    };
    Report {
        seconds: 20.04,
        entered: counts(801, 601),
        mesh_failures: 0,
        mesh_failure_reasons: std::collections::BTreeMap::new(),
        edges: vec![
            edge("traffic", "web", counts(801, 601), counts(801, 601)),
            edge("web", "reviews", counts(801, 601), counts(800, 600)),
        ],
        services: vec![ServiceReport {
            service: "web",
            mesh: counts(801, 601),
            callees: counts(801, 601),
            agree: true,
        }],
        kill: Some(LeaderKill {
            old_leader: 2,
            new_leader: 3,
            election_ms: 64,
            write_gap_ms: 71,
            acknowledged_writes: 1723,
            lost_writes: 0,
        }),
        faults: vec!["web -> reviews: counts differ".to_owned()],
    }
}
