//! Which windows of which proxies are in the history already: what makes a report count once, however often it is sent
//! and to whichever node. One number and one bit set per proxy.

use std::collections::BTreeMap;

use mesh::{ProxyId, Window};

/// Windows that one bit set tells apart; more than can be acceptable at one time.
const BITS: u64 = 128;

/// The counted windows of one life of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// The newest one.
    pub(super) last: u64,
    /// Bit `n`: `last - n` was counted.
    pub(super) mask: u128,
}

impl Counted {
    fn has(self, window: u64) -> bool {
        match self.last.checked_sub(window) {
            Some(age) if age < BITS => self.mask >> age & 1 == 1,
            _ => false,
        }
    }

    fn with(self, window: u64) -> Self {
        if window <= self.last {
            let age = self.last - window;
            let bit = if age < BITS { 1 << age } else { 0 };
            return Self { mask: self.mask | bit, ..self };
        }
        let ahead = window - self.last;
        let shifted = if ahead < BITS { self.mask << ahead } else { 0 };
        Self { last: window, mask: shifted | 1 }
    }
}

/// All proxies' counted windows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CountedWindows {
    proxies: BTreeMap<ProxyId, Counted>,
}

impl CountedWindows {
    pub(super) fn has(&self, proxy: &ProxyId, window: Window) -> bool {
        self.proxies.get(proxy).is_some_and(|counted| counted.has(window.0))
    }

    pub(super) fn knows(&self, proxy: &ProxyId) -> bool {
        self.proxies.contains_key(proxy)
    }

    pub(super) fn add(&mut self, proxy: ProxyId, window: Window) {
        let counted = self.proxies.entry(proxy).or_insert(Counted { last: window.0, mask: 0 });
        *counted = counted.with(window.0);
    }

    /// Forgets proxies that have counted nothing since `oldest`: what they could send again is refused for its age.
    pub(super) fn forget_before(&mut self, oldest: Window) {
        self.proxies.retain(|_, counted| counted.last >= oldest.0);
    }

    pub(super) fn len(&self) -> usize {
        self.proxies.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProxyId, &Counted)> {
        self.proxies.iter()
    }

    pub(super) fn restored(proxies: BTreeMap<ProxyId, Counted>) -> Self {
        Self { proxies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_counted_whichever_order_windows_come_in() {
        let proxy = ProxyId { name: "p".into(), incarnation: 1 };
        let mut counted = CountedWindows::default();
        for window in [100, 97, 103, 98, 160] {
            assert!(!counted.has(&proxy, Window(window)));
            counted.add(proxy.clone(), Window(window));
            assert!(counted.has(&proxy, Window(window)));
        }
        for (window, is) in [(97, true), (98, true), (99, false), (103, true), (104, false), (161, false)] {
            assert_eq!(counted.has(&proxy, Window(window)), is, "{window}");
        }
        let reborn = ProxyId { incarnation: 2, ..proxy };
        assert!(!counted.has(&reborn, Window(97)));
    }

    #[test]
    fn leaps_past_the_bit_set_are_no_panic() {
        let counted = Counted { last: 0, mask: 1 }.with(u64::MAX).with(3);
        assert!(counted.has(u64::MAX) && !counted.has(0) && !counted.has(3));
    }
}
