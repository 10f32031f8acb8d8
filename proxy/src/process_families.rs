//! What the process says of itself in the families that every Prometheus client library has and every dashboard asks for, and
//! which version it is. Asked of `/proc` when somebody scrapes, on the admin thread; must never be asked on a data thread.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use rustix::process::{Resource, getrlimit};

use crate::resources::{open_files, resident_bytes};

/// In what fractions of a second `/proc` tells times: Linux shows programs a hundredth on every architecture that we build
/// for, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name and help, in the order of [`values`]. The first is the only counter.
const FAMILIES: [(&str, &str); 6] = [
    ("process_cpu_seconds_total", "CPU time of the process, its own and the kernel's for it"),
    ("process_start_time_seconds", "When the process began, in seconds since 1970"),
    ("process_resident_memory_bytes", "Resident memory"),
    ("process_virtual_memory_bytes", "Address space"),
    ("process_open_fds", "Open files"),
    ("process_max_fds", "Files that may be open"),
];

const BUILD: (&str, &str) = ("proxy_build_info", "Always 1; which version this is");

/// The families; they have no state.
#[derive(Debug)]
pub(crate) struct ProcessFamilies(Vec<Desc>);

impl ProcessFamilies {
    /// The families of this process.
    pub(crate) fn new() -> Self {
        let description = |(name, help): &(&str, &str)| {
            Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())
                .expect("names and help texts are constants and valid")
        };
        Self(FAMILIES.iter().chain([&BUILD]).map(description).collect())
    }
}

/// What `/proc/self/stat` tells (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Since the system began.
    started_seconds: f64,
    virtual_bytes: f64,
}

impl Stat {
    /// Reads it. The program's name, in brackets, may hold anything; numbers come after it.
    fn of(text: &str) -> Option<Self> {
        let (_, numbers) = text.rsplit_once(')')?;
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        // The first is the third of the manual.
        let number = |of_manual: usize| numbers.get(of_manual - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / TICKS_PER_SECOND,
            started_seconds: number(22)? / TICKS_PER_SECOND,
            virtual_bytes: number(23)?,
        })
    }
}

/// When the system began, in seconds since 1970.
fn booted_seconds(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// One value per family of [`FAMILIES`]; `None` where the system does not tell.
fn values() -> [Option<f64>; FAMILIES.len()] {
    let read = |path| std::fs::read_to_string(path).ok();
    let stat = read("/proc/self/stat").and_then(|text| Stat::of(&text));
    let booted = read("/proc/stat").and_then(|text| booted_seconds(&text));
    #[allow(clippy::cast_precision_loss)] // Prometheus counts in f64
    let float = |value: u64| value as f64;
    [
        stat.map(|stat| stat.cpu_seconds),
        stat.zip(booted).map(|(stat, booted)| booted + stat.started_seconds),
        resident_bytes().map(float),
        stat.map(|stat| stat.virtual_bytes),
        open_files().map(float),
        getrlimit(Resource::Nofile).current.map(float),
    ]
}

fn family(name: &str, help: &str, is_counter: bool, value: f64, labels: Vec<LabelPair>) -> MetricFamily {
    let mut metric = Metric::from_label(labels);
    if is_counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(if is_counter { MetricType::COUNTER } else { MetricType::GAUGE });
    family.set_metric(vec![metric]);
    family
}

impl Collector for ProcessFamilies {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut version = LabelPair::default();
        version.set_name("version".to_owned());
        version.set_value(env!("CARGO_PKG_VERSION").to_owned());
        let told = FAMILIES.iter().zip(values()).enumerate();
        let told = told.filter_map(|(place, ((name, help), value))| {
            value.map(|value| family(name, help, place == 0, value, Vec::new()))
        });
        told.chain([family(BUILD.0, BUILD.1, false, 1.0, vec![version])]).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_numbers() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 6 7 20 0 4 0 1234 4096000 300 18446744073709551615\n";
        let stat = Stat { cpu_seconds: 2.0, started_seconds: 12.34, virtual_bytes: 4_096_000.0 };
        assert_eq!(Stat::of(text), Some(stat));
        assert_eq!(Stat::of("7 (short) S 1"), None);
        assert_eq!(booted_seconds("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
    }

    #[test]
    fn the_system_tells_all_of_it() {
        let [cpu, started, resident, address_space, open, open_max] = values().map(Option::unwrap);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(cpu >= 0.0 && started > 1.5e9 && started < now + 60.0, "{cpu} {started} {now}");
        assert!(resident > 1e6 && address_space >= resident, "{resident} {address_space}");
        assert!(open >= 3.0 && open_max >= open, "{open} {open_max}");
        let families = ProcessFamilies::new().collect();
        assert_eq!(families.len(), FAMILIES.len() + 1);
        assert_eq!(families[6].get_metric()[0].get_label()[0].value(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_family_is_written_down() {
        let documentation = include_str!("../../docs/metrics.md");
        for (name, _) in FAMILIES.iter().chain([&BUILD]) {
            assert!(documentation.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
    }
}
