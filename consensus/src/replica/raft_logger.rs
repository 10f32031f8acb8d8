//! raft-rs's own log lines, as `tracing` events of the target `raft`. Its chatter per message is left out.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};

#[derive(Debug)]
struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", record.msg()),
            Level::Warning => tracing::warn!(target: "raft", "{}", record.msg()),
            Level::Info => tracing::debug!(target: "raft", "{}", record.msg()),
            Level::Debug | Level::Trace => {}
        }
        Ok(())
    }
}

/// A logger to hand to raft-rs.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}
