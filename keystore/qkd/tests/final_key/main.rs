//! The final key looks like coin tosses to every test of NIST SP 800-22 and to two more, as the sifted key of a receiver
//! less careful than ours would not; both ends hold the same, and no two blocks have more in common than chance gives
//! them.
//!
//! That says nothing about what Eve knows: `eve_and_the_bound.rs` does.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this crate is tests only, also where it helps them")]

mod battery;
mod flawed;

use battery::{LEAST_BITS, SIGNIFICANCE, battery, float, uniformity};
use vernam_qkd::{DeviceProfile, LinkConfig, LinkEvent, PhotonLink};

/// Sifted bits of a block, so that it takes a moment to simulate and still holds key.
const METRO: (&str, u32) = ("metro-625mhz", 1_000_000);
const LAB: (&str, u32) = ("lab-1ghz", 3_000_000);
const KM: f64 = 10.0;
/// P-values below 1 in 100 that one sequence may have. Two or three of some 250 are to be expected; all 18 of the random
/// excursions may be low together, for they are about one walk.
const MOST_LOW: usize = 24;

/// The key of the first blocks of a link, until there are so many bits; of both ends, which must be the same.
fn blocks((device, block_bits): (&str, u32), seed: u64, bits: usize) -> Vec<Vec<u8>> {
    println!("{device} at {KM} km, seed {seed}");
    let mut device = DeviceProfile::named(device).unwrap();
    device.block_bits = block_bits;
    let mut link = PhotonLink::from_seed(LinkConfig::new(device, KM), seed).unwrap();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while 8 * keys.iter().map(Vec::len).sum::<usize>() < bits {
        link.advance(link.next_event_at());
        match link.poll_event() {
            Some(LinkEvent::Block(pair)) => {
                let key = pair.alice.bits.expose("test");
                assert_eq!(key, pair.bob.bits.expose("test"), "the two ends hold the same");
                keys.push(key.to_vec());
            }
            Some(LinkEvent::Discarded { reason, .. }) => panic!("{reason}"),
            _ => {}
        }
    }
    keys
}

/// One byte for each bit, the least significant of a byte of key first: as the hash puts them out.
fn unpack(keys: &[Vec<u8>]) -> Vec<u8> {
    keys.iter().flatten().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).collect()
}

fn passes_everything(kind: (&str, u32), seed: u64) {
    let bits = unpack(&blocks(kind, seed, LEAST_BITS));
    let checks = battery(&bits);
    for check in &checks {
        println!("{}: least of {}: {:.6}", check.name, check.p.len(), check.least());
        assert!(!check.fails(), "{}: {}", check.name, check.least());
        assert!(!check.p.is_empty() || !check.independent(), "{} says nothing", check.name);
    }
    let all: Vec<f64> = checks.iter().flat_map(|check| check.p.clone()).collect();
    let low = all.iter().filter(|p| **p < 0.01).count();
    let alone: Vec<f64> = checks.iter().filter(|check| check.independent()).flat_map(|check| check.p.clone()).collect();
    let even = uniformity(&alone);
    println!("{} bits: {low} of {} p-values below .01; evenly spread: {even:.4}", bits.len(), all.len());
    assert!(low <= MOST_LOW, "{low} of {} p-values are low", all.len());
    assert!(alone.len() > 200 && even > SIGNIFICANCE, "p-values that are not evenly spread: {even}");
}

#[test]
fn key_of_a_metropolitan_link_passes_everything() {
    passes_everything(METRO, 1);
    passes_everything(METRO, 2);
}

#[test]
fn key_of_a_link_with_dead_time_passes_what_a_careless_receiver_fails() {
    passes_everything(LAB, 3);
    passes_everything(LAB, 4);
    let device = DeviceProfile::named(LAB.0).unwrap();
    let failed: Vec<_> = battery(&flawed::sifted(&device, KM)).into_iter().filter(battery::Check::fails).collect();
    assert!(failed.iter().any(|check| check.name == "runs") && failed.len() > 5, "only {} fail", failed.len());
}

#[test]
fn blocks_differ_in_half_of_their_bits() {
    let keys: Vec<Vec<u8>> = (10..16).flat_map(|seed| blocks((METRO.0, 400_000), seed, 300_000)).collect();
    // Beside each with each: each with the other's bytes in reverse, and with itself a byte further on.
    let (mut pairs, mut worst) = (0, 0.0_f64);
    let mut compare = |a: &mut dyn Iterator<Item = &u8>, b: &mut dyn Iterator<Item = &u8>| {
        let (mut differ, mut bytes) = (0, 0);
        for (a, b) in a.zip(b) {
            differ += (a ^ b).count_ones();
            bytes += 1;
        }
        assert!(bytes > 10_000, "blocks of {bytes} bytes");
        // A binomial distribution: standard deviations from the mean.
        let sigmas = (f64::from(differ) - 4.0 * float(bytes)) / (2.0 * float(bytes)).sqrt();
        worst = worst.max(sigmas.abs());
        pairs += 1;
    };
    for (i, key) in keys.iter().enumerate() {
        compare(&mut key.iter(), &mut key.iter().skip(1));
        for other in &keys[..i] {
            compare(&mut key.iter(), &mut other.iter());
            compare(&mut key.iter(), &mut other.iter().rev());
        }
    }
    println!("{} blocks, {pairs} pairs, at most {worst:.2} standard deviations from half", keys.len());
    // Once in three million pairs for coin tosses.
    assert!(pairs > 300 && worst < 5.1, "{worst} standard deviations from half");
}
