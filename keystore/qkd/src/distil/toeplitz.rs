//! Privacy amplification: a long string of which Eve knows something becomes a short one of which she knows nothing.
//!
//! Exact, and of any length. It does not choose how short (that is [`crate::finite`]), and it does not draw the seed or
//! send it.
//!
//! The hash is a random Toeplitz matrix: constant along its diagonals, so that `n + l − 1` public bits make all of it.
//! These matrices are a universal family (Y. Mansour, N. Nisan, P. Tiwari, "The computational complexity of universal
//! hashing", Theor. Comput. Sci. 107, 1993; H. Krawczyk, "LFSR-based hashing and authentication", CRYPTO '94), which is
//! what the leftover hash lemma asks for.
//!
//! Its product with the key is a piece of a product of polynomials: with the bits of seed and key as coefficients,
//! lowest first, output bit `i` is the coefficient of `x^(i + n − 1)`. `vernam-gf2` multiplies them, in some `n log n`
//! steps.

use vernam_gf2::{Engine, product_bits};

use crate::bits::BitString;

/// How many bits of seed it takes to hash `key_bits` into `out_bits`: `key_bits + out_bits − 1`, or 0 if one of them
/// is.
pub fn seed_bits(key_bits: usize, out_bits: usize) -> usize {
    if key_bits == 0 || out_bits == 0 { 0 } else { key_bits + out_bits - 1 }
}

/// `out_bits` of `key` under the Toeplitz matrix `T[i][j] = seed[i − j + n − 1]` over GF(2), `n` the key's length.
///
/// `seed` holds the [`seed_bits`] public bits, packed as in [`BitString`]; what is behind them is ignored. Neither time
/// nor memory depends on the key's bits. It takes at most 3/4 of a byte for each bit in and out, wiped before it
/// returns, beside the output. An empty key gives zeros.
///
/// # Panics
///
/// If `seed` is too short. A hash with a seed that was filled up would be no hash.
pub fn hash(key: &BitString, seed: &[u64], out_bits: usize) -> BitString {
    hash_with(Engine::fastest(), key, seed, out_bits)
}

fn hash_with(engine: Engine, key: &BitString, seed: &[u64], out_bits: usize) -> BitString {
    let words = seed_bits(key.len(), out_bits).div_ceil(64);
    assert!(seed.len() >= words, "the seed has {} words, and {words} are needed", seed.len());
    let first = key.len().saturating_sub(1);
    let mut out = product_bits(engine, &seed[..words], key.words(), first..first + out_bits);
    BitString::from_words(std::mem::take(&mut *out), out_bits)
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha20Rng;

    use super::*;

    const SEED: u64 = 0x70e9_1172;

    fn random() -> ChaCha20Rng {
        println!("seed {SEED:#x}");
        ChaCha20Rng::seed_from_u64(SEED)
    }

    fn random_words(rng: &mut ChaCha20Rng, bits: usize) -> Vec<u64> {
        (0..bits.div_ceil(64)).map(|_| rng.next_u64()).collect()
    }

    fn random_bits(rng: &mut ChaCha20Rng, bits: usize) -> BitString {
        BitString::from_words(random_words(rng, bits), bits)
    }

    fn from_hex(hex: &str, bits: usize) -> BitString {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        BitString::from_words(words.collect(), bits)
    }

    /// The matrix, entry by entry.
    fn by_definition(key: &BitString, seed: &[u64], out_bits: usize) -> BitString {
        let seed = BitString::from_words(seed.to_vec(), seed.len() * 64);
        let n = key.len();
        let mut out = BitString::with_capacity(out_bits);
        for i in 0..out_bits {
            out.push((0..n).fold(false, |sum, j| sum ^ (key.get(j) & seed.get(i + n - 1 - j))));
        }
        out
    }

    fn check(key: &BitString, seed: &[u64], out_bits: usize) {
        let expected = by_definition(key, seed, out_bits);
        for engine in [Engine::fastest(), Engine::portable()] {
            let out = hash_with(engine, key, seed, out_bits);
            assert_eq!(out.len(), out_bits);
            assert_eq!(out.words(), expected.words(), "{} bits to {out_bits}, {engine:?}", key.len());
        }
    }

    /// `data/toeplitz.csv` was computed by another program, in another language, entry by entry of the matrix. In its
    /// hexadecimal strings, byte `k` holds bits `8 k` to `8 k + 7`, from the least significant.
    #[test]
    fn known_answers() {
        let rows: Vec<_> = include_str!("../../data/toeplitz.csv").lines().skip(1).collect();
        assert_eq!(rows.len(), 11);
        for row in rows {
            let [key_bits, out_bits, key, seed, out] = row.split(',').collect::<Vec<_>>()[..] else {
                panic!("five columns in {row}");
            };
            let (key_bits, out_bits) = (key_bits.parse().expect("a number"), out_bits.parse().expect("a number"));
            let seed = from_hex(seed, seed_bits(key_bits, out_bits));
            let hashed = hash(&from_hex(key, key_bits), seed.words(), out_bits);
            assert_eq!(hashed.words(), from_hex(out, out_bits).words(), "{key_bits} bits to {out_bits}");
        }
    }

    #[test]
    fn it_is_the_matrix_at_every_size() {
        let mut rng = random();
        let edges = [1, 2, 63, 64, 65, 127, 128, 129, 500];
        for key_bits in edges {
            for out_bits in edges {
                let key = random_bits(&mut rng, key_bits);
                check(&key, &random_words(&mut rng, seed_bits(key_bits, out_bits)), out_bits);
            }
        }
        for (most_key, most_out) in [(300, 300), (3000, 1000), (1000, 3000), (9000, 50), (50, 9000)] {
            for _ in 0..5 {
                let (key_bits, out_bits) = (rng.random_range(1..=most_key), rng.random_range(1..=most_out));
                let key = random_bits(&mut rng, key_bits);
                check(&key, &random_words(&mut rng, seed_bits(key_bits, out_bits)), out_bits);
            }
        }
        // Long enough for transforms, of both kinds of length.
        for (key_bits, out_bits) in [(20_000, 5_001), (21_003, 7_000), (8_000, 23_456)] {
            let key = random_bits(&mut rng, key_bits);
            check(&key, &random_words(&mut rng, seed_bits(key_bits, out_bits)), out_bits);
        }
    }

    #[test]
    fn a_million_bits_row_by_row() {
        let (key_bits, out_bits) = (1_000_003, 333_337);
        let mut rng = random();
        let key = random_bits(&mut rng, key_bits);
        let seed = random_words(&mut rng, seed_bits(key_bits, out_bits));
        let out = hash(&key, &seed, out_bits);
        // Row i is the seed from bit i on, turned around.
        let mut turned = BitString::with_capacity(key_bits);
        (0..key_bits).rev().for_each(|j| turned.push(key.get(j)));
        let row = |i: usize| {
            turned.words().iter().enumerate().fold(0, |sum, (at, word)| {
                let (at, shift) = (at + i / 64, i % 64);
                let above = seed.get(at + 1).map_or(0, |above| above << 1 << (63 - shift));
                sum ^ word & (seed[at] >> shift | above)
            })
        };
        let picked = (0..200).map(|_| rng.random_range(0..out_bits)).chain([0, 1, out_bits - 1]);
        for i in picked {
            assert_eq!(out.get(i), row(i).count_ones() % 2 == 1, "bit {i}");
        }
    }

    #[test]
    fn it_is_linear() {
        let mut rng = random();
        for (key_bits, out_bits) in [(100, 33), (5_000, 1_700), (70_000, 30_000)] {
            let seed = random_words(&mut rng, seed_bits(key_bits, out_bits));
            let (one, other) = (random_bits(&mut rng, key_bits), random_bits(&mut rng, key_bits));
            let sum = |a: &BitString, b: &BitString| {
                let words = std::iter::zip(a.words(), b.words()).map(|(a, b)| a ^ b).collect();
                BitString::from_words(words, a.len())
            };
            let of_sum = hash(&sum(&one, &other), &seed, out_bits);
            let sum_of = sum(&hash(&one, &seed, out_bits), &hash(&other, &seed, out_bits));
            assert_eq!(of_sum.words(), sum_of.words(), "{key_bits} bits to {out_bits}");
            assert!(of_sum.words().iter().any(|&word| word != 0));
        }
    }

    #[test]
    fn empty_ends() {
        assert_eq!(seed_bits(0, 9), 0);
        assert_eq!(seed_bits(9, 0), 0);
        assert_eq!(seed_bits(9, 5), 13);
        assert!(hash(&BitString::from_words(vec![5], 3), &[], 0).is_empty());
        let zeros = hash(&BitString::new(), &[], 70);
        assert_eq!((zeros.len(), zeros.words()), (70, &[0, 0][..]));
    }

    #[test]
    fn what_is_behind_the_seed_is_ignored() {
        let mut rng = random();
        let key = random_bits(&mut rng, 70);
        let mut seed = random_words(&mut rng, seed_bits(70, 21));
        let out = hash(&key, &seed, 21);
        seed[1] ^= !0 << (90 - 64);
        seed.push(rng.next_u64());
        assert_eq!(hash(&key, &seed, 21).words(), out.words());
    }

    #[test]
    #[should_panic(expected = "the seed has 1 words, and 2 are needed")]
    fn a_short_seed_is_refused() {
        hash(&BitString::from_words(vec![1], 64), &[7], 2);
    }
}
