//! Config: all documents of an apply or none, every complaint at once, a dry run that writes nothing, one outcome per write.

use api::v1::{ApplyRequest, ApplyResponse, DeleteRequest, GetRequest, GetResponse, SourceFile};
use tonic::{Code, Status};

use crate::group::{Group, name, registration, write_id};

const BOOKS: &str = "apiVersion: v1
kind: Service
metadata: {name: books}
spec:
  ports: [{port: 80, appProtocol: http}]
";
const CANARY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary}
spec:
  parentRefs: [{group: '', kind: Service, name: books}]
  rules:
  - backendRefs: [{name: books, port: 80, weight: 9}, {name: books-v2, port: 80, weight: 1}]
";

fn request(sequence: u64, documents: &[&str]) -> ApplyRequest {
    let yaml = documents.join("---\n");
    let files = vec![SourceFile { name: "mesh.yaml".to_owned(), yaml }];
    ApplyRequest { id: write_id("apply", sequence), files, dry_run: false }
}

fn apply(group: &Group, node: u64, request: ApplyRequest) -> ApplyResponse {
    let client = group.config(node);
    group.answer(async move || client.clone().apply(request.clone()).await).unwrap()
}

fn actions(response: &ApplyResponse) -> Vec<&str> {
    assert!(response.complaints.is_empty(), "{:?}", response.complaints);
    response.outcomes.iter().map(|outcome| outcome.action.as_str()).collect()
}

fn all(group: &Group, node: u64, request: GetRequest) -> Result<GetResponse, Status> {
    let client = group.config(node);
    group.answer(async move || client.clone().get(request.clone()).await)
}

#[test]
fn what_is_applied_through_one_node_is_shown_by_each_and_applies_again_unchanged() {
    let group = Group::of(3);
    let written = apply(&group, group.follower(), request(1, &[BOOKS, CANARY]));
    assert_eq!(actions(&written), ["created", "created"]);
    let shown = all(&group, group.leader(), GetRequest::default()).unwrap().documents;
    assert_eq!(shown.len(), 2);
    let again: Vec<&str> = shown.iter().map(|document| document.yaml.as_str()).collect();
    assert_eq!(actions(&apply(&group, 1, request(2, &again))), ["unchanged", "unchanged"]);
}

#[test]
fn a_document_that_is_wrong_keeps_all_others_out_and_every_complaint_is_told() {
    let group = Group::of(1);
    let wrong = BOOKS.replace("port: 80", "port: 70000").replace("kind: Service", "kind: Servise");
    let bad_port = BOOKS.replace("port: 80", "port: 70000").replace("books", "other");
    let response = apply(&group, 1, request(1, &[CANARY, &wrong, &bad_port]));
    assert!(response.complaints.len() >= 2, "{:?}", response.complaints);
    assert!(response.complaints.iter().all(|complaint| complaint.file == "mesh.yaml" && complaint.line > 0));
    assert!(response.outcomes.is_empty());
    assert!(all(&group, 1, GetRequest::default()).unwrap().documents.is_empty());
}

#[test]
fn a_dry_run_tells_what_would_happen_and_writes_nothing() {
    let group = Group::of(1);
    apply(&group, 1, request(1, &[BOOKS]));
    let changed = BOOKS.replace("appProtocol: http", "appProtocol: grpc");
    let dry = ApplyRequest { dry_run: true, ..request(2, &[&changed, CANARY]) };
    assert_eq!(actions(&apply(&group, 1, dry)), ["changed", "created"]);
    assert_eq!(actions(&apply(&group, 1, request(3, &[BOOKS]))), ["unchanged"]);
}

#[test]
fn a_retried_apply_gets_its_first_outcome() {
    let group = Group::of(3);
    let first = apply(&group, 1, request(1, &[BOOKS]));
    let again = apply(&group, 2, request(1, &[BOOKS]));
    assert_eq!((actions(&again), again.revision), (vec!["created"], first.revision));
}

#[test]
fn what_does_not_exist_cannot_be_deleted_or_shown_and_what_was_deleted_is_gone() {
    let group = Group::of(1);
    apply(&group, 1, request(1, &[BOOKS, CANARY]));
    let client = group.config(1);
    let delete = |kind: &str, document: &str, sequence| {
        let (id, kind) = (write_id("delete", sequence), kind.to_owned());
        let request = DeleteRequest { id, kind, name: Some(name(document)) };
        group.answer(async || client.clone().delete(request.clone()).await)
    };
    assert_eq!(delete("httproute", "canary", 1).unwrap().outcome.unwrap().action, "deleted");
    assert_eq!(delete("HTTPRoute", "canary", 2).unwrap_err().code(), Code::NotFound);
    assert_eq!(delete("Gateway", "canary", 3).unwrap_err().code(), Code::InvalidArgument);
    let named = |service| GetRequest { name: Some(name(service)), ..GetRequest::default() };
    assert_eq!(all(&group, 1, named("books")).unwrap().documents.len(), 1);
    let status = all(&group, 1, named("boks")).unwrap_err();
    assert_eq!(status.message(), "document boks.default does not exist; there is books.default");
}

#[test]
fn a_service_that_was_only_registered_has_no_document_and_that_is_said() {
    let group = Group::of(1);
    group.register(1, registration("web", "web-1")).unwrap();
    let request = GetRequest { kind: "Service".to_owned(), name: Some(name("web")), ..GetRequest::default() };
    let status = all(&group, 1, request).unwrap_err();
    assert!(status.message().contains("by registration alone"), "{}", status.message());
}
