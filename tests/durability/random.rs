//! Random choices that can be made again.

use std::hash::{BuildHasher as _, RandomState};

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) struct Random(u64);

impl Random {
    /// One that nobody chose.
    pub(crate) fn new(what: &str) -> Self {
        Self(RandomState::new().hash_one(what))
    }

    /// With the seed that the environment names, else a new one, which is printed.
    pub(crate) fn chosen(test: &str) -> Self {
        let named = std::env::var("PORTCULLIS_SEED").ok();
        let random = named.map_or_else(|| Self::new(test), |text| Self(text.parse().unwrap()));
        eprintln!("{test}: PORTCULLIS_SEED={}", random.0);
        random
    }

    /// Another, that goes its own way.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below a number, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
