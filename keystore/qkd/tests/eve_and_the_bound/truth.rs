//! The bounds against the truth: how many photons the pulses of a block really had, over many blocks.
//!
//! Nobody who runs a link knows that, and neither do the blocks. But every click is independent, so that given its
//! brightness, and whether its bit is wrong, the number of photons of its pulse is distributed as the channel says. The
//! truth is drawn from that after the fact, and has with the counts the distribution that it would have had at once.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use vernam_qkd::decoy::Channel;
use vernam_qkd::finite::{Analysis, BasisCounts, Bounds, Decoys, bounds};
use vernam_qkd::{BlockReport, DeviceProfile, Eve, LinkConfig, LinkEvent, PhotonLink, RateLink};

const SEED: u64 = 0x7211;

/// Blocks of each setting.
const BLOCKS: usize = 100;

/// What one basis of a block held.
#[derive(Default)]
struct Photons {
    vacuum: u64,
    single: u64,
    /// Of the single ones, those whose bit is wrong.
    wrong: u64,
}

/// Draws the photon numbers behind the counts of one basis.
fn photons(counts: &BasisCounts, mu: [f64; 3], channel: &Channel, rng: &mut ChaCha20Rng) -> Photons {
    let mut found = Photons::default();
    for (k, mean) in mu.into_iter().enumerate() {
        let (seen, single) = (channel.observe(mean), channel.single_photon());
        let (empty, one) = ((-mean).exp(), mean * (-mean).exp());
        for (clicks, error) in [(counts.detected[k] - counts.errors[k], false), (counts.errors[k], true)] {
            let of = |qber: f64| if error { qber } else { 1.0 - qber };
            let all = seen.gain * of(seen.qber);
            let from_empty = empty * channel.y0 * 0.5 / all;
            let from_one = one * single.y1 * of(single.e1) / all;
            for _ in 0..whole(clicks) {
                let drawn = rng.random::<f64>();
                if drawn < from_empty {
                    found.vacuum += 1;
                } else if drawn < from_empty + from_one {
                    found.single += 1;
                    found.wrong += u64::from(error);
                }
            }
        }
    }
    found
}

/// How near the bounds come to the truth, which they must not pass: the worst of all blocks, as bound over truth for what
/// is bounded from below, and truth over bound for the other.
#[derive(Debug, Default)]
struct Nearest {
    vacuum: f64,
    single: f64,
    phase_error: f64,
    test_single: f64,
    test_errors: f64,
}

impl Nearest {
    /// Adds a block. Its phase errors are the errors that single photons of the key basis would have had in the other,
    /// in which they err with the same probability.
    fn add(&mut self, bounds: &Bounds, [x, z]: &[Photons; 2], e1: f64, rng: &mut ChaCha20Rng) {
        let phase_errors = (0..x.single).filter(|_| rng.random::<f64>() < e1).count() as u64;
        let phase = float(phase_errors) / float(x.single.max(1));
        let below = |bound: f64, truth: u64| if bound > 0.0 { bound / float(truth).max(1e-9) } else { 0.0 };
        self.vacuum = self.vacuum.max(below(bounds.vacuum, x.vacuum));
        self.single = self.single.max(below(bounds.single, x.single));
        self.test_single = self.test_single.max(below(bounds.test_single, z.single));
        self.test_errors = self.test_errors.max(float(z.wrong) / bounds.test_errors.max(1e-9));
        self.phase_error = self.phase_error.max(phase / bounds.phase_error);
    }

    fn worst(&self) -> f64 {
        let Self { vacuum, single, phase_error, test_single, test_errors } = *self;
        [vacuum, single, phase_error, test_single, test_errors].into_iter().fold(0.0, f64::max)
    }
}

/// The next block, with key or without.
fn next_block(mut event: impl FnMut() -> Option<LinkEvent>) -> BlockReport {
    loop {
        match event() {
            Some(LinkEvent::Block(pair)) => return pair.report,
            Some(LinkEvent::Discarded { report, .. }) => return report,
            _ => {}
        }
    }
}

/// So many blocks of the fast model.
fn fast(config: &LinkConfig, eve: Option<Eve>, blocks: usize) -> impl Iterator<Item = BlockReport> {
    println!("seed {SEED:#x}");
    let mut link = RateLink::from_seed(config.clone(), SEED).unwrap();
    link.set_eve(eve);
    let block = move || {
        next_block(|| {
            link.advance(link.next_event_at());
            link.poll_event()
        })
    };
    std::iter::repeat_with(block).take(blocks)
}

/// The first block of so many links, photon by photon.
fn by_photons(config: &LinkConfig, eve: Option<Eve>, links: u64) -> impl Iterator<Item = BlockReport> {
    println!("seeds {SEED:#x} and {links} more");
    (SEED..SEED + links).map(move |seed| {
        let mut link = PhotonLink::from_seed(config.clone(), seed).unwrap();
        link.set_eve(eve);
        next_block(|| {
            link.advance(link.next_event_at());
            link.poll_event()
        })
    })
}

/// The channel that pulses meet, for attacks that leave one.
fn channel(config: &LinkConfig, eve: Option<Eve>) -> Channel {
    eve.map_or(config.channel(), |eve| eve.on(&config.channel()))
}

/// Compares blocks with their truth.
fn compare(blocks: impl Iterator<Item = BlockReport>, config: &LinkConfig, eve: Option<Eve>) -> Nearest {
    let (channel, mu) = (channel(config, eve), config.device.intensities().mu);
    let mut rng = ChaCha20Rng::seed_from_u64(SEED + 1);
    let mut nearest = Nearest::default();
    for BlockReport { counts, bounds, .. } in blocks {
        let truth = [&counts.x, &counts.z].map(|counts| photons(counts, mu, &channel, &mut rng));
        nearest.add(&bounds, &truth, channel.single_photon().e1, &mut rng);
    }
    nearest
}

fn with_blocks(device: &str, km: f64, bits: u32, decoys: Decoys) -> LinkConfig {
    let mut device = DeviceProfile { block_bits: bits, ..DeviceProfile::named(device).unwrap() };
    if decoys == Decoys::One {
        (device.p_signal, device.p_decoy) = (0.7, 0.3);
    }
    let mut config = LinkConfig::new(device, km);
    config.analysis = Analysis { decoys, ..config.analysis };
    config.block_pace = Duration::from_hours(24);
    config
}

fn hold(name: &str, nearest: &Nearest) {
    println!("{name}: {nearest:?}");
    assert!(nearest.worst() < 1.0, "{name}: a bound is on the wrong side of the truth: {nearest:?}");
    assert!(nearest.single > 0.6 && nearest.test_errors > 0.2, "{name}: bounds that say nothing: {nearest:?}");
}

#[test]
fn no_bound_of_two_decoys_is_on_the_wrong_side_of_the_truth() {
    for (device, km, bits) in [("gys", 50.0, 300_000), ("metro-40mhz", 15.0, 200_000)] {
        let config = with_blocks(device, km, bits, Decoys::Two);
        for eve in [None, Some(Eve::intercept_resend(0.02).unwrap())] {
            hold(&format!("{device}, {eve:?}"), &compare(fast(&config, eve, BLOCKS), &config, eve));
        }
    }
}

#[test]
fn no_bound_of_one_decoy_is_on_the_wrong_side_of_the_truth() {
    for (device, km, bits) in [("gys", 50.0, 300_000), ("metro-40mhz", 15.0, 200_000)] {
        let config = with_blocks(device, km, bits, Decoys::One);
        hold(&format!("{device}, one decoy"), &compare(fast(&config, None, BLOCKS), &config, None));
    }
}

#[test]
fn no_bound_of_empty_pulses_is_on_the_wrong_side_of_the_truth() {
    // Where next to nothing clicks without light, the bound is 0. Here the fibre is full of other light.
    for decoys in [Decoys::Two, Decoys::One] {
        let mut config = with_blocks("metro-40mhz", 15.0, 200_000, decoys);
        config.background = 1e-3;
        let nearest = compare(fast(&config, None, BLOCKS), &config, None);
        hold(&format!("a bright fibre, {decoys:?}"), &nearest);
        assert!(decoys == Decoys::One || nearest.vacuum > 0.5, "it says nothing: {nearest:?}");
    }
}

#[test]
fn no_bound_of_photons_is_on_the_wrong_side_of_the_truth() {
    let config = with_blocks("metro-625mhz", 10.0, 100_000, Decoys::Two);
    // The second has a photon of every pulse of several, and changes no yield.
    for eve in [None, Some(Eve::unseen_photon_number_splitting())] {
        hold(&format!("photons, {eve:?}"), &compare(by_photons(&config, eve, 15), &config, eve));
    }
}

#[test]
fn the_check_sees_decoys_that_are_not_what_they_are_said_to_be() {
    let config = with_blocks("metro-40mhz", 15.0, 1_000_000, Decoys::Two);
    let mut declared = config.device.intensities();
    declared.mu[1] *= 0.8;
    let security = config.security;
    let blocks = fast(&config, None, 5).map(|report| {
        let bounds = bounds(&declared, &report.counts, config.analysis, &security);
        BlockReport { bounds, ..report }
    });
    let nearest = compare(blocks, &config, None);
    println!("{nearest:?}");
    assert!(nearest.single > 1.0, "decoys a quarter brighter than declared go unseen: {nearest:?}");
}

#[test]
fn trojan_light_reads_no_more_single_photons_than_the_bound_leaves() {
    // Bits that she reads off pulses of several photons were given up anyway: only single photons count.
    for (photons_back, declared) in [(1e-4, true), (0.5, false)] {
        let mut config = with_blocks("metro-625mhz", 10.0, 200_000, Decoys::Two);
        config.device.trojan_photons = if declared { photons_back } else { 0.0 };
        let trojan = Some(Eve::trojan_horse(photons_back).unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(SEED + 2);
        let (channel, mu, read) = (config.channel(), config.device.intensities().mu, -(-photons_back).exp_m1());
        let mut worst = 0.0_f64;
        for report in fast(&config, trojan, BLOCKS) {
            let single = photons(&report.counts.x, mu, &channel, &mut rng).single;
            let known = (0..single).filter(|_| rng.random::<f64>() < read).count() as u64;
            worst = worst.max(float(known) / (float(single) - report.bounds.single).max(1e-9));
        }
        println!("{photons_back} photons back: at most {worst:.4} of the single photons that the bound leaves to her");
        assert_eq!(worst < 1.0, declared, "{worst}");
    }
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of whole bits")]
fn whole(count: f64) -> u64 {
    count as u64
}
