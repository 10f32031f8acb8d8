//! Logs to standard error: plain for people, JSON for machines, at the level that `PENSTOCK_LOG` asks for.
//!
//! Set up once by `main`, before anything else speaks. Its two settings are parsed like all others ([`filter`],
//! [`format`](fn@format) go with a [`Reader`](crate::settings::Reader)). Standard output belongs to a command's answer: never log there.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;

use crate::settings::parse::Parsed;

/// Which events are logged: a level (`info`), or levels by module (`info,control::replica=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Default for Filter {
    /// What an operator wants to see of a healthy process.
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One readable line, in colour on a terminal.
    #[default]
    Plain,
    /// One JSON object per line.
    Json,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Puts another filter in the place of the one in force.
type Reload = Box<dyn Fn(Targets) -> bool + Send + Sync>;

/// The log of this process, once it is set up.
static INSTALLED: OnceLock<(Mutex<Filter>, Reload)> = OnceLock::new();

/// A log was set up before in this process.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already in this process; set it up once, in main")]
pub struct AlreadyInstalled;

/// Parses the setting `log`.
pub fn filter(raw: &str) -> Parsed<Filter> {
    let rule = || {
        "must be a level (error, warn, info, debug, trace, off), or target=level with commas between, such as info,control=debug"
            .to_owned()
    };
    for directive in raw.split(',') {
        // A word without `=` would count as a target that logs everything, so a misspelled level must be caught here.
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(rule());
        }
    }
    raw.parse::<Targets>().map_err(|_| rule())?;
    Ok(Filter(raw.to_owned()))
}

/// Parses the setting `log_format`.
pub fn format(raw: &str) -> Parsed<Format> {
    crate::settings::parse::one_of(&[("plain", Format::Plain), ("json", Format::Json)])(raw)
}

/// Sends the process' log to standard error from now on, in colour only on a terminal and without `NO_COLOR`.
pub fn install(filter: &Filter, format: Format) -> Result<(), AlreadyInstalled> {
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, reload) = reloadable(filter, format, colour, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInstalled)?;
    INSTALLED.set((Mutex::new(filter.clone()), reload)).map_err(|_| AlreadyInstalled)
}

/// What is logged now; `None` while [`install`] was not called.
pub fn installed() -> Option<Filter> {
    let (filter, _) = INSTALLED.get()?;
    Some(filter.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Changes what is logged from now on, until the process ends. `false` while [`install`] was not called.
pub fn change(filter: &Filter) -> bool {
    let Some((current, reload)) = INSTALLED.get() else { return false };
    let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
    let is_changed = reload(parsed(filter));
    if is_changed {
        current.clone_from(filter);
    }
    is_changed
}

fn parsed(filter: &Filter) -> Targets {
    filter.0.parse().expect("a filter was parsed before, by `filter`")
}

/// The subscriber behind [`install`], for a test or a command that brings its own writer.
pub fn subscriber<W>(
    filter: &Filter,
    format: Format,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    reloadable(filter, format, colour, writer).0
}

fn reloadable<W>(
    filter: &Filter,
    format: Format,
    colour: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, Reload)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parsed(filter));
    let filtered = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        Format::Plain => Box::new(filtered.with(lines.with_ansi(colour))),
        Format::Json => Box::new(filtered.with(lines.json().flatten_event(true))),
    };
    (subscriber, Box::new(move |filter| handle.reload(filter).is_ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on should panic
    use std::sync::{Arc, Mutex};

    use super::*;

    fn logged(raw_filter: &str, format: Format, colour: bool) -> String {
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&written);
        let writer = move || Sink(Arc::clone(&sink));
        let subscriber = subscriber(&filter(raw_filter).unwrap(), format, colour, writer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(revision = 7, "endpoints replaced");
            tracing::debug!("not by default");
        });
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines_carry_facts_as_fields_and_no_colour_unless_asked() {
        let line = logged("info", Format::Plain, false);
        assert!(line.contains("endpoints replaced revision=7"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(logged("info", Format::Plain, true).contains('\u{1b}'));
    }

    #[test]
    fn json_lines_are_objects() {
        let line = logged("info", Format::Json, false);
        let object: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!(
            (object["message"].as_str(), object["revision"].as_i64()),
            (Some("endpoints replaced"), Some(7))
        );
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        assert_eq!(logged("info", Format::Plain, false).lines().count(), 1);
        assert_eq!(logged("debug", Format::Plain, false).lines().count(), 2);
        assert_eq!(logged("warn,runtime=debug", Format::Plain, false).lines().count(), 2);
        assert_eq!(logged("off", Format::Plain, false), "");
    }

    #[test]
    fn a_changed_level_decides_from_then_on_in_both_formats() {
        for format in [Format::Plain, Format::Json] {
            let written: Arc<Mutex<Vec<u8>>> = Arc::default();
            let sink = Arc::clone(&written);
            let (subscriber, reload) =
                reloadable(&filter("info").unwrap(), format, false, move || Sink(Arc::clone(&sink)));
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!("before");
                assert!(reload(parsed(&filter("debug").unwrap())));
                tracing::debug!("between");
                assert!(reload(parsed(&filter("off").unwrap())));
                tracing::error!("after");
            });
            let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
            assert!(text.contains("between") && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn a_misspelled_level_is_refused_and_not_taken_for_a_target() {
        for raw in ["dbug", "info,control", "control=loud", "", "info,"] {
            assert!(filter(raw).unwrap_err().starts_with("must be a level"), "{raw}");
        }
        assert_eq!(format("xml"), Err("must be one of plain, json".to_owned()));
    }
}
