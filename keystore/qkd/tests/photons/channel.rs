//! What the line does to light, with nobody on it.

use std::time::Duration;

use vernam_qkd::decoy::Channel;
use vernam_qkd::optics::{Line, Receiver, Transmitter, Trouble};
use vernam_qkd::{Basis, DeviceProfile, Eve, Intensity};

use crate::setup::{BASES, Setup, assert_count, device, float, rng, share};

#[test]
fn an_untapped_line_agrees_with_the_decoy_formulas() {
    for name in ["gys", "metro-40mhz", "lab-1ghz"] {
        for km in [0.0, 10.0, 25.0, 50.0, 100.0] {
            let setup = Setup::new(device(name), km);
            let (device, tally) = (&setup.device, setup.run(3e5));
            let channel = device.channel(setup.loss_db);
            let [crossed, agree] = tally.crossed.map(float);
            assert_count("chance agreement across the bases", agree, 0.5 * crossed, 0.5);
            for (k, mean) in Intensity::ALL.into_iter().zip([device.mu, device.nu, 0.0]) {
                let expected = channel.observe(mean);
                let (count, pulses) = tally.clicks_and_pulses(k, device);
                let what = |of: &str| format!("{of} of {k:?} of {name} at {km} km");
                assert_count(&what("clicks"), count, pulses * expected.gain, expected.gain);
                for (basis, p) in BASES.into_iter().zip([device.q.sqrt(), 1.0 - device.q.sqrt()]) {
                    let at = usize::from(basis == Basis::Z);
                    let sifted = float(tally.sifted[k.index()][at]);
                    assert_count(&what(&format!("{basis:?}")), sifted, pulses * p * p * expected.gain, expected.gain);
                    let errors = float(tally.errors[k.index()][at]);
                    assert_count(&what(&format!("{basis:?} errors")), errors, sifted * expected.qber, expected.qber);
                }
            }
        }
    }
}

#[test]
fn the_line_says_of_itself_what_the_channel_says() {
    for name in DeviceProfile::names() {
        let device = DeviceProfile { afterpulse: 0.02, ..device(name) };
        for loss in [0.0, 5.0, 30.0] {
            for share in [None, Some(0.3), Some(1.0)] {
                let eve = share.map(|share| Eve::intercept_resend(share).unwrap());
                let mut line = Line::new(&device, loss, 0.0);
                line.set_eve(eve);
                let channel = eve.map_or(device.channel(loss), |eve| eve.on(&device.channel(loss)));
                for (k, mean) in Intensity::ALL.into_iter().zip([device.mu, device.nu, 0.0]) {
                    let (ours, theirs) = (line.observe(k, Duration::ZERO), channel.observe(mean));
                    assert!((ours.gain / theirs.gain - 1.0).abs() < 1e-12, "{ours:?} {theirs:?}");
                    assert!((ours.qber - theirs.qber).abs() < 1e-12, "{ours:?} {theirs:?}");
                }
            }
        }
    }
}

#[test]
fn light_of_other_channels_adds_to_the_noise() {
    let device = device("metro-40mhz");
    let (plain, lit) = (Line::new(&device, 10.0, 0.0), Line::new(&device, 10.0, 5e-6));
    for k in Intensity::ALL {
        let (plain, lit) = (plain.observe(k, Duration::ZERO), lit.observe(k, Duration::ZERO));
        assert!((lit.gain - plain.gain - 5e-6).abs() < 1e-15);
        assert!((lit.gain * lit.qber - plain.gain * plain.qber - 2.5e-6).abs() < 1e-15);
    }
    let mut alice = Transmitter::new(&DeviceProfile { y0: 0.0, ..device }, 500.0, 1e-3, rng(3));
    let (_, light, _) = alice.send(0..10_000_000);
    assert_count("background", float(light.len() as u64), 1e4, 1e-3);
}

#[test]
fn pulses_that_made_no_click_are_as_they_must_have_been() {
    // Whether a pulse made a candidate or is drawn later: all of them together are as Alice's source makes them.
    let device = DeviceProfile { y0: 0.1, eta_bob: 0.8, mu: 1.0, nu: 0.3, ..device("metro-40mhz") };
    let mut alice = Transmitter::new(&device, 0.0, 0.0, rng(6));
    let slots = 400_000;
    let (mut sent, light, _) = alice.send(1_000..1_000 + slots);
    assert!(float(light.len() as u64) > 0.3 * float(slots));
    let (mut by_intensity, mut x, mut ones) = ([0; 3], 0, 0);
    for slot in sent.slots() {
        let pulse = sent.pulse(slot).unwrap();
        by_intensity[pulse.intensity.index()] += 1;
        x += u64::from(pulse.basis == Basis::X);
        ones += u64::from(pulse.bit);
    }
    for k in Intensity::ALL {
        let p = share(&device, k);
        assert_count(&format!("{k:?}"), float(by_intensity[k.index()]), float(slots) * p, p);
    }
    assert_count("X", float(x), float(slots) * device.q.sqrt(), device.q.sqrt());
    assert_count("ones", float(ones), float(slots) * 0.5, 0.5);
    assert!(sent.pulse(0).is_none() && sent.pulse(1_000 + slots).is_none());
}

#[test]
fn drift_and_rising_loss_follow_the_time_and_start_when_they_are_set() {
    let device = DeviceProfile { pulse_rate_hz: 1e6, duty: 0.5, ..device("gys") };
    let (drift, rise) =
        (Trouble::PolarisationDrift { degrees_per_minute: 20.0 }, Trouble::RisingLoss { db_per_minute: 3.0 });
    let mut line = Line::new(&device, 5.0, 0.0);
    line.set_trouble(Some(drift));
    let minute = Duration::from_mins(1);
    let channel = device.channel(5.0);
    let turned = 0.033 + (1.0 - 0.066) * 20f64.to_radians().sin().powi(2);
    let expected = Channel { e_d: turned, ..channel }.observe(device.mu).qber;
    assert!((line.observe(Intensity::Signal, minute).qber - expected).abs() < 1e-12);
    line.set_trouble(Some(rise));
    let expected = device.channel(8.0).observe(device.mu).gain;
    assert!((line.observe(Intensity::Signal, minute).gain - expected).abs() < 1e-12);
    line.set_trouble(Some(Trouble::FibreCut));
    for k in Intensity::ALL {
        let dark = line.observe(k, minute);
        assert!((dark.gain - device.y0).abs() < 1e-18 && (dark.qber - 0.5).abs() < 1e-12);
    }
    for broken in [f64::NAN, f64::INFINITY, -1e300] {
        line.set_trouble(Some(Trouble::RisingLoss { db_per_minute: broken }));
        assert!(line.observe(Intensity::Signal, minute).gain <= 1.0);
        line.set_trouble(Some(Trouble::PolarisationDrift { degrees_per_minute: broken }));
        assert!(line.observe(Intensity::Signal, minute).qber <= 1.0);
    }

    // Two seconds of slots in the middle of a minute after an hour without trouble: 1e6 slots take two seconds.
    for trouble in [drift, rise] {
        let mut alice = Transmitter::new(&device, 5.0, 0.0, rng(7));
        let mut bob = Receiver::new(&device, rng(8));
        let hour = 1_800_000_000;
        alice.send(0..10);
        alice.set_trouble(Some(trouble));
        alice.send(hour..hour + 1);
        line.set_trouble(Some(trouble));
        let (mut sent, light, _) = alice.send(hour + 29_500_000..hour + 30_500_000);
        let (mut clicks, mut sifted, mut errors) = (0, 0, 0);
        for click in bob.detect(&light) {
            let pulse = sent.pulse(click.slot).unwrap();
            if pulse.intensity == Intensity::Signal {
                clicks += 1;
                sifted += u64::from(pulse.basis == click.basis);
                errors += u64::from(pulse.basis == click.basis && pulse.bit != click.bit);
            }
        }
        let expected = line.observe(Intensity::Signal, minute);
        assert_count("clicks", float(clicks), 1e6 * device.p_signal * expected.gain, 0.0);
        assert_count("errors", float(errors), float(sifted) * expected.qber, expected.qber);
        alice.set_trouble(None);
        let honest = device.channel(5.0).observe(device.mu).gain * device.p_signal * 1e6;
        assert!(float(alice.send(0..1_000_000).1.len() as u64) > honest, "mended");
    }
}
