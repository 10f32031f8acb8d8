//! The trace hash: everything that happened in a run, folded into 64 bits. Two runs of one seed must agree in it.

/// FNV-1a over what is told, in the order told (<http://www.isthe.com/chongo/tech/comp/fnv/>), but eight bytes at a time, each word
/// mixed, for all entries on all nodes go through it. Not against enemies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// Folds bytes in.
    pub fn tell(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.tell_number(u64::from_le_bytes(*word)));
        // The rest with its length, so that zeros at the end count.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.tell_number(u64::from_le_bytes(last) | (rest.len() as u64) << 56);
    }

    /// Folds a number in.
    pub fn tell_number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        // The product carries upwards alone; what stands high must come down again.
        self.0 = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The hash so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut hash = TraceHash::default();
        parts.iter().for_each(|part| hash.tell(part));
        hash.value()
    }

    #[test]
    fn every_byte_its_place_and_every_cut_matter() {
        let told = b"what happened in a run";
        for at in 0..told.len() {
            for bit in 0..8 {
                let mut other = told.to_vec();
                other[at] ^= 1 << bit;
                assert_ne!(of(&[told]), of(&[&other]), "bit {bit} of byte {at}");
            }
            assert_ne!(of(&[told]), of(&[&told[..at], &told[at..]]), "cut at {at}");
        }
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
        assert_ne!(of(&[b"12345678"]), of(&[b"12345678\0"]));
    }
}
