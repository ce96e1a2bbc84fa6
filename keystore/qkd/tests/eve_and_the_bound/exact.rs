//! A short block in full: every equation that Eve has about the sifted key, and the final key's.
//!
//! She knows some bits of Alice's, as a beam splitter or an intercepted share leaves them; the parities of error
//! correction; the hash that verifies it; the matrix of privacy amplification; and, more than any attack gives her,
//! where Bob's errors were. All of it is linear in the sifted key, which is random. So the final key is exactly uniform
//! to her if no sum of its bits follows from what she has: if the rank of her equations and the key's together is the
//! sum of the two.
//!
//! For a random Toeplitz matrix that fails with probability `2^−margin` at most, `margin` being the bits that she does not
//! know and that are not key: each of the `2^l − 1` sums of key bits has coefficients that are uniform over all `2^n`,
//! of which `2^rank` follow from what she has.

use polyval::universal_hash::UniversalHash as _;
use polyval::{Key, Polyval};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use vernam_qkd::BitString;
use vernam_qkd::distil::cascade::{CascadeAlice, CascadeBob, CascadeConfig, Variant};
use vernam_qkd::distil::toeplitz;

use crate::equations::{Independent, Row, bit, product, transposed, unit};

const SEED: u64 = 0xe7e5;
/// Bits of the hash that verifies error correction.
const VERIFICATION: usize = 128;
/// Bits that she does not know and that are not key. Real blocks have some 200 and what the bounds are above the truth.
const MARGIN: usize = 40;
/// Parities of a block that may follow from others: near the end of the search some do by accident.
const MOST_TWICE: usize = 8;
const QBER: f64 = 0.02;

/// One block: the key, and what Eve has.
struct Block {
    rng: ChaCha20Rng,
    bits: usize,
    key: Row,
    /// How many bits she knows.
    known: usize,
    /// How many parities both ends counted.
    disclosed: usize,
    eve: Eve,
}

/// Her equations.
struct Eve {
    bits: Vec<Row>,
    parities: Vec<Row>,
    verification: Vec<Row>,
}

fn words(rng: &mut ChaCha20Rng, bits: usize) -> Row {
    BitString::from_words((0..bits.div_ceil(64)).map(|_| rng.next_u64()).collect(), bits).words().to_vec()
}

fn sum(a: &[u64], b: &[u64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// What the two ends said in error correction: all bits of Bob's messages, and all of Alice's, without the numbers of
/// the rounds; and how many parities they counted.
struct Talk {
    bob: Vec<u8>,
    alice: Vec<u8>,
    disclosed: usize,
}

/// Corrects errors between two keys. Bob must end with Alice's.
fn talk(alice: &[u64], bob: &[u64], bits: usize, config: CascadeConfig) -> Talk {
    let end = |key: &[u64]| BitString::from_words(key.to_vec(), bits);
    let (mut a, mut b) = (CascadeAlice::new(end(alice), config), CascadeBob::new(end(bob), config));
    let mut talk = Talk { bob: Vec::new(), alice: Vec::new(), disclosed: 0 };
    while let Some(ask) = b.poll_ask() {
        let answer = a.answer(&ask).unwrap();
        b.handle_answer(&answer).unwrap();
        talk.bob.extend(&ask[4..]);
        talk.alice.extend(&answer[4..]);
    }
    talk.disclosed = usize::try_from(a.disclosed()).unwrap();
    assert_eq!(b.into_key().0.words(), alice, "every error was found");
    talk
}

impl Block {
    /// A block of `bits` of which Eve knows about `share`.
    fn new(seed: u64, bits: usize, share: f64, frame_bits: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(SEED + seed);
        let key = words(&mut rng, bits);
        let mut errors = vec![0; key.len()];
        for at in 0..bits {
            errors[at / 64] |= u64::from(rng.random_bool(QBER)) << (at % 64);
        }
        let config = CascadeConfig { variant: Variant::NearShannon, frame_bits, qber: QBER, seed: rng.next_u64() };
        let said = talk(&key, &sum(&key, &errors), bits, config);
        let parities = parities(&errors, bits, config, &said);
        for (at, row) in parities.iter().enumerate() {
            assert_eq!(product(row, &key), said.alice[at / 8] >> (at % 8) & 1 == 1, "parity {at} is what she said");
        }
        let known: Vec<Row> = (0..bits).filter(|_| rng.random_bool(share)).map(|at| unit(at, bits)).collect();
        let verification = verification(&mut rng, bits);
        Self {
            bits,
            key,
            known: known.len(),
            disclosed: said.disclosed,
            eve: Eve { bits: known, parities, verification },
            rng,
        }
    }

    /// All that she has.
    fn eve(&self) -> Independent {
        let Eve { bits, parities, verification } = &self.eve;
        let mut equations = Independent::new(self.bits);
        equations.add(bits.iter().chain(parities).chain(verification).cloned());
        equations
    }

    /// Bits that privacy amplification may leave if this is what she has.
    fn unknown(&self) -> usize {
        self.bits - self.known - self.disclosed - VERIFICATION
    }

    /// The final key's equations, of which the product has been checked to compute just these.
    fn key(&self, seed: &[u64], len: usize) -> Vec<Row> {
        let row = |i: usize| {
            let mut row = vec![0; self.key.len()];
            // T[i][j] = seed[i − j + n − 1]
            (0..self.bits).for_each(|j| row[j / 64] |= u64::from(bit(seed, i + self.bits - 1 - j)) << (j % 64));
            row
        };
        let rows: Vec<Row> = (0..len).map(row).collect();
        let key = toeplitz::hash(&BitString::from_words(self.key.clone(), self.bits), seed, len);
        assert!(rows.iter().enumerate().all(|(i, row)| product(row, &self.key) == key.get(i)));
        rows
    }

    fn seed(&mut self, len: usize) -> Row {
        words(&mut self.rng, toeplitz::seed_bits(self.bits, len))
    }

    /// How many sums of bits of a final key of `len` follow from what she has.
    fn told(&self, seed: &[u64], len: usize) -> usize {
        let mut all = self.eve();
        let before = all.rank();
        before + len - all.add(self.key(seed, len)).rank()
    }
}

/// The equations that Alice's answers are, one for each of their bits.
///
/// Which parities are compared depends on where the errors are, and not on the keys. So a key with a single one, and
/// these errors, is asked the same questions, and answers with the coefficients of that bit.
fn parities(errors: &[u64], bits: usize, config: CascadeConfig, said: &Talk) -> Vec<Row> {
    let apart: Vec<u8> = said.alice.iter().zip(&said.bob).map(|(a, b)| a ^ b).collect();
    let columns: Vec<Row> = (0..bits)
        .map(|at| {
            let one = unit(at, bits);
            let talk = talk(&one, &sum(&one, errors), bits, config);
            // What Bob says adds to what Alice says where the errors are, and nothing about her key.
            assert!(talk.alice.iter().zip(&talk.bob).map(|(a, b)| a ^ b).eq(apart.iter().copied()));
            assert_eq!(talk.disclosed, said.disclosed);
            let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            talk.alice.chunks(8).map(word).collect()
        })
        .collect();
    transposed(&columns, 8 * said.alice.len())
}

/// The equations of the hash that verifies error correction, POLYVAL under a random key: linear but for the length.
fn verification(rng: &mut ChaCha20Rng, bits: usize) -> Vec<Row> {
    let mut key = [0; 16];
    rng.fill_bytes(&mut key);
    let hash = |bits: &[u64]| {
        let mut hash = Polyval::new(&Key::from(key));
        hash.update_padded(&bits.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
        let hash: [u8; 16] = hash.finalize().into();
        let (low, high) = hash.split_at(8);
        [low, high].map(|half| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))).to_vec()
    };
    let columns: Vec<Row> = (0..bits).map(|at| hash(&unit(at, bits))).collect();
    transposed(&columns, VERIFICATION)
}

fn is_uniform(seeds: std::ops::Range<u64>, bits: usize, frame_bits: usize) {
    for seed in seeds {
        println!("seed {SEED:#x} + {seed}");
        let share = [0.2, 0.3, 0.4, 0.5][usize::try_from(seed % 4).unwrap()];
        let mut block = Block::new(seed, bits, share, frame_bits);
        // The leakage is not counted too low: what was said is worth at most as many bits. Nor too high.
        let worth = Independent::new(bits).add(block.eve.parities.iter().cloned()).rank();
        assert!(worth <= block.disclosed, "{worth} bits were said, {} counted", block.disclosed);
        let (eve, len) = (block.eve().rank(), block.unknown() - MARGIN);
        println!(
            "{bits} bits, she knows {}, {} parities are worth {worth}; together with the hash {eve}; {len} \
             bits of key",
            block.known, block.disclosed
        );
        assert!(worth + MOST_TWICE >= block.disclosed, "{worth} of {} parities", block.disclosed);
        let matrix = block.seed(len);
        assert_eq!(block.told(&matrix, len), 0, "sums of key bits follow from what she has");

        // The same test on keys that are too long: of each bit too many she knows a sum.
        let long = bits - block.known - block.disclosed + 50;
        let matrix = block.seed(long);
        assert!(block.told(&matrix, long) >= long - (bits - eve), "she must know {} sums", long - (bits - eve));
        assert!(block.told(&matrix, long) >= 50);
        let careless = bits - block.known - VERIFICATION - MARGIN;
        let matrix = block.seed(careless);
        assert!(block.told(&matrix, careless) > block.disclosed / 2, "the parities were forgotten");
        // And without hashing, under the matrix that takes bits out as they are.
        let mut shift = vec![0; toeplitz::seed_bits(bits, len).div_ceil(64)];
        shift[(bits - 1) / 64] = 1 << ((bits - 1) % 64);
        assert!(block.told(&shift, len) > len / 10, "she knows a fifth of the bits and more");
    }
}

#[test]
fn the_key_of_a_frame_is_uniform_to_eve() {
    is_uniform(0..4, 2_000, 1 << 14);
}

#[test]
fn the_key_of_other_frames_is_uniform_to_eve() {
    is_uniform(4..8, 2_000, 1 << 14);
}

#[test]
fn the_key_of_two_frames_is_uniform_to_eve() {
    is_uniform(100..104, 2_500, 1 << 10);
}
