//! Every eavesdropper: what she changes, and what she really knows.

use std::time::Duration;

use vernam_qkd::decoy::weak_and_vacuum;
use vernam_qkd::{DeviceProfile, Eve, Intensity};

use crate::setup::{Setup, assert_count, device, float, perfect};

#[test]
fn interception_shows_as_a_quarter_and_teaches_a_half() {
    for share in [0.1, 0.2, 0.5, 1.0] {
        let tally = Setup::new(perfect(), 0.0).eve(Eve::intercept_resend(share).unwrap()).agrees_with_its_formulas(2e5);
        let sifted = float(tally.sifted());
        assert_count("errors", float(tally.errors()), sifted * share / 4.0, share / 4.0);
        let known = tally.known.iter().sum();
        assert_count("known bits", float(known), sifted * share / 2.0, share / 2.0);
        assert_eq!(tally.alices, known, "what she knows is right");
        let [in_vain, agree] = tally.in_vain.map(float);
        assert!(in_vain > 0.0);
        assert_count("chance agreement across the bases", agree, 0.5 * in_vain, 0.5);
        assert!(tally.resent[0] > 0 && tally.resent[0] == tally.resent[1], "Bob finds what she resent");
    }
    let noisy = Setup::new(device("metro-40mhz"), 50.0).eve(Eve::intercept_resend(0.4).unwrap());
    noisy.agrees_with_its_formulas(2e5);
}

#[test]
fn photon_number_splitting_keeps_the_signal_gain_and_only_the_decoys_tell() {
    let setup = Setup::new(DeviceProfile::named("gys").unwrap(), 50.0);
    let channel = setup.device.channel(setup.loss_db);
    let setup = setup.eve(Eve::photon_number_splitting());
    let signal = setup.line().observe(Intensity::Signal, Duration::ZERO);
    let decoy = setup.line().observe(Intensity::Decoy, Duration::ZERO);
    let honest = channel.observe(0.48);
    assert!((signal.gain - 1.924_950e-3).abs() < 5e-10 && (signal.gain - honest.gain).abs() < 1e-12);
    assert!((signal.qber - honest.qber).abs() < 1e-9, "the error rate is as ever");
    assert!((channel.observe(0.05).gain - 2.022e-4).abs() < 5e-8);
    // qkd-physics.md 2.4 has a yield of .02286 and a decoy gain of 2.764e-5, for an Eve who silences Bob's dark counts
    // too and makes up for them with pulses of several photons. Ours cannot; by as much these numbers differ.
    let several = |k: f64| 1.0 - (-k).exp() * (1.0 + k);
    let by_light = |gain: f64| gain - channel.y0;
    let scale = honest.gain / by_light(honest.gain);
    assert!((by_light(signal.gain) / several(0.48) * scale - 0.02286).abs() < 5e-6);
    assert!((by_light(decoy.gain) * scale - 2.764e-5).abs() < 5e-9, "{decoy:?}");
    let bounds = weak_and_vacuum(&signal, &decoy, channel.y0).unwrap();
    assert!(bounds.y1 <= 0.0, "nothing is left that could be secret: {bounds:?}");

    // Of the pulses that held no photon at all she has none when Bob's detectors click by themselves.
    let noise = channel.y0 * f64::exp(-0.48);
    let known = setup.line().known_to_eve(Intensity::Signal, Duration::ZERO);
    assert!((known - (1.0 - noise / signal.gain)).abs() < 1e-9, "she knows all but empty pulses, {known}");
    let tally = Setup { device: device("gys"), ..setup }.agrees_with_its_formulas(2e5);
    assert_eq!(tally.alices, tally.known.iter().sum());
}

#[test]
fn photon_number_splitting_keeps_the_signal_gain_on_short_lines_too() {
    let mut known_before = 0.0;
    for km in [0.0, 0.4, 1.0, 4.0, 8.0, 15.0, 25.0, 100.0] {
        for name in ["gys", "lab-1ghz"] {
            let setup = Setup::new(device(name), km).eve(Eve::photon_number_splitting());
            let gain = setup.line().observe(Intensity::Signal, Duration::ZERO).gain;
            let honest = setup.device.channel(setup.loss_db).observe(setup.device.mu).gain;
            assert!((gain / honest - 1.0).abs() < 1e-9, "{name} at {km} km: {gain}, not {honest}");
            if name == "gys" {
                let known = setup.line().known_to_eve(Intensity::Signal, Duration::ZERO);
                assert!(known >= known_before || km > 25.0, "the longer the line the more she knows: {known} at {km}");
                known_before = known;
            }
        }
    }
    Setup::new(device("lab-1ghz"), 0.4).eve(Eve::photon_number_splitting()).agrees_with_its_formulas(2e5);
    Setup::new(device("lab-1ghz"), 8.0).eve(Eve::photon_number_splitting()).agrees_with_its_formulas(2e5);
}

#[test]
fn unseen_splitting_changes_nothing_and_knows_all_but_single_photons() {
    let mut known_overall = Vec::new();
    for eve in [Eve::unseen_photon_number_splitting(), Eve::beam_splitting()] {
        let setup = Setup::new(DeviceProfile::named("metro-625mhz").unwrap(), 15.0).eve(eve);
        let tally = setup.agrees_with_its_formulas(3e5);
        let (device, channel) = (&setup.device, setup.device.channel(setup.loss_db));
        for (k, mean) in Intensity::ALL.into_iter().zip([device.mu, device.nu, 0.0]) {
            let (expected, line) = (channel.observe(mean), setup.line());
            let observed = line.observe(k, Duration::ZERO);
            assert!((observed.gain / expected.gain - 1.0).abs() < 1e-12, "{k:?}: {observed:?}, not {expected:?}");
            assert!((observed.qber - expected.qber).abs() < 1e-12, "{k:?}: {observed:?}, not {expected:?}");
            let (count, pulses) = tally.clicks_and_pulses(k, device);
            assert_count(&format!("clicks of {k:?}"), count, pulses * expected.gain, expected.gain);
            if eve == Eve::beam_splitting() {
                continue;
            }
            // Single photons that get through, and dark counts of empty pulses and of single photons that get through.
            let single = mean * (-mean).exp();
            let passing = single * channel.eta / device.eta_bob;
            let unknown = single * channel.eta + channel.y0 * ((-mean).exp() + passing);
            let known = 1.0 - unknown / expected.gain;
            assert!((line.known_to_eve(k, Duration::ZERO) - known).abs() < 1e-12, "{k:?}: {known}");
            let sifted = float(tally.sifted[k.index()].iter().sum());
            assert_count(&format!("known of {k:?}"), float(tally.known[k.index()]), sifted * known, known);
        }
        assert_eq!(tally.alices, tally.known.iter().sum(), "what she knows is right");
        known_overall.push(float(tally.known.iter().sum()) / float(tally.sifted()));
    }
    let [unseen, beam_splitter] = known_overall[..] else { unreachable!() };
    println!("known: {unseen:.4}, by a beam splitter {beam_splitter:.4}");
    assert!((unseen - 0.39).abs() < 0.01 && (unseen / beam_splitter - 1.7).abs() < 0.1, "{unseen} {beam_splitter}");
    // Where she cannot have a photon of each.
    let mut config = Setup::new(device("lab-1ghz"), 5.0).eve(Eve::unseen_photon_number_splitting());
    config.agrees_with_its_formulas(2e5);
    config.loss_db = 0.0;
    config.agrees_with_its_formulas(2e5);
}

#[test]
fn a_beam_splitter_changes_nothing_and_knows_what_it_caught() {
    let setup = Setup::new(device("metro-40mhz"), 15.0).eve(Eve::beam_splitting());
    let tally = setup.agrees_with_its_formulas(2e5);
    let channel = setup.device.channel(setup.loss_db);
    let taken = 1.0 - 10f64.powf(-setup.loss_db / 10.0);
    for (k, mean) in Intensity::ALL.into_iter().zip([setup.device.mu, setup.device.nu, 0.0]) {
        let expected = channel.observe(mean);
        let observed = setup.line().observe(k, Duration::ZERO);
        assert!((observed.gain - expected.gain).abs() < 1e-15 && (observed.qber - expected.qber).abs() < 1e-12);
        let known = 1.0 - (-taken * mean).exp();
        let sifted = float(tally.sifted[k.index()].iter().sum());
        assert_count(&format!("known of {k:?}"), float(tally.known[k.index()]), sifted * known, known);
    }
    assert_eq!(tally.alices, tally.known.iter().sum(), "what she knows is right");
}

#[test]
fn a_trojan_horse_reads_settings_and_changes_nothing() {
    let setup = Setup::new(device("metro-40mhz"), 15.0).eve(Eve::trojan_horse(0.3).unwrap());
    let tally = setup.agrees_with_its_formulas(1e5);
    let sifted = float(tally.sifted());
    let known: u64 = tally.known.iter().sum();
    let read = 1.0 - f64::exp(-0.3);
    assert_count("settings read", float(known), sifted * read, read);
    assert_eq!(tally.alices, known);
}

#[test]
fn a_blinding_eve_knows_all_adds_no_error_and_is_seen_by_the_monitor_alone() {
    for monitor in [true, false] {
        let device = DeviceProfile { bright_light_monitor: monitor, ..device("metro-40mhz") };
        let setup = Setup::new(device, 15.0).eve(Eve::blinding());
        let tally = setup.agrees_with_its_formulas(1e5);
        let channel = setup.device.channel(setup.loss_db);
        for (k, mean) in Intensity::ALL.into_iter().zip([setup.device.mu, setup.device.nu, 0.0]) {
            let gain = setup.line().observe(k, Duration::ZERO).gain;
            assert!((gain / channel.observe(mean).gain - 1.0).abs() < 1e-12, "every gain stays");
        }
        let sifted = tally.sifted();
        assert_eq!((tally.known.iter().sum::<u64>(), tally.bobs), (sifted, sifted), "she has every bit of Bob's");
        assert!(tally.errors() < sifted / 2_000, "{} of {sifted}", tally.errors());
        assert_eq!(tally.bright, monitor);
    }
    Setup::new(device("gys"), 100.0).eve(Eve::blinding()).agrees_with_its_formulas(2e5);
    assert!(!Setup::new(perfect(), 0.0).eve(Eve::beam_splitting()).run(1e3).bright, "a single photon is not bright");
}
