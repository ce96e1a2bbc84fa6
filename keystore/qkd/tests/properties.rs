//! What holds for every link, not just for those in the tables.

use std::time::Duration;

use proptest::prelude::*;
use vernam_qkd::decoy::{Channel, key_rate, plob_bound, two_decoys};
use vernam_qkd::finite::secret_length;
use vernam_qkd::optics::Trouble;
use vernam_qkd::{BlockReport, DeviceProfile, Eve, Leakage, LinkConfig, LinkEvent, RateLink};

/// A block's key is what its bounds leave, less what was disclosed and what authentication took, in whole bytes.
fn adds_up(report: &BlockReport, config: &LinkConfig) -> Result<(), TestCaseError> {
    let Leakage { parities, verification } = report.leakage;
    let secret = secret_length(&report.bounds, parities, verification, config.analysis, &config.security);
    prop_assert_eq!(report.key_bits, (secret - report.auth.bits) / 8 * 8);
    prop_assert!(report.auth.bits >= 384 && report.auth.tags == 3 && report.epsilon.total() < 1.1e-10);
    prop_assert!(report.bounds.vacuum + report.bounds.single <= report.counts.x.total());
    for k in 0..3 {
        prop_assert!(report.counts.x.errors[k] <= report.counts.x.detected[k]);
        prop_assert!((0.0..=1.0).contains(&report.gains[k]));
    }
    Ok(())
}

fn channels() -> impl Strategy<Value = Channel> {
    (0.0..60.0, 0.01..1.0, -9.0..-3.0, 0.0..0.2)
        .prop_map(|(loss, eta_bob, log_y0, e_d)| Channel::new(loss, eta_bob, 10f64.powf(log_y0), e_d))
}

fn profiles() -> impl Strategy<Value = DeviceProfile> {
    // Afterpulses, which are noise, leave little key: half of the time there are none.
    let troubles = prop_oneof![Just((0.0, 0.0)), (0.0..10.0, 0.0..0.1)];
    (proptest::sample::select(DeviceProfile::names().collect::<Vec<_>>()), troubles).prop_map(
        |(name, (dead_time_us, afterpulse))| {
            let device = DeviceProfile::named(name).expect("built in");
            DeviceProfile { dead_time_us, afterpulse, ..device }
        },
    )
}

/// Anybody, or nobody.
fn eves() -> impl Strategy<Value = Option<Eve>> {
    prop_oneof![
        Just(None),
        Just(Some(Eve::photon_number_splitting())),
        Just(Some(Eve::beam_splitting())),
        Just(Some(Eve::blinding())),
        (0.0..=1.0).prop_map(|share| Some(Eve::intercept_resend(share).expect("a share"))),
        (0.0..5.0).prop_map(|photons| Some(Eve::trojan_horse(photons).expect("a number of photons"))),
    ]
}

/// Anything, or nothing; speeds of any size and sign, and such as are none.
fn troubles() -> impl Strategy<Value = Option<Trouble>> {
    prop_oneof![
        Just(None),
        Just(Some(Trouble::FibreCut)),
        prop_oneof![any::<f64>(), -1e3..1e3]
            .prop_map(|speed| { Some(Trouble::PolarisationDrift { degrees_per_minute: speed }) }),
        prop_oneof![any::<f64>(), -1e3..1e3].prop_map(|speed| Some(Trouble::RisingLoss { db_per_minute: speed })),
    ]
}

proptest! {
    #[test]
    fn decoy_bounds_are_bounds(channel in channels(), mu in 0.2..1.0f64, a in 0.1..0.9f64, b in 0.0..0.9f64) {
        let nu1 = mu * a;
        let nu2 = (nu1 * b).min((mu - nu1) * 0.99);
        let (signal, single) = (channel.observe(mu), channel.single_photon());
        let bound = two_decoys(&signal, &channel.observe(nu1), &channel.observe(nu2)).unwrap();
        // A rounding error of 1e-16 in a gain is magnified as the two decoys approach each other.
        prop_assert!(bound.y1 <= single.y1 * (1.0 + 1e-6), "{bound:?} of {single:?}");
        prop_assert!(bound.e1 >= single.e1 * (1.0 - 1e-6), "{bound:?} of {single:?}");
        let ideal = channel.infinite_decoy_rate(1.0, 1.0, mu);
        prop_assert!(key_rate(1.0, 1.0, &signal, &bound) <= ideal + 1e-9 * single.y1);
        prop_assert!(ideal <= plob_bound(channel.eta));
    }

    #[test]
    fn an_eavesdropper_never_helps(device in profiles(), loss in 0.0..40.0, less in 0.0..1.0, more in 0.0..1.0) {
        let (less, more) = if less <= more { (less, more) } else { (more, less) };
        let channel = device.channel(loss);
        let with = |share| device.expect(&Eve::intercept_resend(share).unwrap().on(&channel));
        // Key from finite blocks is cut to whole bits.
        prop_assert!(with(more).key_bps <= with(less).key_bps + 1.0 / with(less).block.as_secs_f64());
        prop_assert!(with(more).asymptotic_bps <= with(less).asymptotic_bps);
        prop_assert!(with(more).signal.qber >= with(less).signal.qber);
        prop_assert!(with(1.0).asymptotic_bps <= 0.0, "who takes every pulse leaves no key");
        prop_assert!(with(1.0).key_bps <= 0.0);
    }

    #[test]
    fn no_text_makes_the_profile_reader_panic(text in "\\PC*", value in "[-+]?(nan|inf|[0-9]{1,9}(e[0-9]{1,3})?)") {
        let _ = DeviceProfile::from_toml(&text);
        let good = include_str!("../devices/metro-40mhz.toml");
        for field in ["duty = 0.5 ", "eta_bob = 0.05 ", "block_seconds = 600.0 ", "pulse_rate_hz = 40e6 "] {
            let (name, _) = field.split_once('=').expect("a setting");
            let changed = good.replace(field, &format!("{name}= {value} "));
            prop_assert_ne!(&changed, good);
            if let Ok(device) = DeviceProfile::from_toml(&changed) {
                let _ = RateLink::from_seed(LinkConfig::new(device, 10.0), 1);
            }
        }
    }

    #[test]
    fn time_runs_forward_only_and_blocks_are_in_order(
        device in profiles(),
        km in 0.0..100.0,
        pace in 100u64..2_000,
        steps in proptest::collection::vec((0u64..5_000, eves(), troubles()), 1..8),
        monitor in any::<bool>(),
    ) {
        let mut config = LinkConfig::new(DeviceProfile { bright_light_monitor: monitor, ..device }, km);
        config.block_pace = Duration::from_millis(pace);
        let mut link = RateLink::from_seed(config, 11).unwrap();
        let (mut number, mut end) = (0, Duration::ZERO);
        for (millis, eve, trouble) in steps {
            link.set_eve(eve);
            link.set_trouble(trouble);
            prop_assert_eq!(link.eve(), eve);
            link.advance(Duration::from_millis(millis));
            while let Some(event) = link.poll_event() {
                let report = match event {
                    LinkEvent::Block(block) => {
                        prop_assert_eq!(block.alice.bits.expose("test"), block.bob.bits.expose("test"));
                        adds_up(&block.report, link.config())?;
                        block.report
                    }
                    LinkEvent::Discarded { report, .. } => report,
                    other => panic!("unexpected {other:?}"),
                };
                prop_assert_eq!((report.number, report.start), (number + 1, end));
                prop_assert!(report.end <= link.now() && (0.0..=1.0).contains(&report.qber()));
                (number, end) = (report.number, report.end);
                let tally = link.eve_tally();
                prop_assert_eq!((tally.block, tally.sifted_bits), (number, report.sifted_bits()));
                prop_assert!(tally.known_bits <= tally.sifted_bits && (report.eve || tally.known_bits == 0));
                prop_assert!(tally.assumed_bits >= 0.0 && tally.assumed_bits <= report.counts.x.total());
            }
        }
    }
}
