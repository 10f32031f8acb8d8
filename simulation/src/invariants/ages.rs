//! Nothing is stale by surprise: who reads and bears some age is told one that is no more than that, and sees every write that
//! was acknowledged so long before it asked, whichever node answers, and whether anybody leads.

use std::time::Duration;

use super::Violation;

const NAME: &str = "ages are bounded";

/// A node's clock may run at nine tenths of the time, the slowest that a plan may have it: so much longer than it says may have passed.
fn passed(told: Duration) -> Duration {
    told * 10 / 9
}

/// Remembers what was acknowledged when.
#[derive(Debug, Default)]
pub(crate) struct AgesAreBounded {
    /// The highest index that was acknowledged by then; both rise.
    acknowledged: Vec<(Duration, u64)>,
}

impl AgesAreBounded {
    /// A client was told that its write stands at `index`.
    pub(crate) fn acknowledged(&mut self, index: u64, now: Duration) {
        if self.acknowledged.last().is_none_or(|(_, newest)| *newest < index) {
            self.acknowledged.push((now, index));
        }
    }

    /// Who asked at `asked`, and bears `bound`, was answered from a catalog as of `index`, said to be `stale` at most.
    pub(crate) fn answered(
        &self,
        asked: Duration,
        bound: Duration,
        stale: Duration,
        index: u64,
    ) -> Result<(), Violation> {
        if stale > bound {
            let story = format!("a reader that bears {bound:?} was given what is {stale:?} old");
            return Err(Violation::new(NAME, story));
        }
        let Some(since) = asked.checked_sub(passed(stale)) else { return Ok(()) };
        let before = self.acknowledged.partition_point(|(at, _)| *at < since);
        match self.acknowledged[..before].last() {
            Some((at, newest)) if *newest > index => {
                let story = format!(
                    "who asked at {asked:?} was given entry {index}, said to be {stale:?} old at most, but {newest} was acknowledged at {at:?}"
                );
                Err(Violation::new(NAME, story))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_was_acknowledged_longer_ago_than_was_told_must_be_seen_and_what_came_later_need_not() {
        let mut invariant = AgesAreBounded::default();
        invariant.acknowledged(5, 100 * MS);
        invariant.acknowledged(7, 500 * MS);
        invariant.acknowledged(6, 600 * MS);
        let read =
            |asked: u32, stale: u32, index| invariant.answered(MS * asked, 900 * MS, MS * stale, index);
        assert!(read(1000, 900, 1).is_ok() && read(1000, 900, 0).is_ok(), "nothing was acknowledged by then");
        assert!(read(1100, 800, 5).is_ok() && read(1100, 800, 4).is_err());
        assert!(read(650, 0, 7).is_ok() && read(650, 0, 6).is_err(), "no age at all");
        assert!(read(590, 81, 5).is_ok(), "a slow clock may have told less than has passed");
    }

    #[test]
    fn more_than_was_asked_for_is_a_violation_however_true() {
        let invariant = AgesAreBounded::default();
        assert!(invariant.answered(10 * MS, 3 * MS, 4 * MS, 9).is_err());
        assert!(invariant.answered(10 * MS, 4 * MS, 4 * MS, 9).is_ok());
    }
}
