//! The rolling hash over what was applied and what came of it. Nodes compare it in heartbeats: a node whose hash differs
//! at the same index has diverged. Not cryptographic: it finds faults, not forgers.

use mesh::Revision;

use super::change::Change;

/// Step and multiplier of splitmix64 (Steele, Lea, Flood 2014): zero must not stay zero, and bits must mix.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xbf58_476d_1ce4_e5b9;

/// The hash so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StateHash(pub(super) u64);

impl StateHash {
    pub(super) fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_add(STEP).wrapping_mul(MULTIPLIER);
        self.0 = (mixed ^ (mixed >> 29)).rotate_left(23);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    pub(super) fn change(&mut self, change: &Change) {
        let (kind, revision, size) = match change {
            Change::Service { revision, service, .. } => {
                (1, *revision, service.as_ref().map_or(0, |service| service.ports.len() + 1))
            }
            Change::Endpoints { revision, endpoints, .. } => {
                (2, *revision, endpoints.as_ref().map_or(0, |endpoints| endpoints.len() + 1))
            }
            Change::Routes { revision, rules, .. } => (3, *revision, rules.len()),
            Change::Policy { revision, policy, .. } => (5, *revision, usize::from(policy.is_some())),
            Change::Traffic { window } => (4, Revision::new(0, window.0), 0),
        };
        self.number(kind);
        self.number(revision.index);
        self.number(size as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut hash = StateHash::default();
        parts.iter().for_each(|part| hash.bytes(part));
        hash.0
    }

    #[test]
    fn order_and_cuts_of_what_is_hashed_matter() {
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b""]), of(&[]));
        assert_ne!(of(&[b"a\0"]), of(&[b"a"]));
    }
}
