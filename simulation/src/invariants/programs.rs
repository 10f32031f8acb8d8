//! No program applies what it may not know: nothing behind the entry that raised the version of commands above its own, be it
//! in the log or in a snapshot. And the version is raised only when each member was seen to run a program that knows it.

use std::collections::BTreeMap;
use std::time::Duration;

use api::log::v1::{command, outcome};

use super::{AppliedEntry, Violation};

const NAME: &str = "programs know what they apply";

/// A program that runs, or ran, on a node.
#[derive(Debug)]
struct Ran {
    /// The newest version of commands that it knows.
    knows: u32,
    /// When it ended, if it did.
    until: Option<Duration>,
}

/// Remembers which programs ran where, and where the log took newer commands.
#[derive(Debug, Default)]
pub(crate) struct ProgramsKnow {
    ran: BTreeMap<u64, Vec<Ran>>,
    /// Versions of commands by the entry that raised the log to them.
    raised: BTreeMap<u64, u32>,
}

impl ProgramsKnow {
    /// All nodes went back to what stood at `index`, where the log took commands of `version`.
    pub(crate) fn restored(&mut self, index: u64, version: u32) {
        self.raised = BTreeMap::from([(index, version)]);
    }

    /// A program that knows commands up to `knows` starts on `node`.
    pub(crate) fn started(&mut self, node: u64, knows: u32, now: Duration) {
        self.ended(node, now);
        self.ran.entry(node).or_default().push(Ran { knows, until: None });
    }

    /// The program on `node` ends.
    pub(crate) fn ended(&mut self, node: u64, now: Duration) {
        if let Some(last) = self.ran.get_mut(&node).and_then(|programs| programs.last_mut()) {
            last.until.get_or_insert(now);
        }
    }

    /// Somebody who began to ask at `since` wants the log to take commands of `version`, because these members know them.
    pub(crate) fn raises(&self, version: u32, since: Duration, members: &[u64]) -> Result<(), Violation> {
        let knew = |node: &u64| {
            let programs = self.ran.get(node).into_iter().flatten();
            let mut asked = programs.filter(|ran| ran.until.is_none_or(|until| until >= since));
            asked.any(|ran| ran.knows >= version)
        };
        match members.iter().find(|node| !knew(node)) {
            Some(node) => {
                let story = format!(
                    "the log is to take commands of version {version}, and node {node} ran no program that knows them"
                );
                Err(Violation::new(NAME, story))
            }
            None => Ok(()),
        }
    }

    /// `node`, whose program knows commands up to `knows`, applied this entry.
    pub(crate) fn applied(&mut self, node: u64, knows: u32, entry: &AppliedEntry) -> Result<(), Violation> {
        self.check(node, knows, entry.index)?;
        if let Some(command::Body::RaiseVersion(raise)) = &entry.command.body
            && matches!(entry.outcome.result, Some(outcome::Result::Done(_)))
        {
            self.raised.insert(entry.index, raise.version);
        }
        Ok(())
    }

    /// `node`, whose program knows commands up to `knows`, installed a snapshot of everything up to `index`.
    pub(crate) fn installed(&self, node: u64, knows: u32, index: u64) -> Result<(), Violation> {
        self.check(node, knows, index + 1)
    }

    /// Whether a program may apply what stands at `index`.
    fn check(&self, node: u64, knows: u32, index: u64) -> Result<(), Violation> {
        match self.raised.range(..index).find(|(_, version)| **version > knows) {
            Some((raised, version)) => {
                let story = format!(
                    "node {node} knows commands of version {knows} and applied entry {index}, but the log takes {version} since {raised}"
                );
                Err(Violation::new(NAME, story))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::{Command, Done, RaiseVersion};

    use super::*;
    use crate::invariants::logs::entry;

    const SECOND: Duration = Duration::from_secs(1);

    fn raise(index: u64, version: u32) -> AppliedEntry {
        let body = Some(command::Body::RaiseVersion(RaiseVersion { version }));
        let mut entry = entry(index, Command { body, ..Command::default() });
        entry.outcome.result = Some(outcome::Result::Done(Done::default()));
        entry
    }

    #[test]
    fn an_older_program_may_apply_the_raise_and_nothing_behind_it() {
        let mut invariant = ProgramsKnow::default();
        assert!(
            invariant.applied(1, 3, &raise(7, 3)).is_ok() && invariant.applied(2, 2, &raise(7, 3)).is_ok()
        );
        assert!(invariant.applied(1, 3, &entry(8, Command::default())).is_ok());
        assert!(invariant.applied(2, 2, &entry(8, Command::default())).is_err());
        assert!(invariant.installed(2, 2, 6).is_ok() && invariant.installed(2, 2, 7).is_err());
    }

    #[test]
    fn a_raise_that_was_refused_raises_nothing() {
        let mut invariant = ProgramsKnow::default();
        let mut refused = raise(7, 3);
        refused.outcome.result = None;
        assert!(invariant.applied(1, 2, &refused).is_ok());
        assert!(invariant.applied(1, 2, &entry(8, Command::default())).is_ok());
    }

    #[test]
    fn the_log_takes_what_every_member_ran_a_program_for_since_it_was_asked() {
        let mut invariant = ProgramsKnow::default();
        invariant.started(1, 3, SECOND);
        invariant.started(2, 3, SECOND);
        invariant.ended(2, SECOND * 5);
        invariant.started(2, 2, SECOND * 6);
        assert!(invariant.raises(3, SECOND * 4, &[1, 2]).is_ok(), "it said so before it was replaced");
        assert!(invariant.raises(3, SECOND * 7, &[1, 2]).is_err());
        assert!(invariant.raises(2, SECOND * 7, &[1, 2]).is_ok());
        assert!(invariant.raises(2, SECOND * 7, &[1, 3]).is_err(), "nobody ever saw it");
    }
}
