//! A node's share in the rollups: reports into the real partials, partials to whoever leads, outcomes back.

use std::time::Duration;

use api::log::v1::{Command, command};
use control::rollup::partials::Output;
use mesh::TrafficReport;

use super::effects::Effects;
use super::event::Reply;
use super::running::{Running, Waiting};
use crate::sabotage::Sabotage;

impl Running {
    /// A proxy's report arrived.
    pub(super) fn report(
        &mut self,
        report: TrafficReport,
        from: Waiting,
        at: Duration,
        effects: &mut Effects,
    ) {
        if self.sabotage == Some(Sabotage::EarlyCount) {
            let acknowledged = report.windows.iter().map(|window| window.window).collect();
            let life = report.proxy.incarnation;
            effects.replies.push((from, Reply::Counted { life, acknowledged, too_old: Vec::new() }));
        }
        self.last_reporter += 1;
        let number = self.last_reporter;
        self.reporters.insert(number, (from, report.proxy.incarnation));
        match self.partials.report(report, Some(number), at) {
            Ok(outputs) => self.carry_out_partials(outputs, effects),
            Err(_) => {
                self.reporters.remove(&number);
            }
        }
    }

    /// Proposes what is due.
    pub(super) fn poll_partials(&mut self, at: Duration, effects: &mut Effects) {
        let outputs = self.partials.poll(at);
        self.carry_out_partials(outputs, effects);
    }

    /// The leader answered about the partial of this call; calls of an earlier life are void.
    pub(super) fn partial_answered(&mut self, call: u64, reply: &Reply, at: Duration, effects: &mut Effects) {
        if call >> 32 != self.life {
            return;
        }
        let batch = call & u64::from(u32::MAX);
        let outputs = match reply {
            Reply::Outcome(outcome) => self.partials.answered(batch, outcome, at),
            _ => self.partials.failed(batch, "no leader took it", at),
        };
        self.carry_out_partials(outputs, effects);
    }

    /// Nobody answered about this partial in time.
    pub(super) fn partial_failed(&mut self, batch: u64, at: Duration, effects: &mut Effects) {
        let outputs = self.partials.failed(batch, "no answer in time", at);
        self.carry_out_partials(outputs, effects);
    }

    fn carry_out_partials(&mut self, outputs: Vec<Output>, effects: &mut Effects) {
        for output in outputs {
            match output {
                Output::Propose { batch, mut partial } => {
                    if self.sabotage == Some(Sabotage::PartialTwice) {
                        partial.counted.clear();
                    }
                    let body = Some(command::Body::Partial(partial));
                    effects.forwards.push((batch, Box::new(Command { id: None, at_ms: 0, body })));
                }
                Output::Acknowledge { waiter, acknowledged, too_old } => {
                    if let Some((from, life)) = self.reporters.remove(&waiter) {
                        effects.replies.push((from, Reply::Counted { life, acknowledged, too_old }));
                    }
                }
                Output::Fail { waiter, .. } => {
                    self.reporters.remove(&waiter);
                }
                Output::Lost(_) => {}
            }
        }
    }
}
