//! Documents that are applied, shown, refused and taken away, by the program against a real control node.

use std::process::Output;

use crate::cluster::{Cluster, Scratch, penstock};

/// Runs a command against the cluster.
fn run(cluster: &Cluster, words: &[&str]) -> Output {
    let (command, words) = words.split_first().unwrap();
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.push(format!("--control={}", cluster.control().join(",")));
    penstock(command, &words).output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let text = String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

const GOOD: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 80
    appProtocol: http
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: canary
spec:
  parentRefs:
  - group: \"\"
    kind: Service
    name: web
  rules:
  - backendRefs:
    - name: web
      port: 80
";

/// A good document, and one fault in each of three others.
const BAD: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: good
spec:
  ports:
  - port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 99999
---
apiVersion: v1
kind: Pod
metadata:
  name: web
---
apiVersion: v1
kind: Service
metadata:
  name: api
spec:
  colour: red
  ports:
  - port: 80
";

#[tokio::test]
async fn one_wrong_document_writes_none_and_every_fault_is_told_with_its_place() {
    let cluster = Cluster::start("faults", 1);
    cluster.whole().await;
    let scratch = Scratch::new("documents");
    let file = scratch.0.join("shop.yaml").display().to_string();
    std::fs::write(&file, BAD).unwrap();
    let complaints = said(&run(&cluster, &["apply", "-f", &file]), 1);
    for place in [":15:11: spec.ports[0].port: ", ":18:7: kind: ", ":27:3: spec.colour: "] {
        assert!(complaints.contains(&format!("{file}{place}")), "{place} is not in\n{complaints}");
    }
    assert!(complaints.ends_with("error: 3 complaints: nothing was changed\n"), "{complaints}");
    assert_eq!(said(&run(&cluster, &["get", "all"]), 0), "nothing was applied yet\n");
    std::fs::write(&file, "a: [").unwrap();
    assert!(said(&run(&cluster, &["apply", "-f", &file]), 1).contains("not valid YAML"));
}

#[tokio::test]
async fn what_was_applied_is_shown_so_that_it_can_be_applied_again_and_is_taken_away_by_the_same_file() {
    let cluster = Cluster::start("config", 1);
    cluster.whole().await;
    let scratch = Scratch::new("documents");
    let file = scratch.0.join("shop.yaml").display().to_string();
    std::fs::write(&file, GOOD).unwrap();
    assert!(said(&run(&cluster, &["apply", "-f", &file, "--dry-run"]), 0).contains("(dry run)"));
    assert_eq!(said(&run(&cluster, &["get", "all"]), 0), "nothing was applied yet\n");
    let created = "Service web.default created\nHTTPRoute canary.default created\n";
    assert_eq!(said(&run(&cluster, &["apply", "-f", &file]), 0), created);
    let shown = run(&cluster, &["get", "all"]);
    std::fs::write(&file, &shown.stdout).unwrap();
    let again = "Service web.default unchanged\nHTTPRoute canary.default unchanged\n";
    assert_eq!(said(&run(&cluster, &["apply", "-f", &file]), 0), again);
    let deleted = "HTTPRoute canary.default deleted\nService web.default deleted\n";
    assert_eq!(said(&run(&cluster, &["delete", "-f", &file]), 0), deleted);
    said(&run(&cluster, &["delete", "service", "web"]), 1);
    said(&run(&cluster, &["delete", "service", "web", "--ignore-not-found"]), 0);
}

#[tokio::test]
async fn a_service_or_workload_that_does_not_exist_is_told_by_name() {
    let cluster = Cluster::start("unknown", 1);
    cluster.whole().await;
    for words in [&["endpoints", "nobody"][..], &["stat", "nobody"], &["stat", "--from", "nobody"]] {
        let refusal = said(&run(&cluster, words), 1);
        assert!(refusal.contains("nobody.default does not exist"), "{words:?}: {refusal}");
    }
}
