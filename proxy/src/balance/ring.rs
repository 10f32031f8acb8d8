//! A ring on which keys lead to endpoints (Karger et al.: "Consistent hashing and random trees", 1997): when an endpoint comes
//! or goes, only the keys next to its points move. Pure; built when the set of endpoints changes.

/// Points of an endpoint of the usual weight, 100: shares then differ by some percent (libketama has 160 too).
const POINTS_EACH: u64 = 160;
/// Most points of a ring: some hundred thousand would take milliseconds to build, on each worker and for each change.
const POINTS_MAX: u64 = 65_536;

/// Steps of FNV-1a, 64 bit (<http://www.isthe.com/chongo/tech/comp/fnv/>), and of splitmix64, which spreads it.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The place of a text on the ring: the same on every worker and proxy.
#[must_use]
pub fn place(text: &[u8]) -> u64 {
    let hash = text.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    let mut mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The points, in the order of their places.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// The ring of endpoints by name and weight. A name decides the places, so that an endpoint keeps its keys wherever it
    /// stands in the list.
    #[must_use]
    pub fn new<'n>(endpoints: impl ExactSizeIterator<Item = (&'n str, u32)> + Clone) -> Self {
        let points_of = |weight: u32| POINTS_EACH * u64::from(weight.max(1)) / 100;
        let total: u64 = endpoints.clone().map(|(_, weight)| points_of(weight)).sum();
        // Halved as a whole, so that the number of points, and with it nearly all keys, stays when one comes or goes.
        let halvings = (0..u64::BITS).find(|halvings| total >> halvings <= POINTS_MAX).unwrap_or(0);
        let mut points = Vec::new();
        for (index, (name, weight)) in endpoints.enumerate() {
            let index = u32::try_from(index).expect("a set holds some thousands of endpoints");
            for number in 0..(points_of(weight) >> halvings).max(1) {
                points.push((place(format!("{name}#{number}").as_bytes()), index));
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// The first endpoint at or after `key` that is `usable`.
    pub fn pick(&self, key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.points.partition_point(|(place, _)| *place < key);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before).map(|(_, index)| *index as usize).find(|index| usable(*index))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn ring(endpoints: &[(&str, u32)]) -> Ring {
        Ring::new(endpoints.iter().copied())
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..10_000).map(|number: u32| place(&number.to_le_bytes()))
    }

    fn shares(ring: &Ring, count: usize) -> Vec<u32> {
        let mut shares = vec![0; count];
        keys().for_each(|key| shares[ring.pick(key, |_| true).unwrap()] += 1);
        shares
    }

    #[test]
    fn keys_are_spread_by_weight() {
        for share in shares(&ring(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]), 4) {
            assert!((2200..2800).contains(&share), "{share}");
        }
        let weighed = shares(&ring(&[("a", 300), ("b", 100)]), 2);
        assert!((7100..7900).contains(&weighed[0]), "{weighed:?}");
    }

    #[test]
    fn when_an_endpoint_goes_only_its_keys_move() {
        let (names, left) = (["a", "b", "c", "d"], ["d", "a", "b"]);
        let (before, after) = (ring(&names.map(|name| (name, 100))), ring(&left.map(|name| (name, 100))));
        for key in keys() {
            let name = names[before.pick(key, |_| true).unwrap()];
            assert!(name == "c" || left[after.pick(key, |_| true).unwrap()] == name);
        }
    }

    #[test]
    fn a_ring_of_thousands_is_bounded_and_gives_each_a_share() {
        let names: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        let ring = Ring::new(names.iter().map(|name| (name.as_str(), 100)));
        assert!(ring.points.len() as u64 <= POINTS_MAX, "{}", ring.points.len());
        let mut seen: Vec<u32> = ring.points.iter().map(|(_, index)| *index).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn an_endpoint_that_is_not_usable_gives_its_keys_to_its_neighbours_and_keeps_the_others() {
        let ring = ring(&[("a", 100), ("b", 100), ("c", 100)]);
        for key in keys() {
            let first = ring.pick(key, |_| true).unwrap();
            let without = ring.pick(key, |index| index != 1).unwrap();
            assert!(without != 1 && (first == 1 || without == first));
        }
        assert_eq!(ring.pick(7, |_| false), None);
        assert_eq!(Ring::default().pick(7, |_| true), None);
    }
}
