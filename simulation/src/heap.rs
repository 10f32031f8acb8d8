//! The event heap: what happens next, and when. Events of one moment come in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

struct Entry<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events by time.
pub(crate) struct Heap<E> {
    entries: BinaryHeap<Reverse<Entry<E>>>,
    order: u64,
    now: Duration,
}

impl<E> Heap<E> {
    pub(crate) fn new() -> Self {
        Self { entries: BinaryHeap::new(), order: 0, now: Duration::ZERO }
    }

    /// The simulated time: that of the event taken last.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Puts an event in; one in the past happens now.
    pub(crate) fn put(&mut self, at: Duration, event: E) {
        self.order += 1;
        self.entries.push(Reverse(Entry { at: at.max(self.now), order: self.order, event }));
    }

    /// Takes out what is not to happen any more; the rest stays in its order.
    pub(crate) fn retain(&mut self, stays: impl Fn(&E) -> bool) {
        self.entries.retain(|Reverse(entry)| stays(&entry.event));
    }

    /// Puts an event in, `delay` from now.
    pub(crate) fn put_in(&mut self, delay: Duration, event: E) {
        self.put(self.now + delay, event);
    }

    /// Takes the next event out and moves the time to it.
    pub(crate) fn take(&mut self) -> Option<E> {
        let Reverse(entry) = self.entries.pop()?;
        self.now = entry.at;
        Some(entry.event)
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
    fn time_never_runs_back() {
        let mut heap = Heap::new();
        heap.put(Duration::from_millis(5), ());
        heap.take();
        heap.put(Duration::from_millis(1), ());
        heap.take();
        assert_eq!(heap.now(), Duration::from_millis(5));
    }
}
