//! Dead time and afterpulses.

use vernam_qkd::optics::{Receiver, Transmitter};
use vernam_qkd::{Basis, DeviceProfile, Intensity};

use crate::setup::{Setup, assert_count, device, float, rng};

#[test]
fn dead_detectors_count_as_the_law_says() {
    // 100 ns at 1 GHz: 100 slots, through which the detectors would click with 1 % to 10 % a slot.
    for (detectors, eta_bob) in [(1, 0.02), (2, 0.04), (2, 0.2), (4, 0.04)] {
        let device = DeviceProfile {
            dead_time_us: 0.1,
            detectors,
            eta_bob,
            mu: 0.5,
            p_signal: 1.0,
            p_decoy: 0.0,
            q: 0.25,
            ..device("lab-1ghz")
        };
        let setup = Setup::new(device, 0.0);
        let tally = setup.run(2e5);
        let gain = setup.mean_gain();
        let awake = 1.0 / (1.0 + 100.0 * gain);
        assert!((setup.device.awake_share(&setup.device.channel(0.0)) / awake - 1.0).abs() < 1e-9);
        // Dead time evens out the gaps: its clicks scatter less than free ones.
        let law = float(tally.slots) * gain * awake;
        assert_count(&format!("clicks of {detectors}"), float(tally.clicks[0]), law, 0.0);
        assert!(float(tally.clicks[0]) < 0.6 * float(tally.candidates), "the dead time is felt");
    }
}

#[test]
fn dead_time_outlasts_a_stretch() {
    let device = DeviceProfile { dead_time_us: 1.0, y0: 0.4, ..device("lab-1ghz") };
    let mut alice = Transmitter::new(&device, 500.0, 0.0, rng(4));
    let mut bob = Receiver::new(&device, rng(5));
    let clicks: Vec<u64> = (0..200)
        .flat_map(|i| bob.detect(&alice.send(100 * i..100 * (i + 1)).1).into_iter().map(|click| click.slot))
        .collect();
    assert!(clicks.len() > 15 && clicks.windows(2).all(|pair| pair[1] - pair[0] > 1_000), "{clicks:?}");
}

#[test]
fn the_pattern_of_detections_tells_nothing_of_the_sifted_bits() {
    let device = DeviceProfile::named("lab-1ghz").unwrap();
    for km in [0.0, 10.0] {
        let mut alice = Transmitter::new(&device, device.loss_db(km, 0.0), 0.0, rng(11));
        let mut bob = Receiver::new(&device, rng(12));
        let mut sifted: Vec<(u64, bool, bool)> = Vec::new();
        let mut slot = 0;
        while sifted.len() < 200_000 {
            let (mut sent, light, _) = alice.send(slot..slot + 1_000_000);
            slot += 1_000_000;
            for click in bob.detect(&light) {
                let pulse = sent.pulse(click.slot).unwrap();
                if (pulse.basis, click.basis) == (Basis::X, Basis::X) {
                    sifted.push((click.slot, pulse.bit, click.bit));
                }
            }
        }
        // Slots between neighbours: within two dead times of 50 slots, within four, any.
        for within in [100, 200, u64::MAX] {
            let (mut pairs, mut equal) = (0, [0; 2]);
            for pair in sifted.windows(2).filter(|pair| pair[1].0 - pair[0].0 <= within) {
                pairs += 1;
                equal[0] += u64::from(pair[0].1 == pair[1].1);
                equal[1] += u64::from(pair[0].2 == pair[1].2);
            }
            assert!(pairs > 10_000, "{pairs} pairs within {within} slots at {km} km");
            for (whose, equal) in ["Alice's", "Bob's"].into_iter().zip(equal) {
                let what = format!("equal neighbours of {whose} within {within} slots at {km} km, of {pairs}");
                assert_count(&what, float(equal), 0.5 * float(pairs), 0.5);
            }
        }
    }
}

#[test]
fn afterpulses_add_their_share_to_the_noise() {
    for (dead_time_us, detectors) in [(0.0, 1), (0.0, 2), (0.0, 4), (0.0016, 2)] {
        let device = DeviceProfile { afterpulse: 0.05, detectors, dead_time_us, ..device("metro-625mhz") };
        let setup = Setup::new(device, 50.0);
        let tally = setup.agrees_with_its_formulas(3e5);
        let all = float(tally.clicks.iter().sum());
        let awake = setup.device.awake_share(&setup.device.channel(setup.loss_db));
        let law = awake * float(tally.candidates) / (1.0 - 0.05);
        assert!((all - law).abs() < 4.0 * (0.06 * all).sqrt(), "{all} clicks, not {law}");
    }
}

#[test]
fn afterpulses_and_dead_time_together_keep_the_law() {
    // Awake for two thirds of the time, and for a tenth: an afterpulse then mostly comes out of its first dead time after
    // another click.
    for (km, dead_time_us, detectors) in [(15.0, 10.0, 2), (0.0, 50.0, 1), (0.0, 50.0, 4)] {
        let device = DeviceProfile { afterpulse: 0.1, dead_time_us, detectors, ..device("metro-40mhz") };
        let setup = Setup::new(device, km);
        let tally = setup.run(6e5);
        let device = &setup.device;
        let channel = device.channel(setup.loss_db);
        let awake = device.awake_share(&channel);
        assert!(awake < 0.7, "{awake}");
        for (k, mean) in Intensity::ALL.into_iter().zip([device.mu, device.nu, 0.0]) {
            let expected = channel.observe(mean);
            let (count, pulses) = tally.clicks_and_pulses(k, device);
            assert_count(&format!("clicks of {k:?}"), count, pulses * awake * expected.gain, expected.gain);
            let errors = float(tally.errors[k.index()].iter().sum());
            let sifted = float(tally.sifted[k.index()].iter().sum());
            assert_count(&format!("errors of {k:?}"), errors, sifted * expected.qber, expected.qber);
        }
    }
}
