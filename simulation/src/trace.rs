//! The trace hash: everything that happened in a run, folded into 64 bits. Two runs of one seed must agree in it.

/// FNV-1a over what is told, in the order told (<http://www.isthe.com/chongo/tech/comp/fnv/>). Not against enemies.
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
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Folds a number in.
    pub fn tell_number(&mut self, number: u64) {
        self.tell(&number.to_le_bytes());
    }

    /// The hash so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}
