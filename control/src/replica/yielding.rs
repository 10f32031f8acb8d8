//! When a leader that has no room for writes hands leadership over: a pure rule, asked at each tick by `driver.rs` and by the
//! simulator. Another node may have room. It is tried until it has worked once in a shortage, and not again in the same: nodes
//! that are all short would hand leadership round for ever.

/// How far a node is with handing over for want of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Yielding {
    /// There is space, or this node has not led since there is none.
    #[default]
    No,
    /// It was tried, and this node led since.
    Tried,
    /// It worked; the shortage lasts.
    Done,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    /// Nothing.
    Stay,
    /// Hand leadership to whoever is fit; for the first time in this shortage.
    First,
    /// The same, once more.
    Again,
}

impl Yielding {
    /// Looks at whether the disk is short of space, and whether this node leads.
    pub fn look(&mut self, is_short: bool, leads: bool) -> Yield {
        match (is_short, leads, *self) {
            (false, _, _) => *self = Self::No,
            (true, true, Self::No) => {
                *self = Self::Tried;
                return Yield::First;
            }
            (true, true, Self::Tried) => return Yield::Again,
            (true, false, Self::Tried) => *self = Self::Done,
            (true, ..) => {}
        }
        Yield::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_hands_over_until_it_works_and_once_in_a_shortage() {
        let mut yielding = Yielding::default();
        let script = [
            ((false, true), Yield::Stay),
            ((true, true), Yield::First),
            ((true, true), Yield::Again),
            ((true, false), Yield::Stay),
            ((true, true), Yield::Stay),
            ((false, true), Yield::Stay),
            ((true, true), Yield::First),
        ];
        for (step, ((is_short, leads), wanted)) in script.into_iter().enumerate() {
            assert_eq!(yielding.look(is_short, leads), wanted, "step {step}");
        }
    }

    #[test]
    fn a_follower_that_is_short_hands_over_once_it_leads() {
        let mut yielding = Yielding::default();
        assert_eq!(yielding.look(true, false), Yield::Stay);
        assert_eq!(yielding.look(true, true), Yield::First);
    }
}
