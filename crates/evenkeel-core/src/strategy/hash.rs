//! One fixed hash of a key: XXH3-64 (Yann Collet, <https://xxhash.com>, algorithm version 0.8). The
//! same bytes give the same number in every process, on every architecture and after every restart,
//! so that a key keeps its backend. It is no defence against keys chosen to collide.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The hash of `key`: XXH3-64 with seed 0.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The hash of `key` in another family of hashes: each seed gives an independent one.
#[inline]
pub fn hash_with(key: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(key, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        let long = [b'x'; 300];
        let cases: [(&[u8], u64, u64); 4] = [
            (b"", 0, 0x2d06_8005_38d3_94c2),
            (b"abc", 0, 0x78af_5f94_892f_3950),
            (b"192.0.2.1", 7, 0x8e8f_4d56_093a_9268),
            (&long, 0, 0xa5d1_b460_7dc8_3554),
        ];
        for (key, seed, golden) in cases {
            assert_eq!(hash_with(key, seed), golden, "{} bytes, seed {seed}", key.len());
        }
        assert_eq!(hash(b"abc"), hash_with(b"abc", 0));
    }
}
