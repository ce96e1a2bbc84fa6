//! The numbers behind the pictures: asks the library and keeps what it says.

use std::time::Duration;

use vernam_qkd::{
    DeviceProfile, Eve, LinkConfig,
    decoy::{key_rate, plob_bound, transmittance, two_decoys},
    published,
};

use super::Row;
use crate::{
    cli::{DEFAULT_DEVICE, DEFAULT_LENGTH_KM, SweepOptions},
    link::words,
};

/// Points of a curve.
const POINTS: u32 = 400;
/// Pulses of the blocks whose finite key is drawn.
pub(super) const BLOCK_PULSES: [f64; 4] = [1e9, 1e10, 1e11, 1e12];
/// Where no device has key at any distance the picture still shows this much, km.
const LEAST_KM: f64 = 10.0;
/// No picture is longer, km.
const MOST_KM: f64 = 1_000.0;

/// Everything that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Longest distance, km.
    pub to_km: f64,
    /// The device of the finite-key curves and of the picture with Eve.
    pub subject: DeviceProfile,
    /// Length of the line in the picture with Eve, km.
    pub eve_km: f64,
    /// QBER at which key is thrown away.
    pub threshold: f64,
    /// Key rate against distance.
    pub distance: Vec<Curve>,
    /// QBER and key rate against the share that Eve intercepts.
    pub eve: Vec<Curve>,
    /// Where the key of the GYS link ends in the paper, km; if that device is drawn.
    pub published_end_km: Option<f64>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the device.
    pub device: String,
    /// What it shows.
    pub kind: Kind,
    /// Its points, in rising order of distance or share.
    pub points: Vec<Point>,
    /// Whether there is no key beyond the last of them.
    pub ends: bool,
}

/// What a curve shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Key from endless blocks.
    Endless,
    /// Key from blocks of so many pulses.
    Blocks {
        /// Pulses in a block.
        pulses: f64,
    },
    /// Key from the blocks that the device makes in the field.
    Field,
    /// Key per signal pulse from endless blocks, decoys left out of the count, as the literature has it.
    Signals,
    /// Reference figures for that.
    Reference,
    /// What no link without a repeater can exceed.
    Plob,
    /// What a link gave that was run pulse by pulse.
    Photons,
}

/// One point.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Distance.
    pub km: f64,
    /// Share of the pulses that Eve intercepts.
    pub share: f64,
    /// Key bits per pulse sent.
    pub per_pulse: f64,
    /// Key bits a second.
    pub bps: f64,
    /// QBER of the key basis.
    pub qber: Option<f64>,
    /// Standard deviation of what was measured.
    pub spread: Option<f64>,
}

impl Sweep {
    /// Asks the library for every curve.
    pub fn of(options: &SweepOptions) -> Self {
        let devices = &options.devices;
        let usual = devices.iter().find(|device| device.name == DEFAULT_DEVICE);
        let subject = usual.or(devices.first()).expect("the command line asks for one device at least").clone();
        let to_km = options.to_km.unwrap_or_else(|| {
            let last = devices.iter().map(last_key_km).fold(LEAST_KM, f64::max);
            (last * 1.05 / 10.0).ceil() * 10.0
        });
        let mut distance: Vec<Curve> = devices
            .iter()
            .flat_map(|device| [(device, Kind::Endless), (device, Kind::Field)])
            .chain(BLOCK_PULSES.map(|pulses| (&subject, Kind::Blocks { pulses })))
            .map(|(device, kind)| Curve::over_distance(device, kind, to_km))
            .collect();
        distance.push(Curve {
            device: subject.name.clone(),
            kind: Kind::Plob,
            points: plob(&subject, to_km),
            ends: false,
        });
        let gys = devices.iter().find(|device| device.name == "gys");
        if let Some(gys) = gys {
            distance.extend([Curve::over_distance(gys, Kind::Signals, to_km), reference(gys, to_km)]);
        }
        distance.retain(|curve| !curve.points.is_empty());
        let eve_km = DEFAULT_LENGTH_KM;
        let eve = [Kind::Endless, Kind::Blocks { pulses: BLOCK_PULSES[0] }]
            .map(|kind| Curve::over_shares(&subject, kind, eve_km))
            .into();
        let threshold = LinkConfig::new(subject.clone(), eve_km).qber_alarm;
        let published_end_km = gys.and_then(|_| published::gys_cutoff_km()).filter(|km| *km <= to_km);
        Self { to_km, subject, eve_km, threshold, distance, eve, published_end_km }
    }

    /// Every point of every curve.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let distance = self.distance.iter().map(|curve| ("key-rate", curve));
        distance.chain(self.eve.iter().map(|curve| ("qber-eve", curve))).flat_map(|(picture, curve)| {
            curve.points.iter().map(move |point| Row {
                picture,
                curve: curve.kind.name(),
                device: &curve.device,
                length_km: point.km,
                eve_share: point.share,
                bits_per_pulse: point.per_pulse,
                rate_bps: point.bps,
                qber: point.qber,
                spread: point.spread,
            })
        })
    }

    /// What there is to see, in words.
    pub fn words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for curve in self.distance.iter().filter(|curve| curve.kind == Kind::Endless || curve.kind == Kind::Field) {
            let Some(first) = curve.points.first() else { continue };
            let end = curve.points.last().map_or(0.0, |point| point.km);
            let blocks = if curve.kind == Kind::Field { "blocks as in the field" } else { "endless blocks" };
            let reach =
                if end < self.to_km { format!("key ends at {end:.1} km") } else { "key all the way".to_owned() };
            let name = &curve.device;
            lines.push(format!("{name}, {blocks}: {} at {} km, {reach}", words::rate(first.bps), first.km));
        }
        let ends = self
            .eve
            .iter()
            .find(|curve| curve.kind == Kind::Endless)
            .and_then(|curve| curve.points.iter().rev().find(|point| point.bps > 0.0).map(|point| point.share));
        if let Some(share) = ends {
            let (name, km) = (&self.subject.name, self.eve_km);
            lines.push(format!("{name} over {km} km: no key once Eve intercepts more than {:.1} %", share * 100.0));
        }
        lines
    }
}

impl Kind {
    /// As the numbers name it.
    fn name(self) -> String {
        match self {
            Self::Endless => "endless".to_owned(),
            Self::Blocks { pulses } => format!("blocks-{pulses:e}"),
            Self::Field => "field".to_owned(),
            Self::Signals => "signals".to_owned(),
            Self::Reference => "reference".to_owned(),
            Self::Plob => "plob".to_owned(),
            Self::Photons => "photons".to_owned(),
        }
    }
}

impl Curve {
    /// Key rate of a device up to where it ends.
    fn over_distance(device: &DeviceProfile, kind: Kind, to_km: f64) -> Self {
        let at = |km: f64| point(&LinkConfig::new(device.clone(), km), kind, None);
        let step = to_km / f64::from(POINTS);
        let mut points: Vec<Point> = (0..=POINTS).map(|i| at(f64::from(i) * step)).collect();
        let end = points.iter().position(|point| point.bps <= 0.0);
        if let Some(end) = end {
            points.truncate(end);
            if let Some(last) = points.last() {
                // The last step is where the curve falls: it is looked at more closely.
                let from = last.km;
                points
                    .extend((1..32).map(|i| at(from + step * f64::from(i) / 32.0)).take_while(|point| point.bps > 0.0));
            }
        }
        Self { device: device.name.clone(), kind, points, ends: end.is_some() }
    }

    /// QBER and key rate of a device under Eve.
    fn over_shares(device: &DeviceProfile, kind: Kind, km: f64) -> Self {
        let config = LinkConfig::new(device.clone(), km);
        let at = |i: u32| {
            let share = f64::from(i) / f64::from(POINTS);
            let eve = Eve::intercept_resend(share).ok();
            Point { share, ..point(&config, kind, eve.as_ref()) }
        };
        Self { device: device.name.clone(), kind, points: (0..=POINTS).map(at).collect(), ends: false }
    }
}

/// What the library says of one link.
fn point(config: &LinkConfig, kind: Kind, eve: Option<&Eve>) -> Point {
    let (device, channel) = (&config.device, eve.map_or(config.channel(), |eve| eve.on(&config.channel())));
    let slots = device.pulses_per_second();
    let expected = match kind {
        Kind::Blocks { pulses } => {
            let block = Duration::try_from_secs_f64(pulses / slots).unwrap_or(Duration::MAX);
            device.expect_in_blocks(&channel, block, config.analysis, &config.security)
        }
        _ => config.expect(eve),
    };
    let per_pulse = match kind {
        Kind::Blocks { .. } | Kind::Field => expected.key_bps / slots,
        Kind::Signals => signals_alone(device, config),
        Kind::Endless | Kind::Reference | Kind::Plob | Kind::Photons => expected.asymptotic_bps / slots,
    };
    Point {
        km: config.length_km,
        share: 0.0,
        per_pulse,
        bps: per_pulse * slots,
        qber: Some(expected.qber),
        spread: None,
    }
}

/// Key bits per signal pulse, as in MQZL (see [`vernam_qkd::decoy`]).
fn signals_alone(device: &DeviceProfile, config: &LinkConfig) -> f64 {
    let channel = config.channel();
    let [signal, weak, weaker] = device.intensities().mu.map(|mu| channel.observe(mu));
    two_decoys(&signal, &weak, &weaker).map_or(0.0, |single| key_rate(device.q, device.f, &signal, &single))
}

/// Where the key of endless blocks ends, km.
fn last_key_km(device: &DeviceProfile) -> f64 {
    let key = |km: f64| LinkConfig::new(device.clone(), km).expect(None).asymptotic_bps > 0.0;
    let (mut some, mut none) = (0.0, MOST_KM);
    while none - some > 0.1 {
        let middle = f64::midpoint(some, none);
        if key(middle) { some = middle } else { none = middle }
    }
    some
}

/// The bound on the device's fibre alone, whatever stands at its ends. At 0 km, where it is infinite, there is no point.
fn plob(device: &DeviceProfile, to_km: f64) -> Vec<Point> {
    let slots = device.pulses_per_second();
    let at = |i: u32| {
        let km = to_km * f64::from(i) / f64::from(POINTS);
        let per_pulse = plob_bound(transmittance(device.loss_db(km, 0.0)));
        Point { km, per_pulse, bps: per_pulse * slots, ..Point::default() }
    };
    (1..=POINTS).map(at).collect()
}

/// The reference figures: as many a second as if every pulse were a signal, which is the limit that they stand for.
fn reference(gys: &DeviceProfile, to_km: f64) -> Curve {
    let slots = gys.pulses_per_second();
    let points = published::gys_key_rates()
        .filter(|(km, _)| *km <= to_km)
        .map(|(km, per_pulse)| Point { km, per_pulse, bps: per_pulse * slots, ..Point::default() })
        .collect();
    Curve { device: gys.name.clone(), kind: Kind::Reference, points, ends: false }
}
