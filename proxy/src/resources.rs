//! What the process uses of what it may use: resident memory against the ceiling of the settings, open files against the
//! kernel's limit. Watched once a second by the control thread; the workers read one bit per request, and look at the number of each
//! new socket. What decides is pure; must never be asked on the path of a request for more than that.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
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

/// Share of the files that callers' connections get. A proxy needs two per busy connection: with a larger share, callers that lie idle
/// would leave none for the endpoints of those that ask; a smaller one turns callers away while there is room. Their end is told here.
const FILES_FOR_CALLERS_PERCENT: u64 = 90;

/// Share of the files that connections to endpoints get, callers' included. The rest is the admin port's, the control stream's and the
/// logs': whoever looks why requests are refused must be answered.
const FILES_FOR_ENDPOINTS_PERCENT: u64 = 97;

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
        let is_near = open >= share(max, FILES_FOR_CALLERS_PERCENT);
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

/// What a socket is for, as far as the last files are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A caller's connection.
    Caller,
    /// A connection to an endpoint.
    Endpoint,
}

/// Whether `socket`, which was just opened, takes a file that is kept for more important uses. The kernel gives out the lowest number
/// that is free (POSIX, `open`), so that its number says how many are open at least; nothing is counted. The limit is asked for each time,
/// as `prlimit` may change it while the process runs.
pub(crate) fn is_one_too_many(socket: &impl AsFd, for_a: Use) -> bool {
    let max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(socket.as_fd().as_raw_fd()).is_ok_and(|number| is_kept(number, max, for_a))
}

fn is_kept(number: u64, max: u64, for_a: Use) -> bool {
    let percent = match for_a {
        Use::Caller => FILES_FOR_CALLERS_PERCENT,
        Use::Endpoint => FILES_FOR_ENDPOINTS_PERCENT,
    };
    number >= share(max, percent)
}

fn share(max: u64, percent: u64) -> u64 {
    max / 100 * percent + max % 100 * percent / 100
}

/// What the system says when it has no more files, also said of one that is kept.
pub(crate) fn out_of_files() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

/// Whether the process, or the whole system, has no more files: no fault of whom a connection was for.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let errors = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    errors.iter().any(|none_left| error.raw_os_error() == Some(none_left.raw_os_error()))
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
                warn!(open, limit, "nearly out of files: connections are refused; raise the limit (nofile)");
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
    fn the_last_files_are_kept_from_callers_and_the_very_last_from_endpoints_too() {
        for (max, for_callers, for_endpoints) in [(1000, 900, 970), (64, 57, 62), (256, 230, 248), (10, 9, 9)]
        {
            for (for_a, first_kept) in [(Use::Caller, for_callers), (Use::Endpoint, for_endpoints)] {
                assert!(!is_kept(first_kept - 1, max, for_a), "{max} {for_a:?}");
                assert!(is_kept(first_kept, max, for_a), "{max} {for_a:?}");
            }
        }
        assert!(!is_kept(1 << 30, u64::MAX, Use::Caller), "no limit");
        assert!(is_out_of_files(&out_of_files()));
        assert!(is_out_of_files(&rustix::io::Errno::NFILE.into()), "the whole system has none");
        assert!(!is_out_of_files(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn the_system_tells_what_is_used() {
        let held: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_files().unwrap() >= held.len() as u64);
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }
}
