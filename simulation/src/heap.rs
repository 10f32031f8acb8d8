//! The event heap: what happens next, and when. Events of one moment come in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// When an event happens, after how many that were put in before it, and where it lies. The event itself lies elsewhere, because
/// the heap moves each entry many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at_nanos: u64,
    order: u64,
    place: usize,
}

/// Events by time.
pub(crate) struct Heap<E> {
    entries: BinaryHeap<Reverse<Entry>>,
    events: Vec<Option<E>>,
    /// Places of `events` where nothing lies.
    free: Vec<usize>,
    order: u64,
    now: Duration,
}

impl<E> Heap<E> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            order: 0,
            now: Duration::ZERO,
        }
    }

    /// The simulated time: that of the event taken last.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Puts an event in; one in the past happens now.
    pub(crate) fn put(&mut self, at: Duration, event: E) {
        self.order += 1;
        let at_nanos = u64::try_from(at.max(self.now).as_nanos()).unwrap_or(u64::MAX);
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(event);
        self.entries.push(Reverse(Entry { at_nanos, order: self.order, place }));
    }

    /// Takes out what is not to happen any more; the rest stays in its order.
    pub(crate) fn retain(&mut self, stays: impl Fn(&E) -> bool) {
        let Self { entries, events, free, .. } = self;
        entries.retain(|Reverse(entry)| {
            let stays = events[entry.place].as_ref().is_some_and(&stays);
            if !stays {
                events[entry.place] = None;
                free.push(entry.place);
            }
            stays
        });
    }

    /// Puts an event in, `delay` from now.
    pub(crate) fn put_in(&mut self, delay: Duration, event: E) {
        self.put(self.now + delay, event);
    }

    /// Takes the next event out and moves the time to it.
    pub(crate) fn take(&mut self) -> Option<E> {
        let Reverse(entry) = self.entries.pop()?;
        self.now = Duration::from_nanos(entry.at_nanos);
        self.free.push(entry.place);
        self.events[entry.place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_moment_in_order() {
        let mut heap = Heap::new();
        heap.put(Duration::from_millis(2), 'c');
        heap.put(Duration::from_millis(1), 'a');
        heap.put(Duration::from_millis(1), 'b');
        assert_eq!(std::iter::from_fn(|| heap.take()).collect::<String>(), "abc");
        assert_eq!(heap.now(), Duration::from_millis(2));
    }

    #[test]
    fn what_is_not_to_happen_any_more_is_gone_and_its_place_is_used_again() {
        let mut heap = Heap::new();
        (0..6_u64).for_each(|number| heap.put(Duration::from_millis(number % 3), number));
        heap.retain(|number| number % 2 == 0);
        heap.put(Duration::from_millis(1), 7);
        assert_eq!(std::iter::from_fn(|| heap.take()).collect::<Vec<_>>(), [0, 4, 7, 2]);
        assert!(heap.events.len() == 6 && heap.free.len() == 6);
    }

    #[test]
    fn time_never_runs_back() {
        let mut heap = Heap::new();
        heap.put(Duration::from_millis(5), ());
        heap.take();
        heap.put(Duration::from_millis(1), ());
        heap.take();
        assert_eq!(heap.now(), Duration::from_millis(5));
    }
}
