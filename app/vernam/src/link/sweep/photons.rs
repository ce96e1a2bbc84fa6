//! Runs links pulse by pulse and adds what they gave to the curves, as points with error bars.

use std::{ops::ControlFlow, time::Duration};

use vernam_qkd::{Eve, LinkConfig, LinkError};

use super::{Curve, Kind, Point, Sweep, curves::BLOCK_PULSES};
use crate::{
    cli::{LinkOptions, LinkView, ModelChoice, Speed, SweepOptions},
    link::{
        events::{Block, Event, float},
        play::play,
    },
};

/// Pulses of a block: those of the first finite-key curve, on which the points are to lie.
const PULSES: f64 = BLOCK_PULSES[0];
/// Blocks for one point, at the least and at the most.
const BLOCKS: std::ops::RangeInclusive<usize> = 4..=400;
/// Sifted bits of the test basis for one point; a block over the alarm is given up long before it is full.
const TEST_BITS: u64 = 50_000;
/// Lengths, as shares of where that curve ends.
const LENGTHS: [f64; 5] = [0.05, 0.25, 0.45, 0.65, 0.85];
/// Shares that Eve takes.
const SHARES: [f64; 11] = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0];

/// Runs the links and adds their points.
pub(super) fn measure(sweep: &mut Sweep, options: &SweepOptions) -> Result<(), LinkError> {
    let device = sweep.subject.clone();
    let slots = device.pulses_per_second();
    let on_curve = |curve: &&Curve| curve.kind == Kind::Blocks { pulses: PULSES };
    let reach =
        sweep.distance.iter().find(on_curve).and_then(|curve| curve.points.last()).map_or(0.0, |point| point.km);
    let mut points = Vec::new();
    for km in LENGTHS.map(|share| (share * reach).round()) {
        let config = LinkConfig::new(device.clone(), km);
        let blocks = run(config, PULSES / slots, None, options.seed)?;
        let (mean, spread) =
            mean_and_spread(blocks.iter().map(|block| float(block.key_bits) / (duration(block) * slots)));
        points.push(Point { km, per_pulse: mean, bps: mean * slots, spread: Some(spread), ..Point::default() });
    }
    sweep.distance.push(Curve { device: device.name.clone(), kind: Kind::Photons, points, ends: false });

    let config = LinkConfig::new(device.clone(), sweep.eve_km);
    let mut points = Vec::new();
    for share in SHARES {
        let eve = Eve::intercept_resend(share).ok().filter(|_| share > 0.0);
        let blocks = run(config.clone(), PULSES / slots, eve, options.seed)?;
        let (qber, spread) = pooled_qber(&blocks);
        let (per_pulse, _) =
            mean_and_spread(blocks.iter().map(|block| float(block.key_bits) / (duration(block) * slots)));
        let bps = per_pulse * slots;
        points.push(Point { km: sweep.eve_km, share, per_pulse, bps, qber: Some(qber), spread: Some(spread) });
    }
    sweep.eve.push(Curve { device: device.name, kind: Kind::Photons, points, ends: false });
    Ok(())
}

/// The blocks of one link, kept or not.
fn run(mut config: LinkConfig, block_seconds: f64, eve: Option<Eve>, seed: u64) -> Result<Vec<Block>, LinkError> {
    config.block_pace = Duration::try_from_secs_f64(block_seconds).unwrap_or(Duration::MAX);
    let options = LinkOptions {
        config,
        model: ModelChoice::Photons,
        eve,
        trouble: None,
        eve_at: Duration::ZERO,
        seed: Some(seed),
        duration: None,
        speed: Speed::Max,
        view: LinkView::Plain,
    };
    let mut blocks = Vec::new();
    play(
        &options,
        |_to| ControlFlow::Continue(()),
        |stamped| {
            if let Event::Block(block) | Event::Discarded(block) = stamped.event {
                blocks.push(*block);
            }
            let tested: u64 = blocks.iter().map(|block| block.sifted_z).sum();
            let enough = blocks.len() >= *BLOCKS.end() || blocks.len() >= *BLOCKS.start() && tested >= TEST_BITS;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )?;
    Ok(blocks)
}

/// QBER over all blocks, and its standard deviation. The errors of the key basis are known of kept blocks only.
fn pooled_qber(blocks: &[Block]) -> (f64, f64) {
    let counted = blocks.iter().map(|block| match block.reason {
        None => (block.errors_x + block.errors_z, block.sifted_x + block.sifted_z),
        Some(_) => (block.errors_z, block.sifted_z),
    });
    let (errors, sifted) = counted.fold((0, 0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
    let (errors, sifted) = (float(errors), float(sifted.max(1)));
    let qber = errors / sifted;
    (qber, (qber * (1.0 - qber) / sifted).sqrt())
}

fn duration(block: &Block) -> f64 {
    (block.end_s - block.start_s).max(f64::MIN_POSITIVE)
}

/// Mean, and standard deviation of the single values; both 0 without values.
fn mean_and_spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let count = float(values.len() as u64);
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_spread_of_a_sample() {
        let (mean, spread) = mean_and_spread([2.0, 4.0, 6.0].into_iter());
        assert!((mean - 4.0).abs() < 1e-12 && (spread - 2.0).abs() < 1e-12);
        assert_eq!(mean_and_spread(std::iter::empty()), (0.0, 0.0));
    }
}
