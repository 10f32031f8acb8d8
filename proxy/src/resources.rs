//! What the process uses of what it may use: resident memory against the ceiling of the settings, open files against the
//! kernel's limit. Watched once a second by the control thread; the workers read one bit per request. What decides is pure;
//! must never be asked on the path of a request for more than that bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::metrics::ResourceMetrics;

/// How often is looked. A second of the busiest traffic adds some tens of MB at most; oftener costs more than it tells.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shedding ends below this share of the ceiling. Closer to it, and it would begin and end with every look.
const RELIEF_PERCENT: u64 = 95;

/// Share of the files past which their end is told. A proxy needs two per busy connection.
const FILES_WARNING_PERCENT: u64 = 90;

/// Whether requests must be shed for want of memory; shared by all threads.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<AtomicBool>);

impl Pressure {
    /// Whether memory is past its ceiling.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says whether it is.
    pub fn set(&self, is_high: bool) {
        self.0.store(is_high, Ordering::Relaxed);
    }
}

/// Says when shedding begins and ends.
#[derive(Debug, Clone, Copy)]
struct Ceiling {
    bytes_max: Option<u64>,
    is_passed: bool,
}

impl Ceiling {
    /// Takes in what is resident now; `Some` when shedding begins or ends.
    fn observe(&mut self, resident_bytes: u64) -> Option<bool> {
        let max = self.bytes_max?;
        let is_passed =
            if self.is_passed { resident_bytes > max / 100 * RELIEF_PERCENT } else { resident_bytes > max };
        (std::mem::replace(&mut self.is_passed, is_passed) != is_passed).then_some(is_passed)
    }
}

/// Says when the end of the files is near, once per approach.
#[derive(Debug, Clone, Copy, Default)]
struct Files {
    is_near: bool,
}

impl Files {
    /// Takes in how many are open; whether that is news to be told.
    fn observe(&mut self, open: u64, max: u64) -> bool {
        let is_near = open >= max / 100 * FILES_WARNING_PERCENT;
        !std::mem::replace(&mut self.is_near, is_near) && is_near
    }
}

/// Lets the process open as many files as the system allows it: shells and service managers start programs with few.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, limit = ?limit.current, "the limit of open files could not be raised");
        }
    }
}

/// Looks once a second, for as long as it is polled.
pub async fn watch(bytes_max: Option<u64>, pressure: Pressure, metrics: ResourceMetrics) {
    let (mut ceiling, mut files) = (Ceiling { bytes_max, is_passed: false }, Files::default());
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    metrics.files_max.set(limit.try_into().unwrap_or(i64::MAX));
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(resident) = resident_bytes() {
            metrics.resident.set(resident.try_into().unwrap_or(i64::MAX));
            match ceiling.observe(resident) {
                Some(true) => warn!(resident, ?bytes_max, "memory is past its ceiling: requests are shed"),
                Some(false) => info!(resident, ?bytes_max, "memory is below its ceiling again"),
                None => {}
            }
            pressure.set(ceiling.is_passed);
        }
        if let Some(open) = open_files() {
            metrics.files.set(open.try_into().unwrap_or(i64::MAX));
            if files.observe(open, limit) {
                warn!(
                    open,
                    limit, "nearly out of files: connections will be refused; raise the limit (nofile)"
                );
            }
        }
    }
}

/// Resident memory; `None` where there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Open files; `None` where there is no `/proc`. Linux 6.2 tells their number as the folder's size; before, they are counted.
pub(crate) fn open_files() -> Option<u64> {
    match std::fs::metadata("/proc/self/fd").ok()?.len() {
        0 => std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn shedding_begins_past_the_ceiling_and_ends_well_below_it() {
        let mut ceiling = Ceiling { bytes_max: Some(1000), is_passed: false };
        let told: Vec<_> = [900, 1000, 1001, 980, 951, 950, 1000].map(|bytes| ceiling.observe(bytes)).into();
        assert_eq!(told, [None, None, Some(true), None, None, Some(false), None]);
        let mut none = Ceiling { bytes_max: None, is_passed: false };
        assert_eq!(none.observe(u64::MAX), None);
    }

    #[test]
    fn the_end_of_the_files_is_told_once_per_approach() {
        let mut files = Files::default();
        let told: Vec<_> = [10, 900, 950, 800, 900].map(|open| files.observe(open, 1000)).into();
        assert_eq!(told, [false, true, false, false, true]);
    }

    #[test]
    fn the_system_tells_what_is_used() {
        let held: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_files().unwrap() >= held.len() as u64);
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }
}
