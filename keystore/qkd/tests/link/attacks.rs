//! The rate model with every Eve and every trouble on its line: it must come to the same end as the photons do.

use std::mem::discriminant;
use std::time::Duration;

use vernam_qkd::finite::Counts;
use vernam_qkd::optics::Trouble;
use vernam_qkd::{
    BlockReport, DeviceProfile, DiscardReason, Eve, EveTally, Intensity, LinkConfig, LinkEvent, LinkState, PhotonLink,
    RateLink,
};

use super::{SEED, drain, eve, float, hours, link, metro, passed, report, secs};

/// A fast link whose blocks have `bits` sifted bits, so that photons take a moment only.
fn small_blocks(device: &str, km: f64, bits: u32) -> LinkConfig {
    let device = DeviceProfile { block_bits: bits, ..DeviceProfile::named(device).unwrap() };
    let extra_loss_db = if device.name == "gys" { 0.0 } else { 1.0 };
    LinkConfig { extra_loss_db, ..LinkConfig::new(device, km) }
}

fn city() -> LinkConfig {
    small_blocks("metro-625mhz", 10.0, 200_000)
}

/// What both models can do.
trait Model {
    fn made_from(config: &LinkConfig) -> Self;
    fn put(&mut self, eve: Option<Eve>, trouble: Option<Trouble>);
    /// The next event, whenever it comes.
    fn event(&mut self) -> LinkEvent;
    fn tally(&self) -> EveTally;
}

impl Model for RateLink {
    fn made_from(config: &LinkConfig) -> Self {
        link(config.clone())
    }
    fn put(&mut self, eve: Option<Eve>, trouble: Option<Trouble>) {
        self.set_eve(eve);
        self.set_trouble(trouble);
    }
    fn event(&mut self) -> LinkEvent {
        self.advance(self.next_event_at());
        self.poll_event().unwrap()
    }
    fn tally(&self) -> EveTally {
        self.eve_tally()
    }
}

impl Model for PhotonLink {
    fn made_from(config: &LinkConfig) -> Self {
        Self::from_seed(config.clone(), SEED).unwrap()
    }
    fn put(&mut self, eve: Option<Eve>, trouble: Option<Trouble>) {
        self.set_eve(eve);
        self.set_trouble(trouble);
    }
    fn event(&mut self) -> LinkEvent {
        loop {
            if let Some(event) = self.poll_event() {
                return event;
            }
            self.advance(self.next_event_at());
        }
    }
    fn tally(&self) -> EveTally {
        self.eve_tally()
    }
}

/// What becomes of a block.
type Outcome = Result<Box<BlockReport>, (Box<BlockReport>, DiscardReason)>;

fn next_block(model: &mut impl Model) -> Outcome {
    loop {
        match model.event() {
            LinkEvent::Block(pair) => return Ok(Box::new(pair.report)),
            LinkEvent::Discarded { report, reason } => return Err((Box::new(report), reason)),
            _ => {}
        }
    }
}

/// The first block of a link with somebody or something on it from the start, and what Eve knows of it.
fn first_block<M: Model>(config: &LinkConfig, eve: Option<Eve>, trouble: Option<Trouble>) -> (Outcome, EveTally) {
    let mut model = M::made_from(config);
    model.put(eve, trouble);
    (next_block(&mut model), model.tally())
}

#[test]
fn every_eve_and_a_cut_end_as_they_do_with_photons() {
    let unwatched = {
        let mut config = city();
        config.device.bright_light_monitor = false;
        config
    };
    let isolated = {
        let mut config = city();
        config.device.trojan_photons = 1e-4;
        config
    };
    let gys = small_blocks("gys", 50.0, 300_000);
    let half_a_second = LinkConfig { block_pace: Duration::from_millis(500), ..city() };
    let trojan = Eve::trojan_horse(1e-4).unwrap();
    let cut = Some(Trouble::FibreCut);
    for (name, config, eve, trouble) in [
        ("nobody", city(), None, None),
        ("all intercepted", city(), Some(eve(1.0)), None),
        ("a third intercepted", city(), Some(eve(0.3)), None),
        ("a fortieth intercepted", city(), Some(eve(0.025)), None),
        ("photon-number splitting", gys, Some(Eve::photon_number_splitting()), None),
        ("photon-number splitting inside a city", city(), Some(Eve::photon_number_splitting()), None),
        ("unseen splitting", city(), Some(Eve::unseen_photon_number_splitting()), None),
        ("beam splitting", city(), Some(Eve::beam_splitting()), None),
        ("blinding", city(), Some(Eve::blinding()), None),
        ("blinding without a monitor", unwatched, Some(Eve::blinding()), None),
        ("Trojan horse", isolated, Some(trojan), None),
        ("cut", half_a_second, None, cut),
    ] {
        let (fast, known) = first_block::<RateLink>(&config, eve, trouble);
        let (photons, known_by_photons) = first_block::<PhotonLink>(&config, eve, trouble);
        println!("{name}: {:?}", fast.as_ref().map_err(|(_, reason)| reason.to_string()).map(|r| r.rate_bps));
        match (fast, photons) {
            (Ok(fast), Ok(photons)) => {
                // Error correction there does better than the device's f.
                let ratio = photons.rate_bps / fast.rate_bps;
                assert!((0.9..1.5).contains(&ratio), "{name}: {ratio} times the key");
                assert!((fast.qber_z - photons.qber_z).abs() < 2e-3, "{name}: {fast:?} {photons:?}");
                // A hash of 128 bits over as many bits: one block of them more or less, if a few bits are.
                let hashes = photons.epsilon.correctness / fast.epsilon.correctness;
                let sizes = float(photons.sifted_bits()) / float(fast.sifted_bits());
                assert!((hashes / sizes - 1.0).abs() < 1e-3, "{name}: {:?} {:?}", fast.epsilon, photons.epsilon);
            }
            (Err((_, fast)), Err((_, photons))) => {
                assert_eq!(discriminant(&fast), discriminant(&photons), "{name}: {fast} -- {photons}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let share = |tally: EveTally| float(tally.known_bits) / float(tally.sifted_bits.max(1));
        let (ours, theirs) = (share(known), share(known_by_photons));
        assert!((ours - theirs).abs() < 0.01, "{name}: she knows {ours}, of photons {theirs}");
    }
}

#[test]
fn dead_time_and_afterpulses_are_the_same_to_both_models() {
    let mut config = small_blocks("metro-40mhz", 15.0, 300_000);
    config.device = DeviceProfile { dead_time_us: 10.0, detectors: 2, afterpulse: 0.03, ..config.device };
    let either = |outcome: Outcome| outcome.unwrap_or_else(|(report, _)| report);
    let fast = either(first_block::<RateLink>(&config, None, None).0);
    let photons = either(first_block::<PhotonLink>(&config, None, None).0);
    let expected = config.expect(None);
    println!("QBER {:.5}, of photons {:.5}, expected {:.5}", fast.qber_z, photons.qber_z, expected.qber);
    for report in [fast, photons] {
        let Counts { z, .. } = report.counts;
        let sigma = (expected.qber * (1.0 - expected.qber) / z.total()).sqrt();
        assert!((report.qber_z - expected.qber).abs() < 4.0 * sigma, "{} of {}", report.qber_z, expected.qber);
        let sifted = expected.sifted_bps * report.end.saturating_sub(report.start).as_secs_f64();
        assert!((float(report.sifted_bits()) - sifted).abs() < 4.0 * sifted.sqrt(), "{} of {sifted}", report.number);
        let awake = config.device.awake_share(&config.channel());
        assert!(awake < 0.8, "{awake}");
        for (k, mu) in config.device.intensities().mu.into_iter().enumerate() {
            let gain = awake * config.channel().observe(mu).gain;
            // Photons report gains of sifted bits only, half of all.
            let clicks = gain * float(report.pulses) * config.device.intensities().p[k] / 2.0;
            assert!((report.gains[k] / gain - 1.0).abs() < 4.0 / clicks.sqrt(), "{k}: {} of {gain}", report.gains[k]);
        }
    }
}

#[test]
fn growing_trouble_ends_as_it_does_with_photons() {
    /// The first block without key, and the reason; the reason of the block at the end.
    fn course<M: Model>(trouble: Trouble, blocks: u64) -> (u64, DiscardReason, DiscardReason) {
        let mut model = M::made_from(&city());
        model.put(None, Some(trouble));
        let mut reasons = Vec::new();
        loop {
            match next_block(&mut model) {
                Ok(report) => assert!(reasons.len() < 3 && report.number < blocks, "no trouble: {report:?}"),
                Err((report, reason)) => {
                    reasons.push(reason);
                    if report.number >= blocks {
                        return (reasons[0].block(), reasons[0], reason);
                    }
                }
            }
        }
    }
    let drift = Trouble::PolarisationDrift { degrees_per_minute: 480.0 };
    let rise = Trouble::RisingLoss { db_per_minute: 240.0 };
    for (trouble, blocks) in [(drift, 12), (rise, 40)] {
        let (ours, first, last) = course::<RateLink>(trouble, blocks);
        let (theirs, of_photons, last_of_photons) = course::<PhotonLink>(trouble, blocks);
        println!("{trouble}: from {ours} (photons {theirs}): {first}; at the end {last}");
        assert!(ours > 3 && ours.abs_diff(theirs) <= 2, "{trouble}: from block {ours}, with photons {theirs}");
        assert_eq!(discriminant(&first), discriminant(&of_photons), "{trouble}: {first} -- {of_photons}");
        assert_eq!(discriminant(&last), discriminant(&last_of_photons), "{trouble}: {last} -- {last_of_photons}");
    }
}

#[test]
fn photon_number_splitting_keeps_the_qber_green_and_the_decoys_catch_it() {
    let config = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 50.0);
    let splitting = Eve::photon_number_splitting();
    let (clean, tapped) = (config.expect(None), config.expect(Some(&splitting)));
    assert!((tapped.signal.gain / clean.signal.gain - 1.0).abs() < 1e-6, "the signal's gain is as ever");
    assert!((tapped.signal.qber - clean.signal.qber).abs() < 1e-3 && tapped.single.y1 <= 0.0, "{tapped:?}");
    assert!(clean.key_bps > 100.0 && tapped.key_bps <= 0.0 && tapped.asymptotic_bps <= 0.0);

    let mut link = link(config);
    let honest = next_block(&mut link).unwrap();
    link.set_eve(Some(splitting));
    let (report, reason) = next_block(&mut link).unwrap_err();
    // The decoys' gain falls from 2.022e-4 to 2.764e-5 and the dark counts.
    let (before, after) = (honest.gains[1], report.gains[1]);
    assert!((before / 2.022e-4 - 1.0).abs() < 0.01 && (after / 2.934e-5 - 1.0).abs() < 0.02, "{before} {after}");
    assert!((report.gains[0] / honest.gains[0] - 1.0).abs() < 0.01 && report.qber() < 0.036, "the QBER is green");
    assert!(matches!(reason, DiscardReason::NoSecretKey { single, .. } if single <= 0.0), "{reason:?}");
    assert!(reason.to_string().contains("decoys"), "{reason}");
    let EveTally { block, sifted_bits, known_bits, assumed_bits } = link.eve_tally();
    assert_eq!((block, sifted_bits), (2, report.sifted_bits()));
    assert!(float(known_bits) > 0.99 * float(sifted_bits) && assumed_bits >= float(sifted_bits));
}

#[test]
fn what_eve_knows_stays_below_what_privacy_amplification_assumes() {
    let splitting = Eve::photon_number_splitting();
    for (who, known_share) in [(Eve::beam_splitting(), 0.267), (splitting, 0.561), (eve(0.1), 0.05), (eve(0.05), 0.025)]
    {
        let mut link = link(metro());
        assert_eq!(link.eve_tally(), EveTally::default());
        link.set_eve(Some(who));
        link.advance(hours(2));
        let mut blocks = 0;
        while let Some(event) = link.poll_event() {
            let block = passed(event);
            let EveTally { block: number, sifted_bits, known_bits, assumed_bits } = link.eve_tally();
            assert_eq!((number, sifted_bits), (block.report.number, block.report.sifted_bits()));
            assert!(float(known_bits) < assumed_bits && assumed_bits < float(sifted_bits), "{:?}", link.eve_tally());
            let left =
                float(sifted_bits - known_bits) - block.report.leakage.parities - block.report.leakage.verification;
            assert!(float(block.report.key_bits) < left, "more key than she does not know");
            let share = float(known_bits) / float(sifted_bits);
            assert!((share - known_share).abs() < 0.005, "{who}: {share}");
            blocks += 1;
        }
        assert!(blocks > 5);
        link.set_eve(None);
        // The block in the making began with her.
        next_block(&mut link).unwrap();
        next_block(&mut link).unwrap();
        assert_eq!(link.eve_tally().known_bits, 0);
        assert!(link.eve_tally().assumed_bits > 0.0, "nobody is there, but who would know");
    }
}

#[test]
fn blinding_is_caught_by_the_monitor_alone() {
    let mut config = metro();
    config.block_pace = secs(200);
    let blinding = Eve::blinding();
    let expected = config.expect(Some(&blinding));
    assert!(expected.key_bps <= 0.0 && expected.asymptotic_bps <= 0.0 && expected.qber < 0.01, "{expected:?}");
    let mut watched = link(config.clone());
    watched.advance(secs(199));
    watched.set_eve(Some(blinding));
    watched.advance(secs(400));
    let events = drain(&mut watched);
    for event in &events {
        let LinkEvent::Discarded { report, reason } = event else { panic!("{event:?}") };
        assert!(matches!(reason, DiscardReason::BrightLight { block } if *block == report.number), "{reason:?}");
        assert!(report.eve && report.key_bits == 0 && report.counts.x.total_errors() <= 0.0);
    }
    assert_eq!(events.len(), 2, "a second of it is enough");
    assert!(matches!(watched.state(), LinkState::Alarm { reason: DiscardReason::BrightLight { .. }, .. }));
    // Without the monitor every figure is green, and she knows every bit: what no proof about photons excludes.
    config.device.bright_light_monitor = false;
    assert!(config.expect(Some(&blinding)).key_bps >= config.expect(None).key_bps);
    let mut unwatched = link(config);
    unwatched.set_eve(Some(blinding));
    assert!(next_block(&mut unwatched).unwrap().qber() < 0.01);
    let tally = unwatched.eve_tally();
    assert!(tally.known_bits == tally.sifted_bits && float(tally.known_bits) > tally.assumed_bits, "{tally:?}");
}

#[test]
fn a_trojan_horse_is_paid_for_if_the_profile_knows_of_it() {
    let mut config = metro();
    config.device.trojan_photons = 1e-4;
    for (photons, paid) in [(1e-4, true), (3.0, false)] {
        let mut link = link(config.clone());
        let trojan = Eve::trojan_horse(photons).unwrap();
        let (clean, tapped) = (config.expect(None), config.expect(Some(&trojan)));
        assert!((tapped.qber - clean.qber).abs() < 1e-12, "nothing is to be seen of her");
        assert!((tapped.key_bps - clean.key_bps).abs() < 0.1 && clean.key_bps > 0.0, "{tapped:?}");
        link.set_eve(Some(trojan));
        next_block(&mut link).unwrap();
        let EveTally { sifted_bits, known_bits, assumed_bits, .. } = link.eve_tally();
        let share = float(known_bits) / float(sifted_bits);
        assert!((share / -(-photons).exp_m1() - 1.0).abs() < 0.15, "{share}");
        assert_eq!(float(known_bits) < assumed_bits, paid, "{known_bits} of {assumed_bits}");
    }
}

#[test]
fn honest_trouble_ends_in_words_and_heals() {
    let mut config = metro();
    config.block_pace = secs(200);
    let mut link = link(config);
    let cut = Some(Trouble::FibreCut);
    link.set_trouble(cut);
    assert_eq!((link.trouble(), link.eve()), (cut, None));
    let (report, reason) = next_block(&mut link).unwrap_err();
    // 4e9 pulses, 1e-6 dark counts each: enough of them to see that they are noise.
    assert!(matches!(reason, DiscardReason::QberTooHigh { qber, .. } if qber > 0.4), "{reason:?}");
    assert!(!report.eve, "nobody was there");
    link.set_trouble(None);
    assert_eq!(link.trouble(), None);
    let healed = next_block(&mut link).unwrap();
    // Cut for half of a block: half of the bits, of which all but the noise are good.
    link.advance(link.now() + secs(100));
    link.set_trouble(cut);
    let half = next_block(&mut link).unwrap();
    assert!((float(half.sifted_bits()) / float(healed.sifted_bits()) - 0.5).abs() < 0.01, "{half:?}");
    assert!(half.qber() < 0.022, "{half:?}");
    assert!(format!("{link:?}").contains("FibreCut"));
}

#[test]
fn the_line_and_the_channel_say_the_same() {
    let uncommon = |device: DeviceProfile| DeviceProfile { mu_vacuum: 0.01, afterpulse: 0.03, ..device };
    for name in DeviceProfile::names() {
        let mut config = LinkConfig::new(uncommon(DeviceProfile::named(name).unwrap()), 30.0);
        config.background = 2e-6;
        let (line, channel, mu) = (config.line(), config.channel(), config.device.intensities().mu);
        for k in Intensity::ALL {
            let (ours, theirs) = (line.observe(k, Duration::ZERO), channel.observe(mu[k.index()]));
            assert!((ours.gain / theirs.gain - 1.0).abs() < 1e-12, "{name}: {ours:?} {theirs:?}");
            assert!((ours.qber - theirs.qber).abs() < 1e-12, "{name}: {ours:?} {theirs:?}");
            assert!((ours.intensity - mu[k.index()]).abs() < f64::EPSILON);
        }
        let (device, block) = (&config.device, config.block_time());
        let by_channel = device.expect_in_blocks(&channel, block, config.analysis, &config.security);
        let by_line = config.expect(None);
        assert!((by_line.key_bps - by_channel.key_bps).abs() <= 2.0 / block.as_secs_f64(), "{by_line:?}");
        assert!((by_line.asymptotic_bps / by_channel.asymptotic_bps - 1.0).abs() < 1e-9);
        let all: f64 = device.intensities().p.iter().zip(mu).map(|(p, mu)| p * channel.observe(mu).gain).sum();
        assert!((config.clicks_per_slot() / all - 1.0).abs() < 1e-12);
        assert!((config.slots_per_second() - device.pulse_rate_hz * device.duty).abs() < 1e-6);
        // And so do the blocks that are drawn.
        let mut drawn = link(LinkConfig { block_pace: config.block_pace.min(hours(1)), ..config });
        let block = next_block(&mut drawn).unwrap_or_else(|(report, _)| report);
        let sigma = (by_line.qber * (1.0 - by_line.qber) / float(block.sifted_bits())).sqrt();
        assert!((block.qber_x - by_line.qber).abs() < 4.0 * sigma, "{name}: {} {}", block.qber_x, by_line.qber);
    }
}

#[test]
fn changes_apply_from_the_time_they_were_made_for_all_that_may_be_on_the_line() {
    let at_once = |late: bool| {
        let mut config = metro();
        config.block_pace = secs(10);
        let mut link = link(config);
        let mut reports = Vec::new();
        for (at, eve, trouble) in [
            (20, Some(Eve::beam_splitting()), None),
            (35, None, Some(Trouble::RisingLoss { db_per_minute: 5.0 })),
            (55, Some(Eve::blinding()), None),
            (60, None, None),
            (80, None, Some(Trouble::PolarisationDrift { degrees_per_minute: 90.0 })),
        ] {
            link.advance(secs(at));
            if !late {
                reports.extend(drain(&mut link).iter().map(report).cloned());
            }
            link.put(eve, trouble);
        }
        link.advance(secs(120));
        reports.extend(drain(&mut link).iter().map(report).cloned());
        reports
    };
    let reports = at_once(false);
    assert_eq!(reports, at_once(true), "whenever the events are taken");
    let tapped: Vec<u64> = reports.iter().filter(|r| r.eve).map(|r| r.number).collect();
    assert_eq!(tapped, [3, 4, 6]);
}
