//! What she knows of whole blocks, photon by photon, over many seeds of each attack.

use std::time::Duration;

use vernam_qkd::{BlockReport, DeviceProfile, DiscardReason, Eve, EveTally, LinkConfig, LinkEvent, PhotonLink};

/// Blocks of each attack that lets key pass, each of a link of its own.
const SEEDS: u64 = 20;

/// A link of 10 km whose blocks have 200,000 sifted bits.
fn metro() -> LinkConfig {
    let mut device = DeviceProfile::named("metro-625mhz").unwrap();
    device.block_bits = 200_000;
    let mut config = LinkConfig::new(device, 10.0);
    config.extra_loss_db = 1.0;
    config
}

/// The link of the photon-number splitters: long enough that pulses of several photons are all that she needs.
fn gys() -> LinkConfig {
    let mut device = DeviceProfile::named("gys").unwrap();
    device.block_bits = 500_000;
    LinkConfig::new(device, 50.0)
}

/// The first block of a link with Eve on it from the start: what was measured, why there is no key if there is none, and
/// what she knows.
fn first_block(config: &LinkConfig, eve: Option<Eve>, seed: u64) -> (BlockReport, Option<DiscardReason>, EveTally) {
    let mut link = PhotonLink::from_seed(config.clone(), seed).unwrap();
    link.set_eve(eve);
    while link.now() < Duration::from_hours(10) {
        link.advance(link.next_event_at());
        while let Some(event) = link.poll_event() {
            match event {
                LinkEvent::Block(pair) => return (pair.report, None, link.eve_tally()),
                LinkEvent::Discarded { report, reason } => return (report, Some(reason), link.eve_tally()),
                _ => {}
            }
        }
    }
    panic!("no block came in ten hours");
}

/// Runs an attack that leaves key, and checks that it is paid for.
fn is_paid_for(name: &str, config: &LinkConfig, eve: Eve) {
    let (mut with_key, mut unknown, mut assumed, mut unused) =
        (0, Spread::default(), Spread::default(), Spread::default());
    let mut share = Spread::default();
    for seed in 0..SEEDS {
        let (report, reason, tally) = first_block(config, Some(eve), seed);
        let context = format!("{name}, seed {seed}: {tally:?}, {reason:?}");
        assert_eq!((tally.block, tally.sifted_bits), (report.number, report.sifted_bits()), "{context}");
        assert_eq!(reason.is_none(), report.key_bits > 0, "{context}");
        let (known, sifted) = (float(tally.known_bits), float(tally.sifted_bits));
        assert!(tally.known_bits > 0 && tally.known_bits < tally.sifted_bits, "{context}");
        if report.key_bits == 0 {
            continue;
        }
        with_key += 1;
        let left = sifted - known - report.leakage.parities - report.leakage.verification;
        assert!(known <= tally.assumed_bits, "{context}: she knows more than is assumed");
        assert!(float(report.key_bits) <= left, "{context}: more key than the {left} bits that she does not know");
        share.add(known / sifted);
        assumed.add(tally.assumed_bits / sifted);
        unknown.add((tally.assumed_bits - known) / sifted);
        unused.add(left - float(report.key_bits));
    }
    println!(
        "{name}: {with_key} of {SEEDS} blocks give key; she knows {share} of the sifted bits, {assumed} are assumed, \
         margin {unknown}; bits that she does not know and that are not key: {unused}"
    );
    assert!(with_key > 0, "{name}: no block gives key, nothing was shown");
}

#[test]
fn beam_splitting_is_paid_for() {
    is_paid_for("beam splitting", &metro(), Eve::beam_splitting());
}

#[test]
fn unseen_photon_number_splitting_is_paid_for() {
    // She leaves single photons alone and has all else: what the bounds allow her, but for the phase errors.
    let mut config = metro();
    is_paid_for("unseen photon-number splitting", &config, Eve::unseen_photon_number_splitting());
    config.length_km = 15.0;
    is_paid_for("unseen photon-number splitting, 15 km", &config, Eve::unseen_photon_number_splitting());
}

#[test]
fn interception_of_a_few_is_paid_for() {
    is_paid_for("2 % intercepted", &metro(), Eve::intercept_resend(0.02).unwrap());
    is_paid_for("5 % intercepted", &metro(), Eve::intercept_resend(0.05).unwrap());
}

#[test]
fn interception_of_a_tenth_is_paid_for() {
    is_paid_for("10 % intercepted", &metro(), Eve::intercept_resend(0.1).unwrap());
}

#[test]
fn trojan_light_that_the_profile_declares_is_paid_for() {
    // Much more, and no key is left to show anything about.
    for photons in [1e-4, 2e-4] {
        let mut config = metro();
        config.device.trojan_photons = photons;
        is_paid_for(&format!("{photons} Trojan photons"), &config, Eve::trojan_horse(photons).unwrap());
    }
}

#[test]
fn the_check_sees_a_bound_that_is_too_low() {
    // A profile that declares no Trojan horse, and one that reads nineteen of twenty pulses.
    let (report, reason, tally) = first_block(&metro(), Some(Eve::trojan_horse(3.0).unwrap()), 0);
    assert!(reason.is_none() && report.key_bits > 0, "nothing is to be seen of her: {reason:?}");
    let (known, sifted) = (float(tally.known_bits), float(tally.sifted_bits));
    let left = sifted - known - report.leakage.parities - report.leakage.verification;
    println!("undeclared: she knows {known} of {sifted}, {:.0} were assumed; {left:.0} left", tally.assumed_bits);
    assert!(known > tally.assumed_bits && float(report.key_bits) > left, "{tally:?}");
}

#[test]
fn photon_number_splitting_gives_no_key() {
    let (honest, reason, _) = first_block(&gys(), None, 0);
    assert!(honest.key_bits > 0, "without her there is key: {reason:?}");
    for seed in 0..8 {
        let (report, reason, tally) = first_block(&gys(), Some(Eve::photon_number_splitting()), seed);
        println!("photon-number splitting, seed {seed}: she knows {} of {}", tally.known_bits, tally.sifted_bits);
        assert!(matches!(reason, Some(DiscardReason::NoSecretKey { .. })), "{reason:?}");
        assert!(report.key_bits == 0 && tally.assumed_bits >= float(tally.sifted_bits), "{tally:?}");
    }
}

#[test]
fn blinding_gives_no_key_where_somebody_looks_at_the_light() {
    for seed in 0..SEEDS {
        let (report, reason, tally) = first_block(&metro(), Some(Eve::blinding()), seed);
        assert!(matches!(reason, Some(DiscardReason::BrightLight { .. })), "seed {seed}: {reason:?}");
        assert_eq!((report.key_bits, tally.known_bits), (0, tally.sifted_bits), "seed {seed}");
    }
}

/// The least and the greatest of some numbers.
#[derive(Default)]
struct Spread(Option<(f64, f64)>);

impl Spread {
    fn add(&mut self, x: f64) {
        let (least, greatest) = self.0.unwrap_or((x, x));
        self.0 = Some((least.min(x), greatest.max(x)));
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((least, greatest)) if greatest > 1.5 => write!(f, "{least:.0} to {greatest:.0}"),
            Some((least, greatest)) => write!(f, "{least:.4} to {greatest:.4}"),
            None => f.write_str("none"),
        }
    }
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}
