//! Sequences with something wrong with them, so that every check of the battery is seen to fail.

use std::collections::BTreeSet;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use vernam_qkd::optics::{Receiver, Transmitter};
use vernam_qkd::{Basis, DeviceProfile};

use crate::battery::battery;

/// Bits of each of them.
const BITS: usize = 1 << 20;
const SEED: u64 = 0xf1a3;

/// The bits of the key basis at the end of `km` of fibre, before error correction, as a careless receiver would detect
/// them: a detector that has just clicked is blind for the device's dead time and the other one is not, so that the other
/// bit is more likely to be next. [`Receiver`] holds both off.
pub(crate) fn sifted(device: &DeviceProfile, km: f64) -> Vec<u8> {
    println!("seed {SEED:#x}");
    let (awake, dead) = (DeviceProfile { dead_time_us: 0.0, ..device.clone() }, dead_slots(device));
    let mut alice = Transmitter::new(&awake, awake.loss_db(km, 0.0), 0.0, ChaCha20Rng::seed_from_u64(SEED));
    let mut bob = Receiver::new(&awake, ChaCha20Rng::seed_from_u64(SEED + 1));
    let (mut bits, mut slot, mut awake_from) = (Vec::with_capacity(BITS), 0, [0; 2]);
    while bits.len() < BITS {
        let (mut sent, light, _) = alice.send(slot..slot + 1_000_000);
        slot += 1_000_000;
        for click in bob.detect(&light) {
            let detector = &mut awake_from[usize::from(click.bit)];
            if click.slot < *detector {
                continue;
            }
            *detector = click.slot + 1 + dead;
            let pulse = sent.pulse(click.slot).unwrap();
            if (pulse.basis, click.basis) == (Basis::X, Basis::X) {
                bits.push(u8::from(click.bit));
            }
        }
    }
    bits.truncate(BITS);
    bits
}

/// The dead time in slots, for which a profile has microseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some fifty")]
fn dead_slots(device: &DeviceProfile) -> u64 {
    (device.dead_time_us * 1e-6 * device.pulse_rate_hz).round() as u64
}

fn random(rng: &mut ChaCha20Rng, ones: f64) -> Vec<u8> {
    (0..BITS).map(|_| u8::from(rng.random_bool(ones))).collect()
}

/// A detector that is better than the other: a half percent more ones than zeros.
fn biased() -> Vec<u8> {
    random(&mut ChaCha20Rng::seed_from_u64(SEED + 2), 0.505)
}

/// A generator with a short period.
fn periodic() -> Vec<u8> {
    let piece = random(&mut ChaCha20Rng::seed_from_u64(SEED + 3), 0.5);
    piece[..10_007].iter().cycle().take(BITS).copied().collect()
}

/// A shift register, `x^31 + x^3 + 1`: long, even in every short pattern, and no secret after 62 bits.
fn linear() -> Vec<u8> {
    let mut bits = random(&mut ChaCha20Rng::seed_from_u64(SEED + 4), 0.5);
    (31..BITS).for_each(|i| bits[i] = bits[i - 31] ^ bits[i - 28]);
    bits
}

/// Somebody who means well: as many ones as zeros in every sixteen bits.
fn balanced() -> Vec<u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(SEED + 7);
    let mut bits: Vec<u8> = (0_u8..2).cycle().take(BITS).collect();
    bits.chunks_exact_mut(16).for_each(|piece| (1..16).for_each(|at| piece.swap(at, rng.random_range(0..=at))));
    bits
}

/// A buffer of 512 bytes that nobody filled.
fn with_a_hole() -> Vec<u8> {
    let mut bits = random(&mut ChaCha20Rng::seed_from_u64(SEED + 5), 0.5);
    bits[500_000..504_096].fill(0);
    bits
}

/// A constant stretch of five bytes in every 625, of ones and of zeros in turn.
fn with_stretches() -> Vec<u8> {
    let mut bits = random(&mut ChaCha20Rng::seed_from_u64(SEED + 6), 0.5);
    for (value, piece) in (0_u8..2).cycle().zip(bits.chunks_exact_mut(5_000)) {
        piece[1_000..1_040].fill(value);
    }
    bits
}

#[test]
fn every_check_can_fail() {
    let lab = DeviceProfile::named("lab-1ghz").unwrap();
    let flaws = [
        ("biased", biased()),
        ("periodic", periodic()),
        ("linear", linear()),
        ("balanced", balanced()),
        ("with a hole", with_a_hole()),
        ("with stretches", with_stretches()),
        ("sifted carelessly", sifted(&lab, 10.0)),
    ];
    let (mut all, mut found) = (BTreeSet::new(), BTreeSet::new());
    for (flaw, bits) in &flaws {
        let checks = battery(bits);
        let failed: Vec<&str> = checks.iter().filter(|check| check.fails()).map(|check| check.name).collect();
        println!("{flaw}: {}", failed.join(", "));
        assert!(!failed.is_empty(), "nothing is wrong with what is {flaw}");
        all = checks.iter().map(|check| check.name).collect();
        found.extend(failed);
    }
    let never: Vec<_> = all.iter().filter(|name| !found.contains(*name)).collect();
    assert!(all.len() == 17 && never.is_empty(), "found no fault: {never:?}");
}
