//! Whether what clients did to one key and saw of it could have come from one copy that does one thing after the other, each
//! between its request and its answer. The search of Wing and Gong (1993), with Lowe's memory of configurations (2017), over the
//! history of one key, which suffices because linearizability is local (Herlihy and Wing, 1990).
//!
//! Pure. An operation without an answer may have happened at any time after its request, or never.

use std::collections::BTreeSet;

use crate::world::{Deed, Seen, Told};

/// One operation on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// What was asked for.
    pub deed: Deed,
    /// What its client was told; `None` as long as nobody knows.
    pub told: Option<Told>,
    /// When the request went out.
    pub begun: u64,
    /// When the answer came, if it came.
    pub ended: Option<u64>,
    /// It was refused: it did not happen.
    pub void: bool,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Yes,
    /// There is none; what was seen where every order ends.
    No(String),
    /// Too many orders to try all.
    Undecided,
}

/// Configurations looked at for one key. A history of a run needs some hundreds; many writes that nobody knows the end of could
/// need billions.
const CONFIGURATIONS_MAX: usize = 300_000;

/// How many operations a verdict tells of.
const TOLD_MAX: usize = 8;

/// What the key holds after an operation that was told this; `None` if it could not have been told this.
fn after(held: Seen, operation: &Operation) -> Option<Seen> {
    let possible = match (operation.deed, operation.told) {
        (Deed::Put(_) | Deed::Take, None | Some(Told::Done)) | (Deed::Read, None) => true,
        (Deed::Put(value), Some(Told::DoneOver(over))) => over == held.is_some() && held != Some(value),
        (Deed::Put(value), Some(Told::Unchanged)) => held == Some(value),
        (Deed::Take, Some(Told::DoneOver(over))) => over && held.is_some(),
        (Deed::Take, Some(Told::NotFound)) => held.is_none(),
        (Deed::Read, Some(Told::Value(seen))) => seen == held,
        _ => false,
    };
    possible.then_some(match operation.deed {
        Deed::Put(value) => Some(value),
        Deed::Take => None,
        Deed::Read => held,
    })
}

/// Where the search stands: all answered operations before `next` have happened, those of `ahead` too, those of `open` (without an
/// answer, before `next`) have not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    next: usize,
    ahead: Vec<usize>,
    open: Vec<usize>,
    held: Seen,
}

/// Searches for an order. `operations` stand in the order of their requests; nothing stands at the key in the beginning.
pub fn linearizable(operations: &[Operation]) -> Verdict {
    let useful = |operation: &&Operation| operation.ended.is_some() || operation.deed != Deed::Read;
    let operations: Vec<Operation> = operations.iter().filter(useful).copied().collect();
    let first = Configuration { next: 0, ahead: Vec::new(), open: Vec::new(), held: None };
    let mut seen = BTreeSet::from([first.clone()]);
    let mut stack = vec![first];
    let mut furthest = Configuration { next: 0, ahead: Vec::new(), open: Vec::new(), held: None };
    while let Some(here) = stack.pop() {
        if here.next == operations.len() {
            return Verdict::Yes;
        }
        if seen.len() > CONFIGURATIONS_MAX {
            return Verdict::Undecided;
        }
        if (here.next, here.ahead.len()) > (furthest.next, furthest.ahead.len()) {
            furthest = here.clone();
        }
        for following in steps(&operations, &here) {
            if seen.insert(following.clone()) {
                stack.push(following);
            }
        }
    }
    Verdict::No(story(&operations, &furthest))
}

/// What may happen next; those without an answer first, so that the search, which takes the last, tries the others before.
fn steps(operations: &[Operation], here: &Configuration) -> Vec<Configuration> {
    let mut steps = Vec::new();
    for (at, number) in here.open.iter().enumerate() {
        if let Some(held) = after(here.held, &operations[*number]) {
            let mut open = here.open.clone();
            open.remove(at);
            steps.push(Configuration { open, held, ..here.clone() });
        }
    }
    let mut deadline = u64::MAX;
    let mut answered = Vec::new();
    for (number, operation) in operations.iter().enumerate().skip(here.next) {
        if operation.begun > deadline {
            break; // another one had its answer before this one was asked
        }
        if here.ahead.contains(&number) {
            continue;
        }
        deadline = deadline.min(operation.ended.unwrap_or(u64::MAX));
        if let Some(held) = after(here.held, operation) {
            let mut ahead = here.ahead.clone();
            ahead.push(number);
            let step = settled(operations, Configuration { ahead, held, ..here.clone() });
            if operation.ended.is_some() { answered.push(step) } else { steps.push(step) }
        }
    }
    // One without an answer at the front may also not happen for now.
    if operations.get(here.next).is_some_and(|operation| operation.ended.is_none()) {
        let mut open = here.open.clone();
        open.push(here.next);
        answered.push(settled(operations, Configuration { next: here.next + 1, open, ..here.clone() }));
    }
    answered.reverse();
    steps.extend(answered);
    steps
}

/// The same configuration with everything in front that has happened counted as such.
fn settled(operations: &[Operation], mut configuration: Configuration) -> Configuration {
    configuration.ahead.sort_unstable();
    while configuration.next < operations.len() && configuration.ahead.first() == Some(&configuration.next) {
        configuration.ahead.remove(0);
        configuration.next += 1;
    }
    configuration
}

fn story(operations: &[Operation], furthest: &Configuration) -> String {
    let from = furthest.next.saturating_sub(TOLD_MAX / 2);
    let around = operations.iter().enumerate().skip(from).take(TOLD_MAX);
    let lines = around.map(|(number, operation)| {
        let mark = if number == furthest.next { " <- not possible" } else { "" };
        let ended = operation.ended.map_or("never".to_owned(), |ended| ended.to_string());
        format!("\n      {}..{ended}: {:?} told {:?}{mark}", operation.begun, operation.deed, operation.told)
    });
    format!(
        "no order explains what was seen; {:?} stood there before{}",
        furthest.held,
        lines.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(deed: Deed, told: Told, begun: u64, ended: u64) -> Operation {
        Operation { deed, told: Some(told), begun, ended: Some(ended), void: false }
    }

    fn put(value: u64, begun: u64, ended: u64) -> Operation {
        done(Deed::Put(value), Told::Done, begun, ended)
    }

    fn read(value: Seen, begun: u64, ended: u64) -> Operation {
        done(Deed::Read, Told::Value(value), begun, ended)
    }

    fn lost(deed: Deed, begun: u64) -> Operation {
        Operation { deed, told: None, begun, ended: None, void: false }
    }

    fn holds(operations: &[Operation]) -> bool {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.begun);
        linearizable(&operations) == Verdict::Yes
    }

    #[test]
    fn one_thing_after_the_other_is_linearizable_only_as_it_happened() {
        assert!(holds(&[put(1, 1, 2), read(Some(1), 3, 4), put(2, 5, 6), read(Some(2), 7, 8)]));
        assert!(!holds(&[put(1, 1, 2), put(2, 3, 4), read(Some(1), 5, 6)]), "a stale read");
        assert!(!holds(&[put(1, 1, 2), read(None, 3, 4)]), "a lost write");
        assert!(!holds(&[read(Some(1), 1, 2), put(1, 3, 4)]), "a read from the future");
    }

    #[test]
    fn what_overlaps_may_have_happened_in_any_order_but_in_one() {
        let both = [put(1, 1, 10), put(2, 2, 11)];
        for value in [1, 2] {
            assert!(holds(&[both[0], both[1], read(Some(value), 12, 13)]));
        }
        let first = [both[0], both[1], read(Some(1), 12, 13), read(Some(2), 14, 15)];
        assert!(!holds(&first), "both were over when it was 1");
        assert!(holds(&[put(1, 1, 2), put(2, 3, 20), read(Some(1), 4, 5), read(Some(2), 6, 7)]));
        let back = [put(1, 1, 2), put(2, 3, 20), read(Some(2), 4, 5), read(Some(1), 6, 7)];
        assert!(!holds(&back), "two readers, and the later one sees the older value");
    }

    #[test]
    fn a_write_without_an_answer_happens_at_any_later_time_or_never() {
        assert!(holds(&[put(1, 1, 2), lost(Deed::Put(9), 3), read(Some(1), 4, 5), read(Some(9), 6, 7)]));
        assert!(holds(&[put(1, 1, 2), lost(Deed::Put(9), 3), read(Some(1), 4, 5)]));
        let twice = [lost(Deed::Put(9), 1), read(Some(9), 2, 3), put(1, 4, 5), read(Some(9), 6, 7)];
        assert!(!holds(&twice), "applied again by a retry");
        assert!(!holds(&[read(Some(9), 1, 2), lost(Deed::Put(9), 3)]));
        assert!(holds(&[put(1, 1, 2), lost(Deed::Take, 3), lost(Deed::Read, 4), read(None, 5, 6)]));
    }

    #[test]
    fn what_a_write_was_told_must_fit_what_stood_there() {
        let told = |deed, told| done(deed, told, 3, 4);
        for (operation, over_one, over_nothing) in [
            (told(Deed::Put(2), Told::DoneOver(true)), true, false),
            (told(Deed::Put(2), Told::DoneOver(false)), false, true),
            (told(Deed::Put(1), Told::Unchanged), true, false),
            (told(Deed::Take, Told::DoneOver(true)), true, false),
            (told(Deed::Take, Told::NotFound), false, true),
        ] {
            assert_eq!(holds(&[put(1, 1, 2), operation]), over_one, "{operation:?}");
            assert_eq!(holds(&[operation]), over_nothing, "{operation:?}");
        }
    }

    #[test]
    fn a_long_history_with_many_lost_writes_is_decided() {
        let mut operations = Vec::new();
        // What does not hold is known only when every way was tried: these many are enough of them.
        for round in 0..60 {
            let at = round * 10;
            operations.push(put(round, at + 1, at + 4));
            operations.push(read(Some(round), at + 5, at + 6));
            if round % 20 == 0 {
                operations.push(lost(Deed::Put(1_000 + round), at + 7));
            }
        }
        assert!(holds(&operations));
        operations.push(read(Some(5), 5000, 5001));
        assert!(!holds(&operations));
    }
}
