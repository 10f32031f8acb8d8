//! What one side holds of the other's resources, as one short text: two sides that hold the same names in the same
//! revisions have the same digest, whatever the order. Not for secrets: it finds faults, not foes.

use std::fmt;

use crate::revision::Revision;

/// A sum over names and revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldDigest {
    count: u64,
    sum: u64,
}

impl HeldDigest {
    /// Where a proxy's request on the incremental xDS stream carries it: the one entry of `initial_resource_versions`, which
    /// has no meaning there after the first request of a kind, so that a server which does not know it ignores it.
    pub const KEY: &'static str = "penstock.digest";

    /// One more resource is held.
    pub fn add(&mut self, name: &str, revision: Revision) {
        // FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), the same on every machine and in every version.
        let epoch = revision.epoch.to_be_bytes();
        let index = revision.index.to_be_bytes();
        let bytes = name.bytes().chain([0]).chain(epoch).chain(index);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // Mixed once more, because sums of FNV values of like texts are alike (the finalizer of SplitMix64).
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.sum = self.sum.wrapping_add(hash ^ (hash >> 31));
        self.count += 1;
    }
}

impl fmt::Display for HeldDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.count, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn digest(held: &[(&str, u64)]) -> String {
        let mut digest = HeldDigest::default();
        held.iter().for_each(|(name, index)| digest.add(name, Revision::new(1, *index)));
        digest.to_string()
    }

    #[test]
    fn the_order_does_not_matter_and_every_difference_does() {
        assert_eq!(digest(&[("web", 1), ("shop", 2)]), digest(&[("shop", 2), ("web", 1)]));
        let different = [
            digest(&[]),
            digest(&[("web", 1)]),
            digest(&[("web", 2)]),
            digest(&[("web", 1), ("web", 1)]),
            digest(&[("web", 1), ("shop", 2)]),
            digest(&[("web", 2), ("shop", 1)]),
            digest(&[("webs", 1), ("hop", 2)]),
        ];
        assert_eq!(different.iter().collect::<BTreeSet<_>>().len(), different.len(), "{different:?}");
    }

    #[test]
    fn the_text_is_the_same_in_every_version() {
        assert_eq!(digest(&[]), "0:0000000000000000");
        assert_eq!(digest(&[("web.default.svc.cluster.local:80", 7)]), "1:a75febb0d96b142f");
    }
}
