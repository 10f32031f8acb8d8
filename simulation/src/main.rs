//! Runs seeds and scenario files of the core simulation: one line each, so that two processes can be compared byte by byte. The
//! seed is printed before the run, so that one which ends the process is known too. What fails is told as a story, made small,
//! and printed in a form that can be run again.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use simulation::{Failure, Mark, Reached, Report, Sabotage, Scenario, Shape, run, shrunk};

/// The allocator of the shipped binaries: a fifth of a run is allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
Runs the mesh under simulated faults, one line per seed.

Usage: simulate [--seed FIRST] [--seeds COUNT] [--shape FIELDS] [--sabotage FAULT] [--shrink RUNS] [--keep DIRECTORY]
       simulate --replay FILE [--shrink RUNS]
       simulate --prove SEED

  --seed FIRST       the first seed [default: 1]
  --seeds COUNT      how many [default: 1]
  --shape FIELDS     this shape for every seed, instead of a drawn one: \"nodes=5 proxies=20\"
  --sabotage FAULT   with this deliberate fault in the mesh; ends at the first seed that finds it
  --shrink RUNS      runs to spend on making a failure small [default: 100; 0 leaves it as it is]
  --keep DIRECTORY   put what failed there, small, as files for --replay
  --prove SEED       put each deliberate fault in, one after the other, and look for it from this seed on
  --replay FILE      run the scenario in this file

The same seed and the same file give the same trace, in every process. Exit code 1 when an invariant breaks (with --sabotage and
--prove: when a fault is not found), 2 for bad usage.";

/// So many seeds should reach every rare state.
const SEEDS_THAT_REACH_ALL: u64 = 200;

/// What the command line asked for.
struct Options {
    first: u64,
    count: u64,
    shape: Option<Shape>,
    sabotage: Option<Sabotage>,
    shrink: u32,
    keep: Option<PathBuf>,
    replay: Option<PathBuf>,
    prove: bool,
}

fn parsed(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        first: 1,
        count: 1,
        shape: None,
        sabotage: None,
        shrink: 100,
        keep: None,
        replay: None,
        prove: false,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{name} {value}: must be a number"));
        match name.as_str() {
            "--seed" => options.first = number()?,
            "--seeds" => options.count = number()?,
            "--shrink" => {
                options.shrink =
                    u32::try_from(number()?).map_err(|_| format!("{name} {value}: is too many"))?;
            }
            "--shape" => {
                let read =
                    Scenario::read(&format!("shape {value}")).map_err(|error| format!("{name}: {error}"))?;
                options.shape = Some(read.shape);
            }
            "--sabotage" => {
                options.sabotage = Some(Sabotage::named(&value).map_err(|error| error.to_string())?);
            }
            "--keep" => options.keep = Some(value.into()),
            "--prove" => (options.first, options.prove) = (number()?, true),
            "--replay" => options.replay = Some(value.into()),
            _ => return Err(format!("{name} is not an option")),
        }
    }
    Ok(options)
}

fn run_one(scenario: &Scenario, name: &str) -> std::io::Result<Result<Report, Box<Failure>>> {
    let mut out = std::io::stdout().lock();
    write!(out, "{name} ")?;
    // A run may end the process; then its name must have gone out.
    out.flush()?;
    let report = match run(scenario) {
        Ok(report) => report,
        Err(failure) => return Ok(Err(Box::new(failure))),
    };
    writeln!(
        out,
        "trace {:016x} events {} leaders {} crashes {} out {} entries {} acknowledged {} reads {} requests {} undecided {}",
        report.trace,
        report.events,
        report.leaders,
        report.crashes,
        report.out,
        report.entries,
        report.acknowledged,
        report.reads,
        report.requests,
        report.undecided
    )?;
    Ok(Ok(report))
}

/// Tells how a scenario failed, small, and how to run it again.
fn explain(scenario: &Scenario, failure: Failure, options: &Options) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "breaks {:?}: {}", failure.violation.invariant, failure.violation.story)?;
    let steps = scenario.plan.steps.len();
    let small = shrunk(scenario, failure, options.shrink);
    writeln!(
        out,
        "after {:?}; {} of {steps} steps suffice ({} runs). The story:\n",
        small.failure.at,
        small.scenario.plan.steps.len(),
        small.runs
    )?;
    write!(
        out,
        "{}{:>9.3}s  {}\n\n",
        small.failure.story,
        small.failure.at.as_secs_f64(),
        small.failure.violation
    )?;
    let text = format!("# {}\n{}", small.failure.violation.invariant, small.scenario);
    match &options.keep {
        None => {
            writeln!(
                out,
                "Put these lines into FILE and run it again: cargo run --release --bin simulate -- --replay FILE\n\n{text}"
            )
        }
        Some(directory) => {
            let file = directory.join(format!("seed-{}.scenario", scenario.seed));
            let kept = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, text));
            kept.map_err(|error| std::io::Error::other(format!("{}: {error}", file.display())))?;
            writeln!(out, "Run it again: cargo run --release --bin simulate -- --replay {}\n", file.display())
        }
    }
}

/// Says on standard error which rare states none of so many seeds reached.
#[allow(clippy::print_stderr)] // a command for people
fn tell_unreached(reached: &Reached, options: &Options) {
    if options.count < SEEDS_THAT_REACH_ALL || options.sabotage.is_some() || options.replay.is_some() {
        return;
    }
    for mark in Mark::ALL.iter().filter(|mark| !reached.contains(mark)) {
        eprintln!("never reached: {}", mark.what());
    }
}

/// When the runs began, by the clock on the wall and by that of the core.
struct Speed {
    wall: Instant,
    cpu: Duration,
}

impl Speed {
    #[allow(clippy::disallowed_methods)] // the program's own speed; no run ever sees it
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    /// Says on standard error how fast the runs that held were; standard output is the same every time.
    #[allow(clippy::print_stderr)] // a command for people
    fn tell(&self, simulated: Duration) {
        let (simulated, wall) = (simulated.as_secs_f64(), self.wall.elapsed().as_secs_f64());
        let cpu = cpu_time().saturating_sub(self.cpu).as_secs_f64();
        eprintln!(
            "simulated {simulated:.1} s in {wall:.2} s, of which {cpu:.2} s on its core: {:.0} s per second of the core",
            simulated / cpu.max(0.001)
        );
    }
}

/// Time that this thread, the only one, was on a core; zero where the system does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

fn read(file: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Scenario::read(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// What is to be run, each with its name.
type Named<'o> = Box<dyn Iterator<Item = (String, Scenario)> + 'o>;

fn asked_for(options: &Options) -> Result<Named<'_>, String> {
    Ok(match &options.replay {
        Some(file) => Box::new(std::iter::once((file.display().to_string(), read(file)?))),
        None => Box::new((options.first..options.first.saturating_add(options.count)).map(|seed| {
            let scenario = match &options.shape {
                Some(shape) => Scenario::of_shape(seed, shape.clone()),
                None => Scenario::from_seed(seed),
            };
            (format!("seed {seed}"), Scenario { sabotage: options.sabotage, ..scenario })
        })),
    })
}

/// Runs them, and says whether one broke an invariant.
///
/// # Errors
/// Of the output, or of what should be kept.
fn run_all(scenarios: Named<'_>, options: &Options) -> std::io::Result<bool> {
    let (mut broken, mut simulated, mut reached) = (false, Duration::ZERO, Reached::new());
    let speed = Speed::now();
    for (name, scenario) in scenarios {
        let failure = match run_one(&scenario, &name)? {
            Ok(report) => {
                simulated += report.simulated;
                reached.extend(report.reached);
                continue;
            }
            Err(failure) => failure,
        };
        broken = true;
        explain(&scenario, *failure, options)?;
        if options.sabotage.is_some() {
            break;
        }
    }
    speed.tell(simulated);
    tell_unreached(&reached, options);
    Ok(broken)
}

/// Looks for each deliberate fault, and prints which invariant found it, and with which seed. Says whether all were found. Each has
/// a process of its own, because an assertion of the product, which finds a fault too, ends that.
fn prove(first: u64) -> std::io::Result<bool> {
    let (mut all, mut out) = (true, std::io::stdout().lock());
    for sabotage in Sabotage::ALL {
        let within = sabotage.within();
        let numbers = [first, within].map(|number| number.to_string());
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--sabotage", &sabotage.to_string(), "--seed", &numbers[0], "--seeds", &numbers[1]])
            .args(["--shrink", "0"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let seeds = said.lines().filter(|line| line.contains(" trace ")).count() + 1;
        let broken = said.lines().find_map(|line| line.split(" breaks \"").nth(1)?.split('"').next());
        let found = match (broken, output.status.code()) {
            (Some(invariant), _) => invariant,
            // Killed by its own abort, or, without that, ended by a panic.
            (None, None | Some(101)) => "an assertion of the product",
            (None, Some(_)) => {
                all = false;
                writeln!(out, "{sabotage}: NOT found by {within} seeds")?;
                continue;
            }
        };
        writeln!(out, "{sabotage}: found by \"{found}\" after {seeds} of {within} seeds")?;
    }
    Ok(all)
}

#[allow(clippy::print_stderr)] // a command for people
fn main() -> ExitCode {
    let options = match parsed(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("simulate: {complaint}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ended = if options.prove {
        prove(options.first)
    } else {
        match asked_for(&options) {
            Ok(scenarios) => run_all(scenarios, &options).map(|broken| broken == options.sabotage.is_some()),
            Err(complaint) => {
                eprintln!("simulate: {complaint}");
                return ExitCode::from(2);
            }
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read the output has seen enough (`simulate --seeds 200 | head`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate: cannot say what came of it: {error}");
            ExitCode::FAILURE
        }
    }
}
