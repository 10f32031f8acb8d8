//! Arguments of `simulate`.

use std::path::PathBuf;

use clap::ValueEnum;

/// How the outcome is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SimulateForm {
    /// For people
    #[default]
    Text,
    /// JSON, for programs
    Json,
}

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A scenario says how large the mesh is and what goes wrong, and when. The real rules of Penstock (consensus, catalog, \
discovery, leases, rollups) then live through it on a simulated network, disk and clock, in far less time than it takes. \
The same scenario and seed give the same run, everywhere. Every run is held to what must never break; a run that breaks \
it is a fault of Penstock, is told as a story, and ends with exit code 1.

Without --seed, the seed of the file is taken, or 1. Ctrl-C sums up the seeds that were run (exit code 1), a second one ends \
at once.

Examples:
  penstock simulate --list                                  the scenarios that come along
  penstock simulate leader-crash                            one run, in figures
  penstock simulate zone-loss --picture zone-loss.svg       and drawn
  penstock simulate my.scenario --seeds 1000                a thousand runs of one's own scenario
  penstock simulate my.scenario --seed 412 --replay         one of them again, told line by line
  penstock simulate --show leader-crash > my.scenario       a scenario to begin with")]
pub struct SimulateArgs {
    /// A file, or the name of a scenario that comes along
    #[arg(value_name = "SCENARIO", required_unless_present_any = ["list", "show"])]
    pub scenario: Option<String>,

    /// The seed of what the scenario leaves to chance
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Run so many seeds, from --seed on, and sum them up
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seeds: u64,

    /// Tell all that happened in the run, line by line, and make none smaller that breaks
    #[arg(long, conflicts_with = "seeds")]
    pub replay: bool,

    /// Draw the run into this file, as SVG; with --seeds the run with the longest write gap
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,

    /// How the outcome is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: SimulateForm,

    /// Tell the scenarios that come along
    #[arg(long, exclusive = true)]
    pub list: bool,

    /// Print a scenario that comes along
    #[arg(long, value_name = "NAME", exclusive = true)]
    pub show: Option<String>,
}
