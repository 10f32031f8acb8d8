//! Static stability: a proxy that is started again while no control node runs serves from the config kept on its disk.

use crate::cluster::{Cluster, Scratch};
use crate::stage::{App, Proxy};

/// A callee beside `web`, and a caller that keeps its config in `state`.
async fn stage(scratch: &Scratch, cluster: &Cluster, app: &App) -> (Proxy, Proxy) {
    let control = cluster.control();
    let serves = [format!("--application={}", app.address), "--serves=web:80".to_owned()];
    let mut callee = Proxy::new(scratch, "web-1", "web", &control, &serves);
    callee.start();
    let state = [format!("--state-directory={}", scratch.0.join("state").display())];
    let mut caller = Proxy::new(scratch, "shop-1", "shop", &control, &state);
    caller.start();
    caller.until_answer("web", |status, body| status == 200 && body == "web").await;
    let file = scratch.0.join("state/config.cache");
    caller
        .until("the endpoints are kept on disk", async || {
            // The app's address is not in it, but the callee's workload is, in each endpoint.
            std::fs::read(&file).is_ok_and(|bytes| bytes.windows(5).any(|part| part == b"web-1"))
        })
        .await;
    (callee, caller)
}

#[tokio::test]
async fn a_proxy_that_starts_while_the_control_plane_is_down_serves_what_it_knew() {
    let (scratch, app) = (Scratch::new("kept"), App::start("web").await);
    let mut cluster = Cluster::start("kept", 1);
    let (_callee, mut caller) = stage(&scratch, &cluster, &app).await;
    assert_eq!(caller.metric("penstock_proxy_config_from_disk").await, Some(0.0));
    cluster.kill(1);
    caller.kill();
    let began = std::time::Instant::now();
    caller.start();
    // The first answer that there is at all is the right one: nobody was told to try again.
    let first = caller.until_answer("web", |_, _| true).await;
    // For who runs it by hand.
    eprintln!("first answer {} ms after the start without a control plane", began.elapsed().as_millis());
    assert_eq!(first, (200, "web".to_owned()));
    assert_eq!(caller.metric("penstock_proxy_config_from_disk").await, Some(1.0));
    assert_eq!(caller.page("/ready").await.unwrap().0, 200, "what it knew is enough to be ready");
    caller
        .until("the age of the config rises", async || {
            caller.metric("penstock_proxy_config_age_seconds").await.is_some_and(|age| age >= 1.0)
        })
        .await;
    cluster.restart(1);
    caller
        .until("the control plane takes over again", async || {
            caller.metric("penstock_proxy_config_from_disk").await == Some(0.0)
                && caller.metric("penstock_proxy_config_age_seconds").await == Some(0.0)
        })
        .await;
    assert_eq!(caller.ask("web").await, Some((200, "web".to_owned())));
}

#[tokio::test]
async fn a_damaged_file_is_left_aside_as_a_whole_with_a_warning() {
    let (scratch, app) = (Scratch::new("damaged"), App::start("web").await);
    let mut cluster = Cluster::start("damaged", 1);
    let (_callee, mut caller) = stage(&scratch, &cluster, &app).await;
    cluster.kill(1);
    caller.kill();
    let file = scratch.0.join("state/config.cache");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    caller.start();
    let (status, body) = caller.until_answer("web", |_, _| true).await;
    assert_eq!((status, body.contains("has not answered for this service yet")), (503, true), "{body}");
    assert_eq!(caller.page("/ready").await.unwrap().0, 503);
    let log = std::fs::read_to_string(&caller.log).unwrap();
    assert!(log.contains("the config kept on disk cannot be used") && log.contains("checksum"), "{log}");
    cluster.restart(1);
    caller.until_answer("web", |status, body| status == 200 && body == "web").await;
}
