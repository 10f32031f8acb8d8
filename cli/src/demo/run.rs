//! One run of the demo from start to end: starts the mesh, sends load, shows it, and takes everything down again.

use std::time::Duration;

use api::v1::{GroupBy, StatRequest, StatResponse};
use mesh::WINDOW_SECONDS;
use runtime::signals::Signals;
use tokio::time::{Instant, interval, sleep};

use super::leader_kill::{Killed, LeaderKill};
use super::mesh::Mesh;
use super::report::Report;
use super::screen::Screen;
use super::shop::Load;
use super::writer::Writer;
use crate::answer::{Answer, Exit, Failure};
use crate::args::{DemoArgs, DemoForm, Form};
use crate::commands::{ask_stat, now_ms};
use crate::render;

/// How often the table is drawn.
const FRAME: Duration = Duration::from_millis(500);

/// When the leader is killed, at the latest; a shorter run kills it at its half.
const KILL_AFTER: Duration = Duration::from_secs(8);

/// How long writes go on after the kill.
const WRITES_AFTER_KILL: Duration = Duration::from_secs(3);

/// How long after a window's end its figures are usually there: the catalog waits five seconds for late reports.
const FIGURES_AFTER_MS: u64 = 6_000;

/// How long they may take at most.
const FIGURES_MAX: Duration = Duration::from_secs(12);

/// The window that covers a whole measured run.
const RUN_WINDOW_SECONDS: u32 = 600;

/// Runs the demo; ends it at its time, at Ctrl-C, or when nobody reads any more.
pub async fn run(args: DemoArgs) -> Result<Answer, Failure> {
    if args.output == DemoForm::Json && args.length.is_none() {
        return Err(Failure::Usage("-o json needs --for: the document is written at the end".to_owned()));
    }
    let wrong = |error: std::io::Error| Failure::Refused(format!("cannot wait for Ctrl-C: {error}"));
    let mut signals = Signals::listen().map_err(wrong)?;
    let mut screen = Screen::new(args.output == DemoForm::Json);
    let mut mesh = Mesh::new(args.keep)?;
    let outcome = tokio::select! {
        biased;
        _ = signals.next() => None,
        outcome = drive(&args, &mut mesh, &mut screen) => Some(outcome),
    };
    screen.progress("\nending: proxies and control nodes are taken down");
    mesh.stop().await;
    let kept = args.keep.then(|| format!("kept: {}", mesh.folder().display()));
    let answer = match outcome {
        None => Answer::fine(String::new()),
        Some(outcome) => answer(&outcome?, &args, &screen),
    };
    Ok(kept.into_iter().fold(answer, Answer::noting))
}

fn answer(report: &Report, args: &DemoArgs, screen: &Screen) -> Answer {
    let text = match args.output {
        DemoForm::Json => report.json(),
        DemoForm::Table => report.text(screen.ink()),
    };
    let exit = if report.faults.is_empty() { Exit::Fine } else { Exit::Failed };
    Answer { exit, ..Answer::fine(text) }
}

async fn drive(args: &DemoArgs, mesh: &mut Mesh, screen: &mut Screen) -> Result<Report, Failure> {
    mesh.start(screen).await?;
    screen.progress(&hints(mesh));
    let begun = Instant::now();
    let load = Load::begin(args.rate, &mesh.load_ways, &mesh.tally);
    let kill = show(args, mesh, screen, begun).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let entered = load.end().await;
    if entered.held_back > 0 {
        screen.progress(&format!(
            "note: {} requests were held back: answers came too slowly",
            entered.held_back
        ));
    }
    settled(mesh, screen, seconds, kill).await
}

/// Draws until the time is up, and kills the leader when that is asked for.
async fn show(
    args: &DemoArgs,
    mesh: &mut Mesh,
    screen: &mut Screen,
    begun: Instant,
) -> Result<Option<LeaderKill>, Failure> {
    let kill_after = args.length.map_or(KILL_AFTER, |length| KILL_AFTER.min(length.0 / 2));
    let mut writer = args.kill_leader.then(|| Writer::begin(mesh.connection()));
    let (mut killed, mut kill): (Option<Killed>, Option<LeaderKill>) = (None, None);
    let mut frames = interval(FRAME);
    let mut connection = mesh.connection();
    while screen.open() {
        frames.tick().await;
        mesh.alive()?;
        if writer.is_some() && killed.is_none() && begun.elapsed() >= kill_after {
            killed = Some(Killed::leader_of(mesh, screen).await?);
        }
        let over = args.length.is_some_and(|length| begun.elapsed() >= length.0);
        if let Some(killed) =
            killed.as_ref().filter(|killed| over || killed.at().elapsed() >= WRITES_AFTER_KILL)
            && let Some(writer) = writer.take()
        {
            kill = Some(killed.judged(writer, mesh, screen).await?);
        }
        if over {
            break;
        }
        // A node that does not answer for a moment is no reason to end: the next frame asks again.
        if let Ok(figures) = ask_stat(&mut connection, figures_of(GroupBy::Edge, 10)).await {
            let (window, table) = frame(&figures, mesh, screen, now_ms());
            screen.table(&window, &table);
        }
    }
    Ok(kill)
}

/// The table of the last window, and a line below it.
fn frame(figures: &StatResponse, mesh: &Mesh, screen: &Screen, now_ms: u64) -> (String, String) {
    let window_ms = WINDOW_SECONDS * 1000;
    let next = (window_ms - now_ms.saturating_sub(FIGURES_AFTER_MS) % window_ms).div_ceil(1000);
    let failures = mesh.tally.books().mesh_failures();
    let (window, table) = if figures.rows.is_empty() {
        (String::new(), "no figures yet: proxies report each ten seconds\n".to_owned())
    } else {
        (figures.to_ms.to_string(), render::edges(figures, Form::Table, screen.ink()))
    };
    let text = format!(
        "\n{table}\nthe last ten seconds; next figures in {next} s; {failures} calls failed because of the mesh\n"
    );
    (window, text)
}

fn figures_of(group_by: GroupBy, window_seconds: u32) -> StatRequest {
    StatRequest { group_by: group_by.into(), window_seconds, ..StatRequest::default() }
}

/// Waits until the mesh has the figures of the last window, and reports; at the latest some time after that window.
async fn settled(
    mesh: &mut Mesh,
    screen: &mut Screen,
    seconds: f64,
    kill: Option<LeaderKill>,
) -> Result<Report, Failure> {
    screen.progress("load has ended; waiting for the figures of the last ten seconds");
    let books = mesh.tally.books();
    let window_ms = WINDOW_SECONDS * 1000;
    let to_window_end = Duration::from_millis(window_ms - now_ms() % window_ms);
    let deadline = Instant::now() + to_window_end + FIGURES_MAX;
    let mut connection = mesh.connection();
    loop {
        mesh.alive()?;
        let per_edge = ask_stat(&mut connection, figures_of(GroupBy::Edge, RUN_WINDOW_SECONDS)).await?;
        let per_service = ask_stat(&mut connection, figures_of(GroupBy::Service, RUN_WINDOW_SECONDS)).await?;
        let report = Report::of(seconds, &books, &per_edge, &per_service, kill.clone());
        if report.agrees() || Instant::now() >= deadline {
            return Ok(report);
        }
        sleep(FRAME).await;
    }
}

/// What to try in a second terminal.
fn hints(mesh: &Mesh) -> String {
    let control: Vec<String> = mesh.control.iter().map(ToString::to_string).collect();
    let program = program();
    format!(
        "
Try in a second terminal:
  export PENSTOCK_CONTROL={}
  {program} stat                     web succeeds three times in four: is it web?
  {program} stat --from web          or one of those that it calls?
  {program} edges -o wide            who calls whom, with failures by reason
  {program} members                  who leads
  {program} check                    is the mesh healthy?
",
        control.join(",")
    )
}

/// This program as it can be typed.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "penstock".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}
