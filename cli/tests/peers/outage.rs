//! A proxy that is started again while no control node runs, as curl sees it.

use crate::cluster::{Cluster, Scratch};
use crate::seen::{page, web_status};
use crate::stage::{App, Proxy};

#[tokio::test]
async fn the_first_answer_of_a_proxy_started_without_a_control_plane_is_the_services_own() {
    let (scratch, mut cluster) = (Scratch::new("outage"), Cluster::start("outage", 3));
    let web = App::start("web").await;
    let serves = [format!("--application={}", web.address), "--serves=web:80".to_owned()];
    let mut callee = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    callee.start();
    let state = scratch.0.join("state");
    let keeps = [format!("--state-directory={}", state.display())];
    let mut caller = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &keeps);
    caller.start();
    caller.until("curl is served", async || web_status(&caller).await == "200").await;
    let kept = || std::fs::read(state.join("config.cache")).unwrap_or_default();
    let names_callee = || kept().windows(5).any(|part| part == b"web-1");
    caller.until("the endpoint is kept on disk", async || names_callee()).await;

    (1..=3).for_each(|node| cluster.kill(node));
    caller.kill();
    let began = std::time::Instant::now();
    caller.start();
    let mut first = String::new();
    caller
        .until("curl gets an answer", async || {
            first = web_status(&caller).await;
            !first.is_empty()
        })
        .await;
    // For who runs it by hand: curl's own start is in it.
    eprintln!(
        "curl's first answer {} ms after the start without a control plane",
        began.elapsed().as_millis()
    );
    assert_eq!(first, "200");
    assert_eq!(page(&caller, "/ready", &[]).await, "ready\n 200");
    assert_eq!(caller.metric("penstock_proxy_config_from_disk").await, Some(1.0));

    (1..=3).for_each(|node| cluster.restart(node));
    caller
        .until("a control node is followed again", async || {
            caller.metric("penstock_proxy_config_from_disk").await == Some(0.0)
        })
        .await;
    assert_eq!(web_status(&caller).await, "200");
}
