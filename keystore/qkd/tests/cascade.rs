//! Error correction from outside: published efficiency, frames that stay wrong, odd keys, hostile messages.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_qkd::BitString;
use vernam_qkd::distil::cascade::{CascadeAlice, CascadeBob, CascadeConfig, CascadeError, Variant};

/// Bits of a frame in the published table.
const FRAME: usize = 1 << 14;
/// Set to 10000 and with `--release`, `no_frame_stays_wrong_that_should_not` takes the number of frames.
const FRAMES_VARIABLE: &str = "VERNAM_CASCADE_FRAMES";

/// Two keys that differ, and what is to be expected of them.
struct Pair {
    alice: Vec<u64>,
    bob: Vec<u64>,
    bits: usize,
    errors: usize,
}

impl Pair {
    /// Random keys without a difference.
    fn equal(bits: usize, rng: &mut ChaCha20Rng) -> Self {
        let alice: Vec<u64> = (0..bits.div_ceil(64)).map(|_| rng.random()).collect();
        let alice = BitString::from_words(alice, bits).words().to_vec();
        Self { bob: alice.clone(), alice, bits, errors: 0 }
    }

    /// Random keys that differ in exactly the share `qber` of their bits, rounded, so that no luck is in the figures.
    #[expect(clippy::print_stdout, reason = "a test prints its seed")]
    fn with_qber(bits: usize, qber: f64, seed: u64) -> Self {
        println!("seed {seed}");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut pair = Self::equal(bits, &mut rng);
        let errors = (float(bits) * qber).round();
        while float(pair.errors) < errors {
            pair.add_error(rng.random_range(0..bits));
        }
        pair
    }

    /// Makes one bit of Bob's wrong, if it is not yet.
    fn add_error(&mut self, at: usize) {
        let (word, mask) = (at / 64, 1 << (at % 64));
        if (self.alice[word] ^ self.bob[word]) & mask == 0 {
            self.bob[word] ^= mask;
            self.errors += 1;
        }
    }

    fn ends(&self, config: CascadeConfig) -> (CascadeAlice, CascadeBob) {
        let key = |words: &[u64]| BitString::from_words(words.to_vec(), self.bits);
        (CascadeAlice::new(key(&self.alice), config), CascadeBob::new(key(&self.bob), config))
    }

    /// Runs both ends to their end, and checks all that must hold whether or not every error was found.
    fn correct(&self, config: CascadeConfig) -> Result<Outcome, CascadeError> {
        let (mut alice, mut bob) = self.ends(config);
        while let Some(ask) = bob.poll_ask() {
            assert!(bob.poll_ask().is_none(), "one question at a time");
            bob.handle_answer(&alice.answer(&ask)?)?;
            assert_eq!(alice.disclosed(), bob.disclosed(), "both ends count the same leakage");
        }
        assert!(alice.is_done() && bob.is_done());
        assert_eq!((alice.corrected(), alice.rounds()), (bob.corrected(), bob.rounds()));
        assert_eq!(bob.asked_bits(), bob.disclosed());
        let (disclosed, rounds, corrected) = (bob.disclosed(), bob.rounds(), bob.corrected());
        assert!(disclosed <= self.bits as u64);
        assert_eq!(alice.into_key().words(), self.alice, "Alice's key stays as it is");
        let (key, flipped) = bob.into_key();
        assert_eq!(key.len(), self.bits);
        assert_eq!(flipped.len() as u64, corrected);
        assert!(flipped.is_sorted_by(|a, b| a < b));
        let mut expected = self.bob.clone();
        for &at in &flipped {
            expected[at as usize / 64] ^= 1 << (at % 64);
        }
        assert_eq!(key.words(), expected, "Bob says which bits he flipped");
        let frames = frames(self.bits, config.frame_bits);
        let wrong_frames = (0..self.bits)
            .filter(|at| (self.alice[at / 64] ^ key.words()[at / 64]) >> (at % 64) & 1 == 1)
            .map(|at| at % frames)
            .collect();
        Ok(Outcome { disclosed, rounds, corrected, frames, wrong_frames })
    }

    /// Disclosed parities over Shannon's limit.
    fn efficiency(&self, outcome: &Outcome) -> f64 {
        let qber = float(self.errors) / float(self.bits);
        let entropy = -qber * qber.log2() - (1.0 - qber) * (1.0 - qber).log2();
        f64::from(u32::try_from(outcome.disclosed).expect("a test's key is short")) / (float(self.bits) * entropy)
    }
}

/// What came of it.
struct Outcome {
    disclosed: u64,
    rounds: u32,
    corrected: u64,
    frames: usize,
    wrong_frames: BTreeSet<usize>,
}

impl Outcome {
    fn all_right(&self) -> bool {
        self.wrong_frames.is_empty()
    }
}

/// How many frames the documentation promises.
fn frames(bits: usize, frame_bits: usize) -> usize {
    ((bits + frame_bits / 2) / frame_bits).max(1)
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a test's key is short"))
}

fn near_shannon(qber: f64) -> CascadeConfig {
    CascadeConfig { variant: Variant::NearShannon, frame_bits: FRAME, qber, seed: 0x5eed }
}

fn classic(qber: f64) -> CascadeConfig {
    CascadeConfig { variant: Variant::Classic, ..near_shannon(qber) }
}

#[test]
fn efficiency_is_the_published_one() {
    for (qber, published) in [(0.01, 1.0422), (0.05, 1.0431), (0.10, 1.0574)] {
        let pair = Pair::with_qber(128 * FRAME, qber, 1);
        let outcome = pair.correct(near_shannon(qber)).expect("honest ends");
        let f = pair.efficiency(&outcome);
        println!("{qber}: f {f:.4}, published {published}, {} rounds", outcome.rounds);
        assert!((f - published).abs() < 0.01, "at {qber} f is {f}, not {published}");
    }
}

#[test]
fn efficiency_is_smooth_from_1_to_11_percent() {
    let mut last = None;
    for step in 2..=22 {
        let qber = f64::from(step) * 0.005;
        let pair = Pair::with_qber(20 * FRAME, qber, 2);
        let outcome = pair.correct(near_shannon(qber)).expect("honest ends");
        let f = pair.efficiency(&outcome);
        println!("{qber:.3}: f {f:.4}, {} rounds, {} wrong", outcome.rounds, outcome.wrong_frames.len());
        assert!((1.03..1.07).contains(&f), "at {qber} f is {f}");
        assert!(last.is_none_or(|last: f64| (last - f).abs() < 0.02), "at {qber} f jumps to {f} from {last:?}");
        last = Some(f);
    }
}

#[test]
fn the_classic_variant_takes_fewer_rounds_and_discloses_more() {
    for qber in [0.01, 0.03, 0.05, 0.10] {
        let pair = Pair::with_qber(32 * FRAME, qber, 3);
        let ours = pair.correct(near_shannon(qber)).expect("honest ends");
        let classic = pair.correct(classic(qber)).expect("honest ends");
        let f = pair.efficiency(&classic);
        println!("{qber}: f {f:.4}, {} rounds, {} wrong", classic.rounds, classic.wrong_frames.len());
        assert!((1.11..1.22).contains(&f), "at {qber} f is {f}");
        assert!(classic.rounds < ours.rounds / 3);
    }
}

#[test]
fn no_frame_stays_wrong_that_should_not() {
    let wanted = std::env::var(FRAMES_VARIABLE).ok().and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let share = usize::div_ceil(wanted, 11);
    let (mut total, mut wrong) = (0, 0);
    for percent in 1..=11_u32 {
        let qber = f64::from(percent) / 100.0;
        let pair = Pair::with_qber(share * FRAME, qber, u64::from(percent));
        let outcome = pair.correct(near_shannon(qber)).expect("honest ends");
        let f = pair.efficiency(&outcome);
        println!("{qber}: f {f:.4}, {} rounds, {} of {share} wrong", outcome.rounds, outcome.wrong_frames.len());
        assert_eq!(outcome.frames, share);
        assert_eq!(outcome.all_right(), outcome.corrected == pair.errors as u64, "nothing right was flipped");
        total += share;
        wrong += outcome.wrong_frames.len();
    }
    println!("{wrong} of {total} frames wrong");
    assert!(wrong * 10_000 <= total, "{wrong} of {total} frames stay wrong: none of 10,000 has been seen to");
}

#[test]
fn a_key_may_have_any_length() {
    for bits in [0, 1, 2, 3, 5, 63, 64, 65] {
        let pair = Pair::with_qber(bits, 0.0, bits as u64);
        match pair.correct(near_shannon(0.05)) {
            Ok(outcome) => assert!(outcome.all_right()),
            Err(error) => assert!(bits < 32 && error == CascadeError::TooManyParities, "{bits} bits: {error}"),
        }
    }
    let mut wrong = 0;
    for bits in [100, 127, 1_000, 1_537, 16_383, 16_385, 24_575, 24_577, 65 * FRAME + 1, 66 * FRAME - 1] {
        for (variant, qber) in [(Variant::NearShannon, 0.02), (Variant::Classic, 0.08)] {
            let pair = Pair::with_qber(bits, qber, bits as u64);
            let config = CascadeConfig { variant, ..near_shannon(qber) };
            wrong += pair.correct(config).expect("honest ends").wrong_frames.len();
        }
    }
    assert!(wrong < 3, "{wrong} frames stay wrong");
}

#[test]
fn equal_keys_take_five_rounds() {
    let pair = Pair::with_qber(FRAME, 0.0, 4);
    let outcome = pair.correct(near_shannon(0.0)).expect("honest ends");
    // Halves of the frame: two parities in the first pass, one in the second; quarters: three; then nineteen halves.
    assert_eq!((outcome.disclosed, outcome.rounds, outcome.corrected), (2 + 1 + 3 + 19, 5, 0));
}

#[test]
fn a_wrong_estimate_costs_efficiency_only() {
    for (estimate, truth) in [(0.02, 0.04), (0.04, 0.02), (0.05, 0.10), (0.01, 0.0), (f64::NAN, 0.03), (-1.0, 0.01)] {
        let pair = Pair::with_qber(16 * FRAME, truth, 5);
        let outcome = pair.correct(near_shannon(estimate)).expect("honest ends");
        println!("{estimate} for {truth}: f {:.4}", pair.efficiency(&outcome));
        assert!(outcome.all_right());
        if estimate > 0.0 && truth > 0.0 {
            assert!(pair.efficiency(&outcome) < 1.25);
        }
    }
}

#[test]
fn an_error_rate_beyond_hope_is_an_error_and_not_a_leak_of_all() {
    for variant in [Variant::NearShannon, Variant::Classic] {
        let pair = Pair::with_qber(4 * FRAME, 0.5, 6);
        let config = CascadeConfig { variant, ..near_shannon(0.02) };
        assert_eq!(pair.correct(config).err(), Some(CascadeError::TooManyParities));
    }
}

#[test]
fn a_burst_of_errors_spreads_over_all_frames() {
    for frames in [1, 24] {
        let mut pair = Pair::with_qber(frames * FRAME, 0.01, 7);
        (1_000..1_000 + frames * 160).for_each(|at| pair.add_error(at));
        let qber = float(pair.errors) / float(pair.bits);
        let outcome = pair.correct(near_shannon(qber)).expect("honest ends");
        assert!(outcome.all_right());
        let f = pair.efficiency(&outcome);
        assert!(f < if frames == 1 { 1.12 } else { 1.07 }, "f is {f}");
    }
}

#[test]
fn many_frames_take_hardly_more_messages_than_one() {
    let one = Pair::with_qber(FRAME, 0.03, 8).correct(near_shannon(0.03)).expect("honest ends");
    let many = Pair::with_qber(100 * FRAME, 0.03, 8).correct(near_shannon(0.03)).expect("honest ends");
    println!("{} rounds for one frame, {} for {}", one.rounds, many.rounds, many.frames);
    assert!(many.rounds < one.rounds * 3);
}

#[test]
fn a_frame_that_stays_wrong_is_not_called_right() {
    // Every bit is wrong, and every block has an even number of them: nothing is odd, nothing is found.
    let mut pair = Pair::with_qber(2_000, 0.0, 9);
    (0..2_000).for_each(|at| pair.add_error(at));
    let outcome = pair.correct(CascadeConfig { frame_bits: 2_000, ..near_shannon(1e-6) }).expect("honest ends");
    assert_eq!((outcome.corrected, outcome.all_right()), (0, false));
}

#[test]
fn messages_out_of_turn_change_nothing() {
    let pair = Pair::with_qber(FRAME, 0.02, 10);
    let (mut alice, mut bob) = pair.ends(near_shannon(0.02));
    assert_eq!(bob.handle_answer(&[0; 4]), Err(CascadeError::Malformed), "nothing was asked");
    let mut before: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some(ask) = bob.poll_ask() {
        if let Some((old_ask, old_answer)) = &before {
            assert_eq!(alice.answer(old_ask), Err(CascadeError::Malformed), "replayed");
            assert_eq!(bob.handle_answer(old_answer), Err(CascadeError::Malformed), "replayed");
        }
        assert_eq!(alice.answer(&ask[..ask.len() - 1]), Err(CascadeError::Malformed), "cut off");
        let longer = [&ask[..], &[0]].concat();
        assert_eq!(alice.answer(&longer), Err(CascadeError::Malformed), "too long");
        let disclosed = alice.disclosed();
        let answer = alice.answer(&ask).expect("the right one");
        assert!(alice.disclosed() > disclosed);
        bob.handle_answer(&answer).expect("the right one");
        before = Some((ask, answer));
    }
    assert!(bob.is_done() && alice.is_done());
    assert_eq!(bob.into_key().0.words(), pair.alice);
}

/// What a stranger does to one message.
#[derive(Clone, Debug)]
enum Attack {
    Flip(usize, u8),
    Replace(Vec<u8>),
    Fill(u8),
}

fn attacks() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (any::<usize>(), 1..=u8::MAX).prop_map(|(at, bits)| Attack::Flip(at, bits)),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Attack::Replace),
        any::<u8>().prop_map(Attack::Fill),
    ]
}

impl Attack {
    fn on(&self, message: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bits) => {
                let at = at % message.len();
                message[at] ^= bits;
            }
            Self::Replace(bytes) => message.clone_from(bytes),
            Self::Fill(byte) => message[4..].fill(*byte),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_message_makes_an_end_panic_or_run_on(
        bits in 0_usize..3_000,
        qber in 0.0..0.2,
        classic: bool,
        seed: u64,
        attacks in proptest::collection::vec((0_u32..60, any::<bool>(), attacks()), 1..12),
    ) {
        let variant = if classic { Variant::Classic } else { Variant::NearShannon };
        let pair = Pair::with_qber(bits, qber / 2.0, seed);
        let (mut alice, mut bob) = pair.ends(CascadeConfig { variant, frame_bits: 1_024, qber, seed });
        let attack = |round: u32, to_bob: bool, message: &mut Vec<u8>| {
            attacks.iter().filter(|a| (a.0, a.1) == (round, to_bob)).for_each(|a| a.2.on(message));
        };
        while let Some(mut message) = bob.poll_ask() {
            prop_assert!(bob.rounds() as usize <= bits, "every round discloses a parity");
            let round = bob.rounds();
            attack(round, false, &mut message);
            let Ok(mut answer) = alice.answer(&message) else { break };
            attack(round, true, &mut answer);
            if let Err(error) = bob.handle_answer(&answer) {
                prop_assert!(!bob.is_done() && bob.poll_ask().is_none(), "after {}", error);
                break;
            }
        }
        prop_assert!(alice.disclosed() <= bits as u64 && bob.disclosed() <= bits as u64);
        let key = alice.into_key();
        prop_assert_eq!(key.words(), pair.alice);
        prop_assert_eq!(bob.into_key().0.len(), bits);
    }
}
