//! Our proxy beside its peers, one worker each, interleaved in one run with the same upstream and load: CPU per request,
//! latencies, memory, bytes, connections, and how ours grows. Ours follows a real control node, routes, balances and counts
//! per edge; the peers route by static files. On a shared machine only ratios mean something.

mod growth;
mod memory;
mod mesh;
mod peers;
mod scenarios;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Options;
use crate::http_load::{Http, steady, upstream};
use crate::process::{Failed, Scratch};
use crate::table::{median, print, quantile};
use crate::tcp_load;
use mesh::Mesh;
use peers::Peer;
use scenarios::{Load, Measured, SCENARIOS};

/// A run ends its last scenario after this long, whatever is left: a benchmark that takes longer is run by nobody.
const TIME_MAX: Duration = Duration::from_secs(11 * 60);

/// Between two runs, so that what the one left behind is not the next one's.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(options: &Options) -> Result<(), Failed> {
    let begun = Instant::now();
    let scratch = Scratch::new("proxy")?;
    let endpoints = (upstream().await?, tcp_load::endpoint().await?);
    let (mesh, mut peers) = peers::start(options, &scratch.0, endpoints).await?;
    if options.wants("memory") {
        print_memory(options, &scratch.0, &mesh, &peers).await?;
    }
    for (key, title, load) in SCENARIOS {
        if options.wants(key) && begun.elapsed() < TIME_MAX {
            scenario(options, title, load, &mut peers, endpoints.0).await?;
        }
    }
    drop(peers);
    if options.wants("growth") && begun.elapsed() < TIME_MAX {
        growth::run(options, &scratch.0, &mesh, endpoints.0).await?;
    }
    Ok(())
}

async fn print_memory(
    options: &Options,
    directory: &Path,
    mesh: &Mesh,
    peers: &[Peer],
) -> Result<(), Failed> {
    let mib = |kib: u64| format!("{:.1}", f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0);
    let mut rows = Vec::new();
    let (process, address) = mesh.proxy_of_the_whole_program(&options.penstock, directory, "whole").await?;
    let whole = Peer { name: "ours, as `penstock proxy`", process, address, has_http2: true, tcp: None };
    for peer in peers.iter().chain([&whole]) {
        let resident = memory::resident(peer).await?;
        rows.push(vec![
            peer.name.to_owned(),
            mib(resident.idle_kib),
            mib(resident.with_connections_kib),
            resident.connection_bytes.to_string(),
        ]);
    }
    let head = ["proxy", "idle MiB", "with 1,100 idle connections", "bytes per idle connection"];
    print("Resident memory, before any load", &head, &rows);
    Ok(())
}

/// One scenario through every proxy that suits, in an order that turns with each round.
async fn scenario(
    options: &Options,
    title: &str,
    load: Load,
    peers: &mut [Peer],
    upstream: SocketAddr,
) -> Result<(), Failed> {
    let mut measured: Vec<Vec<Measured>> = peers.iter().map(|_| Vec::new()).collect();
    let mut direct = Vec::new();
    for round in 0..options.rounds {
        if let Load::Steady(rate) = load {
            direct.push(steady(upstream, Http::One.authority(), rate, 10, 2).await?);
        }
        for turn in 0..peers.len() {
            let place = (turn + round) % peers.len();
            if load.suits(&peers[place]) {
                measured[place].push(load.measure(&peers[place]).await?);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let direct = [0.5, 0.99, 0.999]
        .map(|share| median(direct.iter().map(|all| quantile(&mut all.clone(), share)).collect()));
    let rows = peers.iter().zip(&measured).filter(|(_, runs)| !runs.is_empty());
    let rows: Vec<_> = rows.map(|(peer, runs)| row(peer.name, runs, &measured[0], load, direct)).collect();
    let what = match load {
        Load::Closed(..) | Load::Connections(_) | Load::Opaque(_) => ["p50 ms", "p99 ms", "p99.9 ms"],
        Load::Steady(_) => ["added p50 ms", "added p99 ms", "added p99.9 ms"],
    };
    let head = ["proxy", "CPU us each", "each/s", what[0], what[1], what[2], "ours to it"];
    print(title, &head, &rows);
    Ok(())
}

fn row(name: &str, runs: &[Measured], ours: &[Measured], load: Load, direct: [f64; 3]) -> Vec<String> {
    let middle = |figure: &dyn Fn(&Measured) -> f64| median(runs.iter().map(figure).collect());
    let mut row = vec![name.to_owned()];
    row.push(format!("{:.1}", middle(&|run| run.cpu_us)));
    row.push(format!("{:.0}", middle(&|run| run.per_second)));
    for (place, direct) in direct.iter().enumerate() {
        let floor = if matches!(load, Load::Steady(_)) { *direct } else { 0.0 };
        let figure = middle(&|run| run.latency_ms[place]) - floor;
        row.push(if figure.is_nan() { "-".to_owned() } else { format!("{figure:.2}") });
    }
    let ratios = ours.iter().zip(runs).map(|(us, them)| us.cpu_us / them.cpu_us).collect();
    row.push(format!("{:.2}", median(ratios)));
    row
}
