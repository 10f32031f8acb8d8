//! What a proxy tells of single requests: the access log, and spans for a collector. Both are off unless they are set.

use std::path::PathBuf;

use runtime::settings::{Reader, parse};

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Apache's common format.
    Common,
    /// The same with referer and user agent.
    Combined,
    /// One JSON object per line.
    Json,
}

/// What is told of single requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The access log; `None`: off.
    pub access_log: Option<AccessLogFormat>,
    /// Where it is written; `None`: to standard output.
    pub access_log_file: Option<PathBuf>,
    /// The OTLP collector that spans are exported to, as `host:port`; `None`: none are.
    pub trace_collector: Option<String>,
    /// Share of the traces that begin here which is sampled, from 0 to 1.
    pub trace_ratio: f64,
}

/// Reads this part of the settings.
pub(super) fn read(reader: &mut Reader) -> Seen {
    let formats = [
        ("off", None),
        ("common", Some(AccessLogFormat::Common)),
        ("combined", Some(AccessLogFormat::Combined)),
        ("json", Some(AccessLogFormat::Json)),
    ];
    let access_log = reader.or("access_log", parse::one_of(&formats), None);
    let access_log_file = reader.optional("access_log_file", parse::path);
    let trace_collector =
        reader.optional("trace_collector", |raw: &str| parse::host_and_port(raw).map(|_| raw.to_owned()));
    let trace_ratio = reader.optional("trace_ratio", ratio);
    let spelled = reader.spelled("access_log");
    reader.check(
        "access_log_file",
        access_log_file.is_none() || access_log.is_some(),
        &format!("is set but {spelled} is off: choose common, combined or json"),
    );
    let spelled = reader.spelled("trace_collector");
    reader.check(
        "trace_ratio",
        trace_ratio.is_none() || trace_collector.is_some(),
        &format!("is set but {spelled} is not: without a collector no trace begins here"),
    );
    Seen { access_log, access_log_file, trace_collector, trace_ratio: trace_ratio.unwrap_or(0.0) }
}

fn ratio(raw: &str) -> parse::Parsed<f64> {
    let parsed = raw.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    parsed.ok_or_else(|| "must be a number from 0 (none) to 1 (all), such as 0.01".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use runtime::settings::Sources;

    use super::super::Settings;
    use super::*;

    fn read(text: &str) -> Result<Seen, String> {
        let text = format!("name: a\nworkload: a\n{text}");
        let settings = Settings::read(Sources::new().with_file("proxy.yaml", &text));
        settings.map(|settings| settings.seen).map_err(|complaints| complaints.to_string())
    }

    #[test]
    fn nothing_is_told_unless_it_is_asked_for() {
        assert_eq!(read("").unwrap(), Seen::default());
        assert_eq!(read("access_log: off\n").unwrap(), Seen::default());
        let seen =
            read("access_log: json\naccess_log_file: a.log\ntrace_collector: c:4317\ntrace_ratio: 0.5\n");
        let seen = seen.unwrap();
        assert_eq!((seen.access_log, seen.trace_ratio), (Some(AccessLogFormat::Json), 0.5));
        assert_eq!(seen.trace_collector.as_deref(), Some("c:4317"));
    }

    #[test]
    fn what_would_have_no_effect_or_no_sense_is_refused() {
        for (text, expected) in [
            ("access_log: nginx\n", "must be one of off, common, combined, json"),
            ("access_log_file: a.log\n", "is set but access_log is off"),
            ("trace_ratio: 0.1\n", "is set but trace_collector is not"),
            ("trace_collector: c:4317\ntrace_ratio: 2\n", "must be a number from 0 (none) to 1 (all)"),
            ("trace_collector: c:4317\ntrace_ratio: NaN\n", "must be a number from 0 (none) to 1 (all)"),
            ("trace_collector: c\n", "must be a host and a port"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
