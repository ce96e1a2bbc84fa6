//! A link over virtual hours: rate, alarm, recovery, determinism, silence about the bits.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this file is tests only, also where it helps them")]

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use vernam_qkd::{
    BlockPair, BlockReport, DeviceProfile, DiscardReason, Eve, LIVE_BLOCK_PACE, LinkConfig, LinkError, LinkEvent,
    LinkState, RateLink,
};

const SEED: u64 = 0x5EED;

fn metro() -> LinkConfig {
    let mut config = LinkConfig::new(DeviceProfile::named("metro-40mhz").unwrap(), 10.0);
    config.extra_loss_db = 2.0;
    config.block_pace = LIVE_BLOCK_PACE;
    config
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
fn eight_hours_yield_what_the_formula_says_to_the_byte() {
    let config = metro();
    let expected = config.expect(None);
    let mut link = link(config);
    link.advance(hours(8));
    let (mut blocks, mut key_bits, mut sifted, mut errors) = (0, 0, 0, 0);
    while let Some(event) = link.poll_event() {
        let block = passed(event);
        assert_eq!(block.alice.bits.expose("test"), block.bob.bits.expose("test"));
        assert_eq!((block.alice.number, block.bob.number), (block.report.number, block.report.number));
        assert_eq!(block.report.key_bits, 8 * block.alice.bits.len() as u64);
        blocks += 1;
        key_bits += block.report.key_bits;
        sifted += block.report.sifted_bits;
        errors += block.report.error_bits;
    }
    assert_eq!(blocks, 8 * 3600);
    assert!((float(key_bits) - expected.key_bps * 28_800.0).abs() < 8.0, "the fraction of a byte is carried");
    let sifted_expected = expected.sifted_bps * 28_800.0;
    // Each block drops a fraction of a pulse, far below the scatter.
    assert!((float(sifted) - sifted_expected).abs() < 4.0 * sifted_expected.sqrt(), "{sifted} of {sifted_expected}");
    let qber = float(errors) / float(sifted);
    let sigma = (expected.signal.qber * (1.0 - expected.signal.qber) / float(sifted)).sqrt();
    assert!((qber - expected.signal.qber).abs() < 4.0 * sigma, "{qber} against {}", expected.signal.qber);
    assert_eq!(link.state(), LinkState::Up);
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
    assert!((float(ones) - float(bits) / 2.0).abs() < 4.0 * float(bits).sqrt() / 2.0, "{ones} ones in {bits}");
}

#[test]
fn block_scatter_is_binomial() {
    let mut link = link(metro());
    let expected = link.config().expect(None).signal.qber;
    link.advance(hours(1));
    let events = drain(&mut link);
    let z_squared = |event: &LinkEvent| {
        let r = report(event);
        (r.qber - expected).powi(2) / (expected * (1.0 - expected) / float(r.sifted_bits))
    };
    let mean = events.iter().map(z_squared).sum::<f64>() / 3600.0;
    assert!((mean - 1.0).abs() < 4.0 * (2.0f64 / 3600.0).sqrt(), "the squared deviation is {mean} variances");
}

#[test]
fn eve_adds_a_quarter_of_what_she_takes() {
    for share in [0.5, 1.0] {
        let mut link = link(metro());
        let e = link.config().expect(None).signal.qber;
        link.set_eve(Some(eve(share)));
        link.advance(secs(600));
        let (mut sifted, mut errors) = (0, 0);
        for event in drain(&mut link) {
            let r = report(&event);
            assert!(r.eve && r.key_bits == 0 && matches!(event, LinkEvent::Discarded { .. }));
            sifted += r.sifted_bits;
            errors += r.error_bits;
        }
        let qber = float(errors) / float(sifted);
        let expected = e + share / 4.0 * (1.0 - 2.0 * e);
        let sigma = (expected * (1.0 - expected) / float(sifted)).sqrt();
        assert!((qber - expected).abs() < 4.0 * sigma, "{qber} against {expected}");
        assert!((qber - share / 4.0).abs() < 0.02);
    }
}

#[test]
fn alarm_and_recovery() {
    let mut link = link(metro());
    assert_eq!(link.state(), LinkState::Starting);
    link.advance(secs(11));
    assert_eq!(drain(&mut link).len(), 11);
    assert_eq!(link.state(), LinkState::Up);

    link.set_eve(Some(eve(1.0)));
    link.advance(secs(13));
    let events = drain(&mut link);
    let LinkEvent::Discarded { reason, report } = &events[0] else { panic!("{events:?}") };
    let DiscardReason::QberTooHigh { block: 12, qber, threshold } = *reason else { panic!("{reason:?}") };
    assert!(qber > 0.22 && (threshold - 0.11).abs() < f64::EPSILON && report.number == 12);
    let text = reason.to_string();
    assert!(text.contains("in block 12, threshold 11 %: the line is being read"), "{text}");
    let LinkState::Alarm { since, reason } = link.state() else { panic!("{:?}", link.state()) };
    assert_eq!((since, reason.block()), (secs(12), 13));

    link.set_eve(None);
    link.advance(secs(14));
    let block = passed(link.poll_event().unwrap());
    assert!(block.report.number == 14 && !block.report.eve && block.report.key_bits > 0);
    assert_eq!(link.state(), LinkState::Up);
}

#[test]
fn a_little_eavesdropping_costs_rate_and_raises_no_alarm() {
    let config = metro();
    let (clean, tapped) = (config.expect(None), config.expect(Some(&eve(0.05))));
    assert!(tapped.key_bps > 0.0 && tapped.key_bps < 0.8 * clean.key_bps, "{} of {}", tapped.key_bps, clean.key_bps);
    let mut link = link(config);
    link.set_eve(Some(eve(0.05)));
    link.advance(secs(60));
    let key: u64 = drain(&mut link).into_iter().map(|event| passed(event).report.key_bits).sum();
    assert!((float(key) - 60.0 * tapped.key_bps).abs() < 8.0);
}

#[test]
fn below_the_alarm_there_may_be_no_key_all_the_same() {
    let mut link = link(metro());
    link.set_eve(Some(eve(0.3)));
    link.advance(secs(1));
    let Some(LinkEvent::Discarded { reason, .. }) = link.poll_event() else { panic!("a block without key passed") };
    assert!(matches!(reason, DiscardReason::NoSecretKey { .. }), "{reason}");
}

#[test]
fn eve_for_half_a_block_is_half_an_eve() {
    let mut config = metro();
    config.block_pace = secs(600);
    let mut link = link(config);
    let e = link.config().expect(None).signal.qber;
    link.advance(secs(150));
    link.set_eve(Some(eve(0.8)));
    link.advance(secs(450));
    link.set_eve(None);
    link.advance(secs(1200));
    let events = drain(&mut link);
    let (first, second) = (report(&events[0]), report(&events[1]));
    let sigma = (0.12 * 0.88 / float(first.sifted_bits)).sqrt();
    assert!((first.qber - e - 0.1 * (1.0 - 2.0 * e)).abs() < 4.0 * sigma, "{}", first.qber);
    assert!(first.eve && !second.eve && second.qber < 0.03);
}

#[test]
fn changes_apply_from_the_time_they_were_made_even_if_events_are_taken_later() {
    let mut link = link(metro());
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
        let mut link = RateLink::from_seed(metro(), seed).unwrap();
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
    let mut link = RateLink::new(metro(), ChaCha20Rng::seed_from_u64(3)).unwrap();
    assert_eq!(link.next_block_at(), secs(1));
    link.advance(Duration::from_millis(999));
    assert!(link.poll_event().is_none());
    link.advance(secs(1));
    let first = passed(link.poll_event().unwrap()).report;
    assert_eq!((first.number, first.start, first.end), (1, Duration::ZERO, secs(1)));
    assert!(link.poll_event().is_none());
    assert_eq!(link.next_block_at(), secs(2));
}

#[test]
fn a_slow_link_waits_until_it_can_judge_the_qber() {
    let mut config = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 120.0);
    config.block_pace = LIVE_BLOCK_PACE;
    let mut link = link(config);
    assert!(link.block_time() > secs(20), "{:?}", link.block_time());
    link.advance(hours(24));
    let events = drain(&mut link);
    let bits: u64 = events.into_iter().map(|event| passed(event).report.key_bits).sum();
    // 8.737 b/s, decoy-bb84-gys.csv; the block in the making is not in it.
    assert!((float(bits) / (86_400.0 * 8.737) - 1.0).abs() < 0.002, "{bits}");
}

#[test]
fn too_long_a_line_gives_reasons_and_no_key() {
    for (km, wanted) in [(145.0, "nothing secret is left"), (200.0, "threshold 11 %")] {
        let mut link = link(LinkConfig::new(DeviceProfile::named("gys").unwrap(), km));
        link.advance(hours(2));
        let Some(LinkEvent::Discarded { reason, .. }) = link.poll_event() else { panic!("{km} km gave key") };
        assert!(reason.to_string().contains(wanted), "{reason}");
    }
    let dark = DeviceProfile { y0: 0.0, ..DeviceProfile::named("gys").unwrap() };
    let mut link = link(LinkConfig::new(dark, 400.0));
    link.advance(hours(2));
    let Some(LinkEvent::Discarded { reason, report }) = link.poll_event() else { panic!("400 km gave key") };
    assert!(matches!(reason, DiscardReason::TooFewDetections { .. }), "{reason}");
    assert!((0.0..=0.5).contains(&report.qber));
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
    let mut huge = LinkConfig::new(DeviceProfile::named("lab-1ghz").unwrap(), 0.0);
    huge.block_pace = hours(24);
    assert!(refuse(huge).to_string().contains("128 MiB"));
}

#[test]
fn nothing_printed_holds_a_bit_of_key() {
    let mut link = link(metro());
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
        let mut link = RateLink::from_os_randomness(metro()).unwrap();
        link.advance(secs(1));
        passed(link.poll_event().unwrap()).alice.bits.expose("test").to_vec()
    };
    assert_ne!(first(), first());
}

/// Not a measure of speed, which the machine decides, but of its kind: a night must not take minutes.
#[test]
fn a_night_is_made_in_moments() {
    let mut link = link(metro());
    let began = Instant::now();
    link.advance(hours(8));
    let mut bytes = 0;
    while let Some(event) = link.poll_event() {
        bytes += passed(event).bob.bits.len();
    }
    println!("{bytes} bytes of key in {:?}", began.elapsed());
    assert!(bytes > 30_000_000);
    assert!(began.elapsed() < secs(60));
}
