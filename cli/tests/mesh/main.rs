//! The whole mesh in one process: a control node, proxies beside applications, and a caller, over real sockets.
//!
//! Shows the promises of the proxy that no room can show alone: a registration becomes an endpoint, callers follow it, a
//! drain loses no request, and the data path goes on without the control plane.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod stage;

use std::collections::BTreeSet;

use stage::{Stage, until};

#[test]
fn a_request_finds_a_registered_service_and_is_answered_by_every_instance_of_it() {
    let stage = Stage::new("finds");
    let caller = stage.caller("web-1", "web");
    assert_eq!(caller.get("shop").status, 404, "nobody serves it yet");

    let _one = stage.instance("shop-1", "shop");
    until("the first instance is found", || caller.get("shop").body == "shop-1");
    let _two = stage.instance("shop-2", "shop");
    let mut seen = BTreeSet::new();
    until("both instances answer", || {
        let answer = caller.get("shop");
        assert_eq!(answer.status, 200, "a found service is never lost: {answer:?}");
        seen.insert(answer.body);
        seen.len() == 2
    });
}

#[test]
fn an_instance_that_drains_is_left_without_a_failed_request() {
    let stage = Stage::new("drains");
    let caller = stage.caller("web-1", "web");
    let one = stage.instance("shop-1", "shop");
    let _two = stage.instance("shop-2", "shop");
    until("the service is found", || caller.get("shop").status == 200);

    let draining = std::thread::spawn(move || one.drain());
    let mut last = Vec::new();
    while !draining.is_finished() || last.len() < 50 {
        let answer = caller.get("shop");
        assert_eq!(answer.status, 200, "{answer:?}");
        last = if draining.is_finished() { last } else { Vec::new() };
        last.push(answer.body);
    }
    assert!(last.iter().skip(1).all(|body| body == "shop-2"), "{last:?}");
}

#[test]
fn requests_go_on_when_the_control_plane_is_gone() {
    let mut stage = Stage::new("gone");
    let caller = stage.caller("web-1", "web");
    let _one = stage.instance("shop-1", "shop");
    until("the instance is found", || caller.get("shop").body == "shop-1");
    stage.stop_control();
    until("the caller has noticed", || caller.metric("penstock_proxy_control_connected") == Some(0.0));
    for _ in 0..20 {
        assert_eq!(caller.get("shop").body, "shop-1");
    }
    assert_eq!(caller.admin("/ready").status, 200, "it can serve, so it is ready");
}

#[test]
fn a_restarted_proxy_serves_with_the_config_kept_on_disk_while_the_control_plane_is_gone() {
    let mut stage = Stage::new("restarted");
    let caller = stage.keeping_caller("web-1", "web");
    let _one = stage.instance("shop-1", "shop");
    until("the instance is found", || caller.get("shop").body == "shop-1");
    let kept = stage.state_directory().join("config.cache");
    until("the config is on disk", || std::fs::read(&kept).is_ok_and(|bytes| bytes.len() > 200));
    stage.stop_control();
    caller.drain();

    let restarted = stage.keeping_caller("web-1", "web");
    assert_eq!(restarted.get("shop").body, "shop-1");
    assert_eq!(restarted.metric("penstock_proxy_control_connected"), Some(0.0));
}

#[test]
fn the_admin_port_tells_what_was_carried_in_the_families_that_dashboards_know() {
    let stage = Stage::new("admin");
    let caller = stage.caller("web-1", "web");
    let callee = stage.instance("shop-1", "shop");
    until("the instance is found", || caller.get("shop").body == "shop-1");
    for _ in 0..9 {
        assert_eq!(caller.get("shop").status, 200);
    }
    let authority = "authority=\"shop.default.svc.cluster.local:80\"";
    let outbound = format!(
        "response_total{{{authority},deployment=\"web\",direction=\"outbound\",dst_deployment=\"shop\",\
         dst_namespace=\"default\",namespace=\"default\",tls=\"false\",classification=\"success\",status_code=\"200\"}}"
    );
    assert_eq!(caller.metric(&outbound), Some(10.0));
    let inbound = format!(
        "request_total{{{authority},deployment=\"shop\",direction=\"inbound\",namespace=\"default\",tls=\"false\"}}"
    );
    assert_eq!(callee.metric(&inbound), Some(10.0));
    assert_eq!(callee.metric("penstock_proxy_registered"), Some(1.0));
    assert_eq!((caller.admin("/live").status, caller.admin("/ready").status), (200, 200));
}
