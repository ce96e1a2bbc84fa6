//! The link simulated photon by photon, from the laser to the key.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this file is tests only, also where it helps them")]

use std::time::Duration;

use vernam_qkd::optics::Trouble;
use vernam_qkd::{
    BlockPair, BlockReport, DeviceProfile, DiscardReason, Eve, EveTally, LinkConfig, LinkEvent, LinkState, PhotonLink,
    RateLink,
};

const SEED: u64 = 3_141;

/// A metropolitan link whose blocks have 200,000 sifted bits: they take a moment to simulate.
fn metro(length_km: f64) -> LinkConfig {
    let mut device = DeviceProfile::named("metro-625mhz").unwrap();
    device.block_bits = 200_000;
    let mut config = LinkConfig::new(device, length_km);
    config.extra_loss_db = 1.0;
    config
}

fn photons(config: &LinkConfig, seed: u64) -> PhotonLink {
    println!("seed {seed}");
    PhotonLink::from_seed(config.clone(), seed).unwrap()
}

/// Runs the link until it has said something of `blocks` blocks.
fn outcomes(link: &mut PhotonLink, blocks: usize) -> Vec<Result<BlockPair, (BlockReport, DiscardReason)>> {
    let mut found = Vec::new();
    while found.len() < blocks {
        link.advance(link.next_event_at());
        while let Some(event) = link.poll_event() {
            match event {
                LinkEvent::Block(pair) => found.push(Ok(pair)),
                LinkEvent::Discarded { report, reason } => found.push(Err((report, reason))),
                _ => {}
            }
        }
        assert!(link.now() < Duration::from_hours(10), "no block came in ten hours");
    }
    found
}

fn key(pair: &BlockPair) -> &[u8] {
    pair.alice.bits.expose("test")
}

#[test]
fn both_ends_get_the_same_key_and_the_report_adds_up() {
    let mut link = photons(&metro(10.0), SEED);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for outcome in outcomes(&mut link, 3) {
        let pair = outcome.unwrap();
        let report = &pair.report;
        assert_eq!(key(&pair), pair.bob.bits.expose("test"));
        assert_eq!((pair.alice.number, pair.bob.number), (report.number, report.number));
        assert_eq!(report.key_bits, 8 * key(&pair).len() as u64);
        assert!(report.sifted_bits() > 195_000 && report.sifted_bits() < 205_000, "{report:?}");
        // Everything that was taken off: what Eve may know, what was said aloud, what the proofs cost, the next tags.
        let secret = report.bounds.vacuum + report.bounds.single * (1.0 - entropy(report.bounds.phase_error))
            - report.leakage.parities
            - report.leakage.verification;
        let left = secret - float(report.key_bits) - float(report.auth.bits);
        assert!((0.0..300.0).contains(&left), "{left} bits for the proofs and the last byte: {report:?}");
        assert!(report.qber_x > 0.01 && report.qber_x < 0.03 && report.qber_z > 0.01 && report.qber_z < 0.03);
        let efficiency = report.leakage.parities / (float(report.sifted_bits()) * entropy(report.qber_x));
        assert!((1.0..1.12).contains(&efficiency), "error correction at {efficiency} of Shannon's limit");
        assert_eq!((report.auth.tags, report.auth.bits), (3, 384));
        assert!(report.epsilon.total() < 1.1e-10 && report.epsilon.correctness < 1e-15);
        assert!(!report.eve && report.end > report.start && report.rate_bps > 0.0);
        keys.push(key(&pair).to_vec());
    }
    assert_eq!(link.state(), LinkState::Up);
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
}

#[test]
fn a_run_follows_from_its_seed() {
    let run = |seed| {
        let mut link = photons(&metro(25.0), seed);
        let pair = outcomes(&mut link, 1).pop().unwrap().unwrap();
        (key(&pair).to_vec(), pair.report.clone())
    };
    let (first, again, other) = (run(SEED), run(SEED), run(SEED + 1));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

#[test]
fn time_may_be_told_in_any_steps() {
    let run = |step: Duration| {
        let mut link = photons(&metro(10.0), SEED);
        let mut seen = Vec::new();
        while link.now() < Duration::from_millis(600) {
            link.advance(link.now() + step);
            while let Some(event) = link.poll_event() {
                seen.push(format!("{event:?}"));
            }
        }
        seen
    };
    let fine = run(Duration::from_millis(1));
    assert!(fine.len() > 6);
    assert_eq!(fine, run(Duration::from_millis(600)));
}

#[test]
fn the_fast_model_agrees_within_its_statistics() {
    // (device, km): sifted bits, errors, yields and key of one block each, against the mean over blocks of the fast model.
    for (device, km, bits) in [("metro-40mhz", 15.0, 150_000), ("gys", 5.0, 1_000_000), ("lab-1ghz", 50.0, 2_000_000)] {
        let mut device = DeviceProfile::named(device).unwrap();
        device.block_bits = bits;
        let config = LinkConfig::new(device, km);
        let mut link = photons(&config, SEED);
        let by_photons: Vec<BlockReport> = outcomes(&mut link, 3)
            .into_iter()
            .map(|block| block.map_or_else(|(report, _)| report, |pair| pair.report))
            .collect();
        let mut fast = RateLink::from_seed(config.clone(), SEED).unwrap();
        let mut by_rate = Vec::new();
        while by_rate.len() < 60 {
            fast.advance(fast.next_event_at());
            match fast.poll_event() {
                Some(LinkEvent::Block(pair)) => by_rate.push(pair.report),
                Some(LinkEvent::Discarded { report, .. }) => by_rate.push(report),
                _ => {}
            }
        }
        // Blocks of the two differ a little in length, so everything is per sifted bit or per second.
        let compare = |what: &str, of: &dyn Fn(&BlockReport) -> f64, tolerance: f64| {
            let values: Vec<f64> = by_rate.iter().map(of).collect();
            let count = float(values.len() as u64);
            let mean = values.iter().sum::<f64>() / count;
            let sigma = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
            for report in &by_photons {
                let (here, most) = (of(report), 4.5 * sigma + tolerance * mean.abs());
                println!("{} {km} km {what}: {here} against {mean} +- {sigma}", config.device.name);
                assert!((here - mean).abs() < most, "{} {what}: {here} against {mean}", config.device.name);
            }
        };
        let seconds = |r: &BlockReport| (r.end.saturating_sub(r.start)).as_secs_f64();
        compare("sifted bits/s", &|r| float(r.sifted_bits()) / seconds(r), 1e-3);
        compare("QBER in X", &|r| r.qber_x, 0.0);
        compare("QBER in Z", &|r| r.qber_z, 0.0);
        compare("gain of signals", &|r| r.gains[0], 1e-3);
        compare("gain of decoys", &|r| r.gains[1], 1e-3);
        // The fast model takes the device's f; error correction here does better, by a tenth of h(E) and more.
        let cost = |r: &BlockReport| r.leakage.parities / float(r.sifted_bits()) / entropy(r.qber_x);
        compare(
            "secret before correction",
            &|r| (r.bounds.vacuum + r.bounds.single * (1.0 - entropy(r.bounds.phase_error))) / float(r.sifted_bits()),
            0.02,
        );
        let saved = |r: &BlockReport| (config.device.f - cost(r)) * entropy(r.qber_x) * float(r.sifted_bits());
        for report in &by_photons {
            assert!(cost(report) > 1.0 && cost(report) < config.device.f, "{report:?}");
        }
        compare("key rate at the device's f", &|r| r.rate_bps - saved(r) / seconds(r), 0.01);
    }
}

#[test]
fn interception_is_seen_and_costs_a_block_not_a_wrong_key() {
    let mut link = photons(&metro(10.0), SEED);
    assert!(outcomes(&mut link, 1)[0].is_ok());
    link.set_eve(Some(Eve::intercept_resend(1.0).unwrap()));
    let ends: Vec<_> = outcomes(&mut link, 3).into_iter().map(Result::unwrap_err).collect();
    for (report, reason) in &ends {
        assert!(report.eve && report.key_bits == 0);
        assert!(matches!(reason, DiscardReason::QberTooHigh { .. }), "{reason:?}");
        assert!(reason.to_string().contains("the line is being read"), "{reason}");
    }
    // The first of them had begun before she came.
    let qber = ends[2].0.qber_z;
    assert!((0.245..0.275).contains(&qber), "a quarter, and what the line itself adds: {qber}");
    assert!(matches!(link.state(), LinkState::Alarm { .. }));
    link.set_eve(None);
    assert!(outcomes(&mut link, 1)[0].is_ok(), "without her the next block is good");
    assert_eq!(link.state(), LinkState::Up);
}

#[test]
fn photon_number_splitting_keeps_the_qber_green_and_the_decoys_catch_it() {
    let mut device = DeviceProfile::named("gys").unwrap();
    device.block_bits = 1_000_000;
    let config = LinkConfig::new(device, 50.0);
    let mut link = photons(&config, SEED);
    let honest = match outcomes(&mut link, 1).pop().unwrap() {
        Ok(pair) => pair.report.clone(),
        Err((report, reason)) => panic!("{reason}: {report:?}"),
    };
    link.set_eve(Some(Eve::photon_number_splitting()));
    // The first block of the two had begun before she came.
    let (report, reason) = outcomes(&mut link, 2).pop().unwrap().unwrap_err();
    assert!((report.gains[0] / honest.gains[0] - 1.0).abs() < 0.05, "the signal's gain is as ever");
    assert!(report.gains[1] < 0.5 * honest.gains[1], "the decoys' is not");
    assert!(report.qber_z < 0.06, "the QBER is green");
    assert!(matches!(reason, DiscardReason::NoSecretKey { single, .. } if single <= 0.0), "{reason:?}");
    assert!(reason.to_string().contains("of the decoys came"), "{reason}");
    let tally = link.eve_tally();
    assert!(float(tally.known_bits) > 0.9 * float(tally.sifted_bits), "she would know it all: {tally:?}");
}

#[test]
fn what_eve_knows_stays_below_what_privacy_amplification_assumes() {
    type Make = fn() -> Eve;
    let tappers: [(&str, Make); 3] = [
        ("beam splitting", Eve::beam_splitting),
        ("a fourteenth intercepted", || Eve::intercept_resend(0.07).unwrap()),
        ("a twentieth intercepted", || Eve::intercept_resend(0.05).unwrap()),
    ];
    for (name, make) in tappers {
        for seed in 0..6 {
            let mut link = photons(&metro(10.0), SEED + seed);
            link.set_eve(Some(make()));
            let pair = outcomes(&mut link, 1).pop().unwrap().unwrap_or_else(|(_, reason)| panic!("{name}: {reason}"));
            let EveTally { block, sifted_bits, known_bits, assumed_bits } = link.eve_tally();
            println!("{name}: she knows {known_bits} of {sifted_bits}, {assumed_bits:.0} were assumed");
            assert_eq!((block, sifted_bits), (pair.report.number, pair.report.sifted_bits()));
            assert!(known_bits > 0 && float(known_bits) < assumed_bits, "{name}");
            let left =
                float(sifted_bits - known_bits) - pair.report.leakage.parities - pair.report.leakage.verification;
            assert!(float(pair.report.key_bits) < left, "{name}: more key than she does not know");
        }
    }
}

#[test]
fn blinding_is_caught_by_the_monitor_alone() {
    let mut config = metro(10.0);
    let mut link = photons(&config, SEED);
    link.set_eve(Some(Eve::blinding()));
    let (report, reason) = outcomes(&mut link, 1).pop().unwrap().unwrap_err();
    assert!(matches!(reason, DiscardReason::BrightLight { .. }), "{reason:?} {report:?}");
    // Without the monitor every figure is green, and she knows every bit: what no proof about photons excludes.
    config.device.bright_light_monitor = false;
    let mut link = photons(&config, SEED);
    link.set_eve(Some(Eve::blinding()));
    let pair = outcomes(&mut link, 1).pop().unwrap().unwrap();
    let tally = link.eve_tally();
    assert!(pair.report.qber_z < 0.03 && tally.known_bits == tally.sifted_bits, "{tally:?}");
}

#[test]
fn a_trojan_horse_is_paid_for_if_the_profile_knows_of_it() {
    let mut config = metro(10.0);
    let careless = outcomes(&mut photons(&config, SEED), 1).pop().unwrap().unwrap().report;
    config.device.trojan_photons = 1e-4;
    let mut link = photons(&config, SEED);
    link.set_eve(Some(Eve::trojan_horse(1e-4).unwrap()));
    let careful = outcomes(&mut link, 1).pop().unwrap().unwrap().report;
    let tally = link.eve_tally();
    assert!(careful.bounds.single < careless.bounds.single && tally.known_bits > 0, "{tally:?}");
    assert!(float(tally.known_bits) < tally.assumed_bits);
}

#[test]
fn honest_trouble_ends_in_words_and_heals() {
    let mut link = photons(&metro(10.0), SEED);
    link.set_trouble(Some(Trouble::FibreCut));
    let mut config = metro(10.0);
    config.block_pace = Duration::from_millis(500);
    let mut cut = photons(&config, SEED);
    cut.set_trouble(Some(Trouble::FibreCut));
    let (_, reason) = outcomes(&mut cut, 1).pop().unwrap().unwrap_err();
    assert!(
        matches!(reason, DiscardReason::TooFewDetections { .. } | DiscardReason::QberTooHigh { .. }),
        "only dark counts are left: {reason:?}"
    );
    cut.set_trouble(None);
    // The block in the making when the fibre was mended may still be a bad one.
    assert!(outcomes(&mut cut, 2).last().unwrap().is_ok(), "mended");

    let mut drifting = photons(&config, SEED);
    drifting.set_trouble(Some(Trouble::PolarisationDrift { degrees_per_minute: 240.0 }));
    let ends = outcomes(&mut drifting, 24);
    let alarm = ends.iter().find_map(|end| end.as_ref().err());
    assert!(ends[0].is_ok(), "at first nothing is to be seen");
    assert!(
        matches!(alarm, Some((_, DiscardReason::QberTooHigh { .. } | DiscardReason::NoSecretKey { .. }))),
        "{alarm:?}"
    );
}

#[test]
fn debug_shows_no_secrets() {
    let mut link = photons(&metro(10.0), SEED);
    let pair = outcomes(&mut link, 1).pop().unwrap().unwrap();
    let shown = format!("{link:?} {pair:?}");
    assert!(shown.contains("metro-625mhz") && shown.contains("secret bytes"), "{shown}");
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn entropy(p: f64) -> f64 {
    vernam_qkd::decoy::binary_entropy(p)
}
