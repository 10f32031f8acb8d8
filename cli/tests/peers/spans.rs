//! The spans that both proxies export, as a collector reads them that decodes with OpenTelemetry's own definitions.

use serde_json::Value;

use crate::cluster::{Cluster, Scratch};
use crate::stage::{App, Proxy};
use crate::upgrades::{command, listening, next_line, python, ran};

const COLLECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/collector_peer.py");

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn spans_of_both_proxies_reach_a_collector_and_hang_below_the_callers() {
    let (scratch, cluster) = (Scratch::new("spans"), Cluster::start("spans", 1));
    let (_collector, address, mut lines) = listening(python(COLLECTOR, &[])).await;
    let web = App::start("web").await;
    let exports = format!("--trace-collector={address}");
    let serves = [format!("--application={}", web.address), "--serves=web:80".to_owned(), exports.clone()];
    let mut callee = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    let mut caller = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &[exports]);
    callee.start();
    caller.start();
    // Nothing of these is sampled: the ratio is zero, and they come without a trace.
    caller.until_answer("web", |status, _| status == 200).await;
    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let url = format!("http://{}/cart?secret=1", caller.outbound);
    let headers = ["--header", "Host: web", "--header", &traced, "--header", "tracestate: vendor=1"];
    ran(command("curl", &[&["--silent", "--fail", "--max-time", "60"], &headers[..], &[&url]].concat()))
        .await
        .unwrap();

    let mut spans: Vec<Value> = Vec::new();
    while spans.len() < 2 {
        spans.push(serde_json::from_str(&next_line(&mut lines).await).unwrap());
    }
    spans.sort_by_key(|span| span["kind"].as_str().map(str::to_owned));
    let [client, server] = &spans[..] else { panic!("two spans: {spans:?}") };
    for (span, kind, service, instance) in
        [(client, "SPAN_KIND_CLIENT", "shop", "shop-1"), (server, "SPAN_KIND_SERVER", "web", "web-1")]
    {
        assert_eq!(
            (&span["kind"], &span["trace"], &span["state"]),
            (&kind.into(), &TRACE.into(), &"vendor=1".into()),
            "{span}"
        );
        assert_eq!(
            (&span["name"], &span["status"]),
            (&"GET web.default".into(), &"STATUS_CODE_UNSET".into()),
            "{span}"
        );
        let resource = &span["resource"];
        assert_eq!(
            (&resource["service.name"], &resource["service.instance.id"]),
            (&service.into(), &instance.into()),
            "{span}"
        );
        let attributes = &span["attributes"];
        assert_eq!(attributes["http.response.status_code"], 200, "{span}");
        assert_eq!(
            (&attributes["url.path"], &attributes["penstock.caller"]),
            (&"/cart".into(), &"shop.default".into()),
            "{span}"
        );
        assert!(span["nanoseconds"].as_u64().unwrap() > 0, "{span}");
    }
    assert_eq!((&client["parent"], &server["parent"]), (&PARENT.into(), &client["span"]), "{spans:?}");
    for proxy in [&caller, &callee] {
        let exported = "penstock_proxy_spans_exported_total";
        proxy.until("it counted its span", async || proxy.metric(exported).await == Some(1.0)).await;
        assert!(proxy.metric("process_cpu_seconds_total").await.is_some_and(|seconds| seconds >= 0.0));
    }
}
