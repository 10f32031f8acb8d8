//! Writes and failover: three nodes of ours and three of etcd on the same disk, in turn.

use std::time::Duration;

use crate::Options;
use crate::cluster::{Cluster, Store};
use crate::failover::unavailability;
use crate::process::Failed;
use crate::table::{median, print, quantile};
use crate::writes::{Load, closed_loop};

/// Closed loops that write at once.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// Length of one measurement.
const MEASURE: Duration = Duration::from_secs(4);

/// Prints the tables of writes and of failover.
pub(crate) async fn run(options: &Options) -> Result<(), Failed> {
    let mut ours = Cluster::start(Store::Penstock, options.penstock.clone()).await?;
    let mut theirs = Cluster::start(Store::Etcd, "etcd".into()).await?;
    writes(options, &ours, &theirs).await?;
    println_memory(&ours, &theirs)?;
    failover(options, &mut ours, &mut theirs).await
}

async fn writes(options: &Options, ours: &Cluster, theirs: &Cluster) -> Result<(), Failed> {
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let (mut us, mut them) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            us.push(closed_loop(ours, ours.leader().await?, clients, round, MEASURE).await);
            them.push(closed_loop(theirs, theirs.leader().await?, clients, round, MEASURE).await);
        }
        rows.push(write_row(clients, &us, &them));
    }
    let head = ["clients", "ours/s", "p50 ms", "p99 ms", "etcd/s", "p50 ms", "p99 ms", "ratio", "errors"];
    print("Durable writes over gRPC, to the leader", &head, &rows);
    Ok(())
}

fn write_row(clients: usize, ours: &[Load], theirs: &[Load]) -> Vec<String> {
    let middle = |loads: &[Load], figure: fn(&Load) -> f64| median(loads.iter().map(figure).collect());
    let mut row = vec![clients.to_string()];
    for loads in [ours, theirs] {
        row.push(format!("{:.0}", middle(loads, |load| load.per_second)));
        row.push(format!("{:.2}", middle(loads, |load| load.p50_ms)));
        row.push(format!("{:.2}", middle(loads, |load| load.p99_ms)));
    }
    let pairs = ours.iter().zip(theirs).map(|(us, them)| us.per_second / them.per_second);
    row.push(format!("{:.2}", median(pairs.collect())));
    row.push(ours.iter().chain(theirs).map(|load| load.errors).sum::<u64>().to_string());
    row
}

#[allow(clippy::print_stdout)] // what a benchmark is for
fn println_memory(ours: &Cluster, theirs: &Cluster) -> Result<(), Failed> {
    println!(
        "\nResident MiB per node after it: ours {:?}, etcd {:?}",
        ours.resident_mib()?,
        theirs.resident_mib()?
    );
    Ok(())
}

async fn failover(options: &Options, ours: &mut Cluster, theirs: &mut Cluster) -> Result<(), Failed> {
    let mut us = unavailability(ours, options.kills).await?;
    let mut them = unavailability(theirs, options.kills.div_ceil(2)).await?;
    let figures = |figures: &mut [f64]| [0.0, 0.5, 0.9, 0.99, 1.0].map(|q| quantile(figures, q));
    let (us, them, counts) = (figures(&mut us), figures(&mut them), (us.len(), them.len()));
    let mut rows =
        vec![vec!["ours".to_owned(), counts.0.to_string()], vec!["etcd".to_owned(), counts.1.to_string()]];
    rows.push(vec!["ratio".to_owned(), String::new()]);
    for (ours, theirs) in us.iter().zip(them) {
        rows[0].push(format!("{ours:.0}"));
        rows[1].push(format!("{theirs:.0}"));
        rows[2].push(format!("{:.3}", ours / theirs));
    }
    let head = ["kill -9 of the leader, ms to the next write", "kills", "min", "p50", "p90", "p99", "max"];
    print("Failover", &head, &rows);
    Ok(())
}
