//! The rate model over virtual hours: rate, alarm, recovery, determinism, silence about the bits.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this file is tests only, also where it helps them")]

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use vernam_qkd::finite::{Analysis, Decoys, PhaseBound, Security, Tail, secret_length};
use vernam_qkd::{
    Basis, BlockPair, BlockReport, DeviceProfile, DiscardReason, Epsilon, Eve, Leakage, LinkConfig, LinkError,
    LinkEvent, LinkState, RateLink,
};

#[path = "link/attacks.rs"]
mod attacks;

const SEED: u64 = 0x5EED;

/// Blocks as in the field: a few minutes.
fn metro() -> LinkConfig {
    let mut config = LinkConfig::new(DeviceProfile::named("metro-40mhz").unwrap(), 10.0);
    config.extra_loss_db = 2.0;
    config
}

/// A block a second, and fast enough to have key in it.
fn live() -> LinkConfig {
    let device = DeviceProfile::named("metro-625mhz").unwrap();
    LinkConfig { device, block_pace: secs(1), ..metro() }
}

fn link(config: LinkConfig) -> RateLink {
    println!("seed {SEED:#x}");
    RateLink::from_seed(config, SEED).unwrap()
}

fn drain(link: &mut RateLink) -> Vec<LinkEvent> {
    std::iter::from_fn(|| link.poll_event()).collect()
}

fn report(event: &LinkEvent) -> &BlockReport {
    match event {
        LinkEvent::Block(block) => &block.report,
        LinkEvent::Discarded { report, .. } => report,
        other => panic!("unexpected {other:?}"),
    }
}

fn passed(event: LinkEvent) -> BlockPair {
    match event {
        LinkEvent::Block(block) => block,
        other => panic!("expected a block, got {other:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn eve(share: f64) -> Eve {
    Eve::intercept_resend(share).unwrap()
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn hours(n: u64) -> Duration {
    Duration::from_hours(n)
}

#[test]
fn eight_hours_yield_what_the_formulas_say() {
    let mut config = metro();
    config.block_pace = secs(60);
    let expected = config.expect(None);
    let mut link = link(config);
    link.advance(hours(8));
    let (mut blocks, mut key_bits, mut sifted, mut errors) = (0, 0, 0, 0.0);
    while let Some(event) = link.poll_event() {
        let block = passed(event);
        assert_eq!(block.alice.bits.expose("test"), block.bob.bits.expose("test"));
        assert_eq!((block.alice.number, block.bob.number), (block.report.number, block.report.number));
        assert_eq!(block.report.key_bits, 8 * block.alice.bits.len() as u64);
        blocks += 1;
        key_bits += block.report.key_bits;
        sifted += block.report.sifted_bits();
        errors += block.report.counts.x.total_errors();
    }
    assert_eq!(blocks, 8 * 60);
    let key_expected = expected.key_bps * 28_800.0;
    assert!((float(key_bits) / key_expected - 1.0).abs() < 0.003, "{key_bits} of {key_expected}");
    let sifted_expected = expected.sifted_bps * 28_800.0;
    assert!((float(sifted) - sifted_expected).abs() < 4.0 * sifted_expected.sqrt(), "{sifted} of {sifted_expected}");
    let qber = errors / float(sifted);
    let sigma = (expected.qber * (1.0 - expected.qber) / float(sifted)).sqrt();
    assert!((qber - expected.qber).abs() < 4.0 * sigma, "{qber} against {}", expected.qber);
    assert_eq!(link.state(), LinkState::Up);
}

#[test]
fn a_report_says_what_was_counted_and_what_it_came_to() {
    let mut link = link(metro());
    let expected = link.config().expect(None);
    let channel = link.config().channel();
    link.advance(link.block_time());
    let r = passed(link.poll_event().unwrap()).report;
    let pulses = 40e6 * 0.5 * link.block_time().as_secs_f64();
    assert!((float(r.pulses) - pulses).abs() <= 1.0);
    assert!((float(r.sifted_bits()) / 1e7 - 1.0).abs() < 0.002, "a full block: {}", r.sifted_bits());
    let p = [0.7, 0.2, 0.1];
    for (k, mu) in [0.54, 0.14, 0.0].into_iter().enumerate() {
        let seen = channel.observe(mu);
        let gain_sigma = (seen.gain / (pulses * p[k])).sqrt();
        assert!((r.gains[k] - seen.gain).abs() < 4.0 * gain_sigma, "gain {k}: {} of {}", r.gains[k], seen.gain);
        for (counts, share) in [(&r.counts.x, 0.25), (&r.counts.z, 0.25)] {
            let mean = pulses * p[k] * share * seen.gain;
            assert!((counts.detected[k] - mean).abs() < 4.0 * mean.sqrt() + 1.0, "{} of {mean}", counts.detected[k]);
            let wrong = mean * seen.qber;
            assert!((counts.errors[k] - wrong).abs() < 4.0 * wrong.sqrt() + 1.0, "{} of {wrong}", counts.errors[k]);
        }
    }
    assert!(r.bounds.single > 0.5 * float(r.sifted_bits()) && r.bounds.phase_error < 0.03, "{:?}", r.bounds);
    assert!((r.leakage.parities / (1.16 * 0.1394 * 1e7) - 1.0).abs() < 0.01, "{:?}", r.leakage);
    assert_eq!((r.auth.tags, r.auth.bits), (3, 384));
    assert_eq!(r.analysis, Analysis::default());
    let Leakage { parities, verification } = r.leakage;
    let secret = secret_length(&r.bounds, parities, verification, r.analysis, &Security::default());
    assert_eq!(r.key_bits, (secret - 384) / 8 * 8, "whole bytes of what authentication leaves");
    let Epsilon { secrecy, correctness, authentication } = r.epsilon;
    assert!((secrecy / 1e-10 - 1.0).abs() < 1e-9, "{secrecy}");
    // The hash is over blocks of 128 bits and one with their number.
    let hashed = float(r.sifted_bits().div_ceil(128) + 1);
    assert!((correctness / (hashed * 0.5f64.powi(128)) - 1.0).abs() < 1e-12, "{correctness}");
    assert!(correctness < Security::default().eps_cor);
    assert!(authentication > 0.0 && authentication < 1e-30);
    assert!((r.rate_bps / expected.key_bps - 1.0).abs() < 0.03, "{} of {}", r.rate_bps, expected.key_bps);
}

#[test]
fn dead_time_takes_the_same_off_every_count() {
    let mut config = live();
    config.device.dead_time_us = 10.0;
    let awake = config.device.awake_share(&config.channel());
    assert!(awake < 0.5, "{awake}");
    let expected = config.expect(None);
    let mut link = link(config);
    link.advance(secs(1));
    let r = report(&link.poll_event().unwrap()).clone();
    let sifted = float(r.sifted_bits());
    assert!((sifted - expected.sifted_bps).abs() < 4.0 * sifted.sqrt(), "{sifted} of {}", expected.sifted_bps);
    let signal = awake * expected.signal.gain;
    assert!((r.gains[0] / signal - 1.0).abs() < 0.01, "{} of {signal}", r.gains[0]);
}

#[test]
fn the_bits_are_balanced() {
    let mut link = link(metro());
    link.advance(hours(1));
    let (mut ones, mut bits) = (0u64, 0u64);
    for event in drain(&mut link) {
        let block = passed(event);
        ones += block.bob.bits.expose("test").iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        bits += block.report.key_bits;
    }
    assert!(bits > 30_000_000);
    assert!((float(ones) - float(bits) / 2.0).abs() < 4.0 * float(bits).sqrt() / 2.0, "{ones} ones in {bits}");
}

#[test]
fn block_scatter_is_binomial() {
    let mut link = link(live());
    let expected = link.config().expect(None).qber;
    link.advance(secs(600));
    let (mut squares, mut blocks) = ([0.0; 2], 0.0);
    for event in drain(&mut link) {
        let r = report(&event);
        let deviation = |qber: f64, bits: f64| (qber - expected).powi(2) / (expected * (1.0 - expected) / bits);
        squares[0] += deviation(r.qber_x, r.counts.x.total());
        squares[1] += deviation(r.qber_z, r.counts.z.total());
        blocks += 1.0;
    }
    for sum in squares {
        let mean: f64 = sum / blocks;
        assert!((mean - 1.0).abs() < 4.0 * (2.0 / blocks).sqrt(), "the squared deviation is {mean} variances");
    }
}

#[test]
fn eve_adds_a_quarter_of_what_she_takes() {
    for share in [0.5, 1.0] {
        let mut link = link(live());
        let e = link.config().expect(None).qber;
        link.set_eve(Some(eve(share)));
        link.advance(secs(60));
        let (mut tested, mut errors) = (0.0, 0.0);
        for event in drain(&mut link) {
            let r = report(&event);
            assert!(r.eve && r.key_bits == 0 && matches!(event, LinkEvent::Discarded { .. }));
            assert_eq!((r.qber_x, r.counts.x.total_errors()), (r.qber_z, 0.0), "the key basis was never corrected");
            assert!((r.epsilon.secrecy - 1.0).abs() < f64::EPSILON);
            tested += r.counts.z.total();
            errors += r.counts.z.total_errors();
        }
        let qber = errors / tested;
        let expected = e + share / 4.0 * (1.0 - 2.0 * e);
        let sigma = (expected * (1.0 - expected) / tested).sqrt();
        assert!((qber - expected).abs() < 4.0 * sigma, "{qber} against {expected}");
        assert!((qber - share / 4.0).abs() < 0.02);
    }
}

#[test]
fn alarm_and_recovery() {
    let mut link = link(live());
    assert_eq!(link.state(), LinkState::Starting);
    link.advance(secs(11));
    assert_eq!(drain(&mut link).len(), 11);
    assert_eq!(link.state(), LinkState::Up);

    link.set_eve(Some(eve(1.0)));
    link.advance(secs(13));
    let events = drain(&mut link);
    let LinkEvent::Discarded { reason, report } = &events[0] else { panic!("{events:?}") };
    let DiscardReason::QberTooHigh { block: 12, basis: Basis::Z, qber, threshold } = *reason else {
        panic!("{reason:?}")
    };
    assert!(qber > 0.22 && (threshold - 0.11).abs() < f64::EPSILON && report.number == 12);
    let text = reason.to_string();
    assert!(text.contains("in block 12, threshold 11 %: the line is being read"), "{text}");
    let LinkState::Alarm { since, reason } = link.state() else { panic!("{:?}", link.state()) };
    assert_eq!((since, reason.block()), (secs(12), 13));

    link.set_eve(None);
    link.advance(secs(14));
    let block = passed(link.poll_event().unwrap());
    assert!(block.report.number == 14 && !block.report.eve && block.report.key_bits > 0);
    assert_eq!(block.report.auth.bits, 3 * 384, "the tags of the two discarded blocks are paid back");
    link.advance(secs(15));
    assert_eq!(passed(link.poll_event().unwrap()).report.auth.bits, 384);
    assert_eq!(link.state(), LinkState::Up);
}

#[test]
fn after_a_long_alarm_key_comes_at_once() {
    let mut link = link(live());
    link.set_eve(Some(eve(1.0)));
    link.advance(secs(1_000));
    assert!(drain(&mut link).iter().all(|event| matches!(event, LinkEvent::Discarded { .. })));
    link.set_eve(None);
    link.advance(secs(1_010));
    let owed: u64 = drain(&mut link)
        .into_iter()
        .map(passed)
        .map(|b| {
            assert!(b.report.key_bits + 8 > b.report.auth.bits - 384, "at most half goes to what is owed");
            b.report.auth.bits - 384
        })
        .sum();
    assert_eq!(owed, 1_000 * 384);
}

#[test]
fn a_little_eavesdropping_costs_rate_and_raises_no_alarm() {
    let config = metro();
    let (clean, tapped) = (config.expect(None), config.expect(Some(&eve(0.05))));
    assert!(tapped.key_bps > 0.0 && tapped.key_bps < 0.8 * clean.key_bps, "{} of {}", tapped.key_bps, clean.key_bps);
    let mut link = link(config);
    link.set_eve(Some(eve(0.05)));
    link.advance(hours(2));
    let rates: Vec<f64> = drain(&mut link).into_iter().map(|event| passed(event).report.rate_bps).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few blocks")]
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!((mean / tapped.key_bps - 1.0).abs() < 0.01, "{mean} against {}", tapped.key_bps);
}

#[test]
fn below_the_alarm_there_may_be_no_key_all_the_same() {
    let mut link = link(live());
    link.set_eve(Some(eve(0.3)));
    link.advance(secs(1));
    let Some(LinkEvent::Discarded { reason, report }) = link.poll_event() else { panic!("a block without key passed") };
    assert!(matches!(reason, DiscardReason::NoSecretKey { single, .. } if single > 10_000.0), "{reason:?}");
    assert!(report.counts.x.total_errors() > 0.0 && report.leakage.parities > 0.0, "it was corrected");
}

#[test]
fn eve_for_half_a_block_is_half_an_eve() {
    let mut config = metro();
    config.block_pace = secs(200);
    let mut link = link(config);
    let e = link.config().expect(None).qber;
    link.advance(secs(50));
    link.set_eve(Some(eve(0.8)));
    link.advance(secs(150));
    link.set_eve(None);
    link.advance(secs(400));
    let events = drain(&mut link);
    let (first, second) = (report(&events[0]), report(&events[1]));
    let sigma = (0.12 * 0.88 / first.counts.z.total()).sqrt();
    assert!((first.qber_z - e - 0.1 * (1.0 - 2.0 * e)).abs() < 4.0 * sigma, "{}", first.qber_z);
    assert!(first.eve && !second.eve && second.qber() < 0.03);
}

#[test]
fn changes_apply_from_the_time_they_were_made_even_if_events_are_taken_later() {
    let mut link = link(live());
    link.advance(secs(5));
    link.set_eve(Some(eve(1.0)));
    link.advance(secs(8));
    link.set_eve(None);
    assert_eq!(link.eve(), None);
    link.advance(secs(10));
    let tapped: Vec<u64> = drain(&mut link).iter().map(report).filter(|r| r.eve).map(|r| r.number).collect();
    assert_eq!(tapped, [6, 7, 8]);
}

#[test]
fn a_seed_decides_everything_and_steps_decide_nothing() {
    let run = |seed: u64, steps: &[u64]| -> Vec<(BlockReport, Vec<u8>)> {
        let mut link = RateLink::from_seed(live(), seed).unwrap();
        let mut all = Vec::new();
        for step in steps {
            link.advance(Duration::from_millis(*step));
            for event in drain(&mut link) {
                let block = passed(event);
                all.push((block.report, block.alice.bits.expose("test").to_vec()));
            }
        }
        all
    };
    let at_once = run(7, &[10_000]);
    assert_eq!(at_once, run(7, &[300, 999, 1_000, 4_500, 4_000, 10_000]));
    assert_ne!(at_once, run(8, &[10_000]));
    assert_eq!(at_once.len(), 10);
}

#[test]
fn blocks_come_when_they_are_due() {
    let mut link = RateLink::new(live(), ChaCha20Rng::seed_from_u64(3)).unwrap();
    assert_eq!(link.next_event_at(), secs(1));
    link.advance(Duration::from_millis(999));
    assert!(link.poll_event().is_none());
    link.advance(secs(1));
    let first = passed(link.poll_event().unwrap()).report;
    assert_eq!((first.number, first.start, first.end), (1, Duration::ZERO, secs(1)));
    assert!(link.poll_event().is_none());
    assert_eq!(link.next_event_at(), secs(2));
}

#[test]
fn a_slow_link_waits_until_it_can_judge_the_qber() {
    let mut config = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 120.0);
    config.block_pace = secs(1);
    let mut link = link(config);
    assert!(link.block_time() > secs(20), "{:?}", link.block_time());
    link.advance(hours(1));
    for event in drain(&mut link) {
        let r = report(&event);
        assert!(r.counts.z.total() > 1_800.0 && r.counts.z.total() < 2_200.0, "{:?}", r.counts.z);
        // So short a block holds no key, over whatever line.
        assert!(matches!(event, LinkEvent::Discarded { reason: DiscardReason::NoSecretKey { .. }, .. }), "{event:?}");
    }
}

#[test]
fn a_long_line_gives_key_from_long_blocks() {
    let config = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 105.0);
    let expected = config.expect(None);
    assert!(expected.key_bps > 5.0 && expected.key_bps < 0.8 * expected.asymptotic_bps, "{expected:?}");
    let mut link = link(config);
    assert_eq!(link.block_time(), hours(24));
    link.advance(hours(24 * 30));
    let bits: u64 = drain(&mut link).into_iter().map(|event| passed(event).report.key_bits).sum();
    assert!((float(bits) / (30.0 * 86_400.0 * expected.key_bps) - 1.0).abs() < 0.03, "{bits}");
}

#[test]
fn too_long_a_line_gives_reasons_and_no_key() {
    for (km, wanted) in [(130.0, "nothing secret is left"), (200.0, "threshold 11 %")] {
        let mut link = link(LinkConfig::new(DeviceProfile::named("gys").unwrap(), km));
        link.advance(hours(24));
        let Some(LinkEvent::Discarded { reason, .. }) = link.poll_event() else { panic!("{km} km gave key") };
        assert!(reason.to_string().contains(wanted), "{reason}");
    }
    let dark = DeviceProfile { y0: 0.0, ..DeviceProfile::named("gys").unwrap() };
    let mut link = link(LinkConfig::new(dark, 400.0));
    link.advance(hours(24));
    let Some(LinkEvent::Discarded { reason, report }) = link.poll_event() else { panic!("400 km gave key") };
    assert!(matches!(reason, DiscardReason::TooFewDetections { .. }), "{reason}");
    assert!((0.0..=0.5).contains(&report.qber()));
}

#[test]
fn every_analysis_gives_key_and_says_which_it_was() {
    let mut rates = Vec::new();
    for decoys in [Decoys::Two, Decoys::One] {
        for tail in [Tail::Chernoff, Tail::Hoeffding] {
            for phase in [PhaseBound::Gamma, PhaseBound::Serfling] {
                let analysis = Analysis { decoys, tail, phase };
                let mut link = link(LinkConfig { analysis, ..metro() });
                link.advance(link.block_time());
                let r = passed(link.poll_event().unwrap()).report;
                assert_eq!(r.analysis, analysis);
                rates.push(r.rate_bps);
            }
        }
    }
    assert!(rates[1..].iter().all(|rate| *rate < rates[0]), "the default gives the most key: {rates:?}");
}

#[test]
fn traffic_in_the_fibre_reflected_light_and_caution_cost_key() {
    let config = metro();
    let clean = config.expect(None);
    let beside = LinkConfig { background: 1e-5, ..config.clone() }.expect(None);
    assert!(beside.qber > clean.qber + 3e-4 && beside.key_bps < 0.99 * clean.key_bps, "{beside:?}");
    let device = DeviceProfile { trojan_photons: 1e-4, ..config.device.clone() };
    let leaky = LinkConfig { device, ..config.clone() };
    let expected = leaky.expect(None);
    assert!((expected.qber - clean.qber).abs() < 1e-12, "nobody sees it in the QBER");
    assert!(expected.key_bps < 0.97 * clean.key_bps && expected.key_bps > 0.0, "{expected:?}");
    let mut link = link(leaky);
    link.advance(link.block_time());
    let rate = passed(link.poll_event().unwrap()).report.rate_bps;
    assert!((rate / expected.key_bps - 1.0).abs() < 0.05, "{rate} of {}", expected.key_bps);
    let security = Security { eps_sec: 1e-20, eps_cor: 1e-15 };
    let careful = LinkConfig { security, ..config }.expect(None);
    assert!(careful.key_bps < clean.key_bps && careful.key_bps > 0.9 * clean.key_bps, "{careful:?}");
}

#[test]
fn a_link_that_makes_no_sense_is_refused_in_words() {
    let good = metro();
    let refuse = |config: LinkConfig| RateLink::from_seed(config, 1).unwrap_err();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(refuse(LinkConfig { length_km: bad, ..good.clone() }).to_string().contains("length_km"));
        assert!(refuse(LinkConfig { extra_loss_db: bad, ..good.clone() }).to_string().contains("extra_loss_db"));
        assert!(refuse(LinkConfig { qber_alarm: bad, ..good.clone() }).to_string().contains("0.11 is usual"));
        let device = DeviceProfile { eta_bob: bad, ..good.device.clone() };
        assert!(matches!(refuse(LinkConfig { device, ..good.clone() }), LinkError::Profile(_)));
    }
    assert!(refuse(LinkConfig { block_pace: Duration::ZERO, ..good.clone() }).to_string().contains("block_pace"));
    for bad in [-1e-9, 0.5, f64::NAN] {
        assert!(refuse(LinkConfig { background: bad, ..good.clone() }).to_string().contains("background"));
        let security = Security { eps_sec: bad, ..Security::default() };
        assert!(refuse(LinkConfig { security, ..good.clone() }).to_string().contains("eps_sec"));
    }
    let device = DeviceProfile { p_decoy: 0.3, ..good.device.clone() };
    let no_vacuum = LinkConfig { device, ..good };
    assert!(refuse(no_vacuum.clone()).to_string().contains("two decoys"), "{}", refuse(no_vacuum.clone()));
    let analysis = Analysis { decoys: Decoys::One, ..Analysis::default() };
    assert!(RateLink::from_seed(LinkConfig { analysis, ..no_vacuum }, 1).is_ok());
}

#[test]
fn nothing_printed_holds_a_bit_of_key() {
    let mut link = link(live());
    link.advance(secs(20));
    let events = drain(&mut link);
    let shown = format!("{events:?} {link:?} {events:#?}");
    for event in events {
        let block = passed(event);
        let bits = block.alice.bits.expose("test");
        assert!(bits.len() > 1000);
        for window in bits.chunks_exact(8).take(4) {
            let decimal = window.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            let hex = window.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            assert!(!shown.contains(&decimal) && !shown.to_lowercase().contains(&hex));
        }
    }
}

#[test]
fn a_link_on_the_systems_randomness_differs_each_time() {
    let first = || {
        let mut link = RateLink::from_os_randomness(live()).unwrap();
        link.advance(secs(1));
        passed(link.poll_event().unwrap()).alice.bits.expose("test").to_vec()
    };
    assert_ne!(first(), first());
}
