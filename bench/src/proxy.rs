//! CPU per request of our proxy and of Envoy, one worker each, in turn, with the same upstream and load. Ours follows a real
//! control node, routes, balances and counts per edge; Envoy routes by a static file.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, Protocol, QualifiedName, RegisterRequest, WriteId};

use crate::Options;
use crate::http_load::{Http, closed_loop, upstream};
use crate::process::{Failed, Process, Scratch, free_addresses, until};
use crate::table::{median, print, quantile};

/// What is measured: name, protocol, connections, requests.
const SCENARIOS: [(&str, Http, usize, usize); 3] = [
    ("HTTP/1.1, 1 connection", Http::One, 1, 3_000),
    ("HTTP/1.1, 32 connections", Http::One, 32, 16_000),
    ("HTTP/2, 10 connections x 10 streams", Http::Two(10), 10, 16_000),
];

/// Services that the bench registers: one for each protocol.
const SERVICES: [(&str, Protocol); 2] = [("one", Protocol::Http1), ("two", Protocol::Http2)];

struct Measured {
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn measure(
    process: &Process,
    address: SocketAddr,
    scenario: (&str, Http, usize, usize),
) -> Result<Measured, Failed> {
    let (_, http, connections, requests) = scenario;
    let authority = if http == Http::One { "one.bench" } else { "two.bench" };
    closed_loop(address, authority, http, connections, requests / 8).await?;
    let before = process.cpu()?;
    let mut latencies = closed_loop(address, authority, http, connections, requests).await?;
    let cpu = process.cpu()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // some thousand requests
    let cpu_us = cpu.as_secs_f64() * 1e6 / latencies.len() as f64;
    Ok(Measured { cpu_us, p50_ms: quantile(&mut latencies, 0.5), p99_ms: quantile(&mut latencies, 0.99) })
}

async fn register(control: SocketAddr, upstream: SocketAddr) -> Result<(), Failed> {
    let wrong =
        |error: &dyn std::fmt::Display| Failed::Other(format!("cannot register the upstream: {error}"));
    let url = format!("http://{control}");
    let mut client = RegistrationClient::connect(url).await.map_err(|error| wrong(&error))?;
    for (sequence, (name, protocol)) in (1..).zip(SERVICES) {
        let named = |name: &str| Some(QualifiedName { name: name.to_owned(), namespace: "bench".to_owned() });
        let request = RegisterRequest {
            id: Some(WriteId { client: "bench".to_owned(), sequence }),
            authority: Some(Authority { service: named(name), port: 80 }),
            protocol: protocol.into(),
            endpoint: Some(Endpoint {
                instance: "upstream".to_owned(),
                address: upstream.to_string(),
                workload: named("upstream"),
                ..Endpoint::default()
            }),
            lease_seconds: 3600,
        };
        client.register(request).await.map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// A control node and a proxy that follows it.
async fn ours(
    options: &Options,
    directory: &Path,
    upstream: SocketAddr,
) -> Result<(Process, Process, SocketAddr), Failed> {
    let addresses = free_addresses(5)?;
    let arguments = [
        "control".to_owned(),
        format!("--client-address={}", addresses[0]),
        format!("--peer-address={}", addresses[1]),
        format!("--http-address={}", addresses[2]),
        format!("--data-directory={}", directory.join("control").display()),
    ];
    let control = Process::start(&options.penstock, &arguments, directory.join("control.log"))?;
    until("the control node", 30, &control.log, async || register(addresses[0], upstream).await.is_ok())
        .await?;
    let arguments = [
        "proxy".to_owned(),
        format!("--control={}", addresses[0]),
        "--name=load".to_owned(),
        "--workload=load.bench".to_owned(),
        format!("--outbound-address={}", addresses[3]),
        format!("--admin-address={}", addresses[4]),
        "--workers=1".to_owned(),
    ];
    let proxy = Process::start(&options.penstock, &arguments, directory.join("proxy.log"))?;
    until("our proxy", 30, &proxy.log, async || answers(addresses[3]).await).await?;
    Ok((control, proxy, addresses[3]))
}

async fn envoy(
    options: &Options,
    directory: &Path,
    upstream: SocketAddr,
) -> Result<(Process, SocketAddr), Failed> {
    let address = free_addresses(1)?[0];
    let config = directory.join("envoy.yaml");
    let text = include_str!("envoy.yaml")
        .replace("LISTEN_PORT", &address.port().to_string())
        .replace("UPSTREAM_PORT", &upstream.port().to_string());
    std::fs::write(&config, text)?;
    let (path, set) =
        (config.display().to_string(), "--concurrency 1 --disable-hot-restart --log-level error");
    let mut arguments = vec!["--config-path".to_owned(), path];
    arguments.extend(set.split(' ').map(str::to_owned));
    let envoy = Process::start(&options.envoy, &arguments, directory.join("envoy.log"))?;
    until("Envoy", 30, &envoy.log, async || answers(address).await).await?;
    Ok((envoy, address))
}

async fn answers(address: SocketAddr) -> bool {
    closed_loop(address, "one.bench", Http::One, 1, 1).await.is_ok()
}

/// Prints the table of CPU per request.
pub(crate) async fn run(options: &Options) -> Result<(), Failed> {
    let scratch = Scratch::new("proxy")?;
    let upstream = upstream().await?;
    let (_control, our_proxy, our_address) = ours(options, &scratch.0, upstream).await?;
    let (envoy, envoy_address) = envoy(options, &scratch.0, upstream).await?;
    let idle = [our_proxy.resident_kib()?, envoy.resident_kib()?];
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        let (mut us, mut them) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            us.push(measure(&our_proxy, our_address, scenario).await?);
            them.push(measure(&envoy, envoy_address, scenario).await?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rows.push(row(scenario.0, &us, &them));
    }
    let head =
        ["scenario", "ours us/request", "p50 ms", "p99 ms", "Envoy us/request", "p50 ms", "p99 ms", "ratio"];
    print("CPU of the proxy per request", &head, &rows);
    let [ours, envoy] =
        idle.map(|kib| format!("{:.1}", f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0));
    print("Resident memory before the load", &["ours MiB", "Envoy MiB"], &[vec![ours, envoy]]);
    Ok(())
}

fn row(name: &str, ours: &[Measured], theirs: &[Measured]) -> Vec<String> {
    let middle = |all: &[Measured], figure: fn(&Measured) -> f64| median(all.iter().map(figure).collect());
    let mut row = vec![name.to_owned()];
    for all in [ours, theirs] {
        row.push(format!("{:.1}", middle(all, |one| one.cpu_us)));
        row.push(format!("{:.2}", middle(all, |one| one.p50_ms)));
        row.push(format!("{:.2}", middle(all, |one| one.p99_ms)));
    }
    row.push(format!(
        "{:.2}",
        median(ours.iter().zip(theirs).map(|(us, them)| us.cpu_us / them.cpu_us).collect())
    ));
    row
}
