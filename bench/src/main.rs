//! Benchmarks that run Penstock and its peers side by side, interleaved in one run, and print ratios: on a shared machine
//! only the ratio means something. Starts real processes on loopback and ends them all. Never a gate in a test.

mod asks;
mod cluster;
mod consensus;
mod etcd;
mod failover;
mod http_load;
mod load;
mod machine;
mod overload;
mod process;
mod proxy;
mod restart;
mod simulation;
mod summary;
mod table;
mod tcp_load;
mod unary_loop;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use process::Failed;

const USAGE: &str = "\
Runs Penstock and a peer side by side and prints a table with ratios.

Usage: bench <consensus|proxy|simulation|all> [--rounds N] [--scenarios NAMES] [--peers NAMES] [OPTIONS]

  consensus   writes, linearizable reads, failover, restarts and memory, against etcd (Debian's etcd-server)
  proxy       CPU per request, latencies, memory and growth, against Envoy, HAProxy, nginx and Pingora; some ten minutes
  simulation  how fast the simulation is; it has no peer
  all         all of them

Options:
  --penstock PATH   the penstock binary, with penstock-proxy beside it [default: beside this one]
  --etcd PATH       the etcd binary [default: etcd on PATH]
  --envoy PATH      the envoy binary [default: envoy on PATH]
  --pingora PATH    the binary of bench/peers/pingora [default: where cargo builds it]
  --simulate PATH   the simulate binary [default: beside this one]
  --scenarios NAMES of consensus, with commas: writes, reads, failover, frozen, stopped, transfer, restart, overload; of proxy:
                    memory, h1c1, h1c32, h1c256, h2, grpc, rate, connections, tcp, growth [default: all]
  --peers NAMES     of proxy, with commas: envoy, haproxy, nginx, pingora [default: all that are there]
  --rounds N        interleaved rounds [default: 3]
  --seconds N       length of each load of consensus [default: 3]
  --for N           seconds of overload [default: 60; the promise is about 600]
  --kills N         kill -9 of our leader [default: 100]; it is frozen and stopped a quarter as often
  --etcd-kills N    kill -9 of etcd's leader [default: 15]; each of its restarts takes seconds";

/// What the command line asked for.
pub(crate) struct Options {
    pub(crate) penstock: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) pingora: PathBuf,
    pub(crate) simulate: PathBuf,
    pub(crate) scenarios: Vec<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) measure: Duration,
    pub(crate) overload: Duration,
    pub(crate) kills: usize,
    pub(crate) etcd_kills: usize,
}

fn standard() -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(Options {
        penstock: this.with_file_name("penstock"),
        simulate: this.with_file_name("simulate"),
        etcd: "etcd".into(),
        envoy: "envoy".into(),
        pingora: concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pingora/target/release/pingora-peer").into(),
        scenarios: Vec::new(),
        peers: Vec::new(),
        rounds: 3,
        measure: Duration::from_secs(3),
        overload: Duration::from_secs(60),
        kills: 100,
        etcd_kills: 15,
    })
}

impl Options {
    /// Whether a scenario is asked for.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == scenario)
    }
}

fn parsed(mut arguments: impl Iterator<Item = String>) -> Result<(String, Options), String> {
    let what = arguments.next().ok_or("nothing to run was named")?;
    let mut arguments = arguments.peekable();
    if arguments.next_if(|argument| matches!(argument.as_str(), "-h" | "--help")).is_some() {
        return Ok(("--help".to_owned(), standard()?));
    }
    let mut options = standard()?;
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let count = || value.parse::<usize>().map_err(|_| format!("{name} {value}: must be a number"));
        match name.as_str() {
            "--penstock" => options.penstock = value.into(),
            "--etcd" => options.etcd = value.into(),
            "--envoy" => options.envoy = value.into(),
            "--pingora" => options.pingora = value.into(),
            "--scenarios" => options.scenarios = value.split(',').map(str::to_owned).collect(),
            "--peers" => options.peers = value.split(',').map(str::to_owned).collect(),
            "--simulate" => options.simulate = value.into(),
            "--rounds" => options.rounds = count()?.max(1),
            "--seconds" => options.measure = Duration::from_secs(count()?.max(1) as u64),
            "--for" => options.overload = Duration::from_secs(count()?.max(1) as u64),
            "--kills" => options.kills = count()?,
            "--etcd-kills" => options.etcd_kills = count()?,
            _ => return Err(format!("{name} is not an option")),
        }
    }
    Ok((what, options))
}

async fn run(what: &str, options: &Options) -> Result<(), Failed> {
    if matches!(what, "consensus" | "all") {
        consensus::run(options).await?;
    }
    if matches!(what, "proxy" | "all") {
        proxy::run(options).await?;
    }
    if matches!(what, "simulation" | "all") {
        simulation::run(&options.simulate, options.rounds)?;
    }
    Ok(())
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command for people
fn main() -> std::process::ExitCode {
    let (what, options) = match parsed(std::env::args().skip(1)) {
        Ok(parsed) if matches!(parsed.0.as_str(), "consensus" | "proxy" | "simulation" | "all") => parsed,
        Ok((what, _)) => {
            let asked_for_help = matches!(what.as_str(), "-h" | "--help" | "help");
            println!("{USAGE}");
            return if asked_for_help { 0 } else { 2 }.into();
        }
        Err(complaint) => {
            eprintln!("bench: {complaint}\n\n{USAGE}");
            return 2.into();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Failed::from).and_then(|runtime| runtime.block_on(run(&what, &options)));
    match outcome {
        Ok(()) => 0.into(),
        Err(failed) => {
            eprintln!("bench: {failed}");
            1.into()
        }
    }
}
