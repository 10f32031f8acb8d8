//! How a proxy's life goes over to a new process, and how it ends.

use std::process::Stdio;

use crate::cluster::{Cluster, Scratch};
use crate::load::Load;
use crate::stage::{App, Proxy, ended, tail, terminate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_are_upgraded_under_load_without_a_failed_request_or_a_lost_count() {
    let (scratch, app) = (Scratch::new("upgrade"), App::start("web").await);
    let cluster = Cluster::start("upgrade", 1);
    let control = cluster.control();
    let state = |name: &str| format!("--state-directory={}", scratch.0.join(name).display());
    let drain = "--drain-seconds=5".to_owned();
    let mut callee = Proxy::new(
        &scratch,
        "web-1",
        "web",
        &control,
        &[
            format!("--application={}", app.address),
            "--serves=web:80".to_owned(),
            state("web"),
            drain.clone(),
        ],
    );
    let mut caller =
        Proxy::new(&scratch, "shop-1", "shop", &control, &[state("shop"), "--workers=2".to_owned(), drain]);
    callee.start();
    caller.start();
    caller.until_answer("web", |status, _| status == 200).await;
    let first = caller.metric(REQUESTS).await.unwrap_or_default();
    let mut load = Load::start(caller.outbound, "web", 4);
    load.goes_on(200).await;
    for round in 0..2 {
        caller.upgrade().await;
        load.goes_on(200).await;
        callee.upgrade().await;
        load.goes_on(200).await;
        assert_eq!(callee.metric("penstock_proxy_registered").await, Some(1.0), "after round {round}");
    }
    let (answered, connections) = load.end().await;
    eprintln!("{answered} requests on {connections} connections over four upgrades, none failed");
    let expected = first + answered as f64;
    caller
        .until("every request of every process is counted, once", async || {
            caller.metric(REQUESTS).await == Some(expected)
        })
        .await;
}

/// The requests from `shop` to `web`, as the caller's side counts them.
const REQUESTS: &str = "request_total{authority=\"web.default.svc.cluster.local:80\",deployment=\"shop\",\
    direction=\"outbound\",dst_deployment=\"web\",dst_namespace=\"default\",namespace=\"default\",tls=\"false\"}";

#[tokio::test]
async fn an_upgrade_that_cannot_serve_leaves_the_running_process_as_it_was() {
    let (scratch, app) = (Scratch::new("refused"), App::start("web").await);
    let cluster = Cluster::start("refused", 1);
    let socket = format!("--upgrade-socket={}", scratch.0.join("p.sock").display());
    let more = [format!("--application={}", app.address), "--serves=web:80".to_owned(), socket.clone()];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &more);
    proxy.start();
    proxy.until_answer("web", |status, _| status == 200).await;
    for (words, reason) in [
        (
            vec!["--name=other".to_owned(), "--workload=web".to_owned(), socket.clone()],
            "the running proxy is web-1, not other",
        ),
        (
            vec!["--name=web-1".to_owned(), "--workload=web".to_owned()],
            "no upgrade_socket and no state_directory is set",
        ),
        (
            // Nobody listens on a port of the loopback that was free a moment ago.
            vec![
                "--name=web-1".to_owned(),
                "--workload=web".to_owned(),
                socket.clone(),
                format!("--control={}", crate::cluster::free_addresses(1)[0]),
            ],
            "no control node can be reached",
        ),
    ] {
        let words: Vec<String> = std::iter::once("upgrade".to_owned()).chain(words).collect();
        let output = crate::cluster::penstock("proxy", &words).stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{said}");
        assert_eq!(proxy.ask("web").await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn a_stop_waits_until_the_application_is_gone_and_proxies_on_meanwhile() {
    let (scratch, app) = (Scratch::new("follow"), App::start("web").await);
    let cluster = Cluster::start("follow", 1);
    let more = [
        format!("--application={}", app.address),
        "--serves=web:80".to_owned(),
        "--drain-seconds=60".to_owned(),
    ];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &more);
    proxy.start();
    proxy.until_answer("web", |status, _| status == 200).await;
    let inbound = proxy.words.iter().find_map(|word| word.strip_prefix("--inbound-address=")).unwrap();
    let inbound = inbound.parse().unwrap();
    let process = proxy.process.take().unwrap();
    terminate(&process);
    proxy
        .until("it is no longer ready and has left the mesh", async || {
            proxy.page("/ready").await.is_some_and(|(status, _)| status == 503)
                && proxy.metric("penstock_proxy_registered").await == Some(0.0)
        })
        .await;
    // It has left, but still serves those that come: the application is there.
    let answer = crate::stage::ask(inbound, "web", "/").await;
    assert_eq!(answer, Some((200, "web".to_owned())), "{}", tail(&proxy.log));
    drop(app);
    ended(process, &proxy.log).await;
    assert!(std::fs::read_to_string(&proxy.log).unwrap().contains("the application is gone"));
}

#[tokio::test]
async fn a_proxy_ends_with_the_process_that_it_follows() {
    let scratch = Scratch::new("pid");
    // Lives until its input is closed.
    let mut application = std::process::Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let follow = [format!("--follow-pid={}", application.id())];
    let mut proxy = Proxy::new(&scratch, "job-1", "job", &[], &follow);
    proxy.words.retain(|word| !word.starts_with("--control"));
    proxy.start();
    proxy
        .until("it is ready", async || proxy.page("/ready").await.is_some_and(|(status, _)| status == 200))
        .await;
    drop(application.stdin.take());
    application.wait().unwrap();
    ended(proxy.process.take().unwrap(), &proxy.log).await;
}

#[tokio::test]
async fn a_second_signal_cuts_off_what_still_runs_and_says_so() {
    let (scratch, app) = (Scratch::new("twice"), App::start("web").await);
    let cluster = Cluster::start("twice", 1);
    let more = [
        format!("--application={}", app.address),
        "--serves=web:80".to_owned(),
        "--drain-seconds=600".to_owned(),
    ];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &more);
    proxy.start();
    proxy.until_answer("web", |status, _| status == 200).await;
    let process = proxy.process.take().unwrap();
    terminate(&process);
    proxy
        .until("it waits for the application", async || {
            proxy.page("/ready").await.is_some_and(|(status, _)| status == 503)
        })
        .await;
    terminate(&process);
    ended(process, &proxy.log).await;
    let said = std::fs::read_to_string(&proxy.log).unwrap();
    assert!(said.contains("asked to stop once more; what still runs is cut off"), "{said}");
}

#[test]
fn a_listener_whose_port_is_taken_names_by_whom() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let words = ["--name=web-1", "--workload=web", "--admin-address=127.0.0.1:0"].map(str::to_owned);
    for more in [
        vec![format!("--outbound-address={address}")],
        vec!["--outbound-address=127.0.0.1:0".to_owned(), format!("--upstreams={address}=db:5432")],
    ] {
        let words = [&words[..], &more].concat();
        let output = crate::cluster::penstock("proxy", &words).stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = format!("cannot listen on {address}: the port is taken by `");
        assert!(!output.status.success() && said.contains(&reason), "{said}");
    }
}
