//! Starts who writes and exports what the workers record, as the settings ask, and ends them after the workers.

use std::io;

use super::access_log::AccessLog;
use super::record::{Recorder, queue};
use super::spans::{Export, Spans};
use super::trace::Sampler;
use crate::metrics::RecordMetrics;
use crate::settings::Settings;

/// Who writes what the workers record.
#[derive(Debug, Default)]
pub struct Writers {
    log: Option<AccessLog>,
    spans: Option<Spans>,
}

impl Writers {
    /// Starts them; the recorder is for the workers, and there is none while nobody asks for records.
    ///
    /// # Errors
    /// If the log's file cannot be opened, the collector's address is none, or a thread cannot be started.
    pub fn start(settings: &Settings, metrics: &RecordMetrics) -> io::Result<(Option<Recorder>, Self)> {
        let (seen, mut writers) = (&settings.seen, Self::default());
        let (mut log, mut spans) = (None, None);
        if let Some(format) = seen.access_log {
            let (sender, receiver) = queue();
            let lost = metrics.lines_lost.clone();
            writers.log = Some(AccessLog::start(format, seen.access_log_file.clone(), receiver, lost)?);
            log = Some((format, sender));
        }
        if let Some(collector) = seen.trace_collector.clone() {
            let (sender, receiver) = queue();
            let export =
                Export { collector, workload: settings.workload.clone(), name: settings.name.clone() };
            writers.spans = Some(Spans::start(export, receiver, metrics.clone())?);
            spans = Some((Sampler::ratio(seen.trace_ratio), sender));
        }
        Ok((Recorder::new(log, spans), writers))
    }

    /// Waits, for a bounded time, until all is written and sent. The workers must have ended.
    pub fn finished(self) {
        if let Some(log) = self.log {
            log.finished();
        }
        if let Some(spans) = self.spans {
            spans.finished();
        }
    }
}
