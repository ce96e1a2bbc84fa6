//! What the two pictures show: which curves, in which colours, by which names. Draws nothing.

use plotters::style::RGBColor;

use super::{
    chart::Panel,
    curves::{BLOCK_PULSES, Curve, Kind, Point, Sweep},
};
use crate::link::words;

/// Least key rate that is shown, as a power of ten: bits a pulse, bits a second.
const LEAST_PER_PULSE: f64 = -9.0;
const LEAST_BPS: f64 = 0.0;

const BLACK: RGBColor = RGBColor(34, 40, 49);
const RED: RGBColor = RGBColor(200, 40, 50);
/// Colours of the devices, told apart also by those who see red and green alike (Okabe and Ito's palette).
const DEVICES: [RGBColor; 4] =
    [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(204, 121, 167), RGBColor(0, 158, 115)];

const PLOB: Look = Look::Dashes { color: BLACK, width: 3 };

/// A place in a panel, with the ends of an error bar.
pub(super) type Spot = (f64, f64, Option<(f64, f64)>);

/// One thing that is drawn, and its name in the legend. A thing without a name is not in the legend; a name without a
/// look is a heading.
pub(super) struct Entry {
    /// The name, in one or more lines.
    pub(super) name: String,
    /// How it is drawn.
    pub(super) look: Option<Look>,
    /// Where.
    pub(super) points: Vec<Spot>,
}

/// How something is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// A line.
    Line { color: RGBColor, width: u32 },
    /// A dashed line.
    Dashes { color: RGBColor, width: u32 },
    /// Open circles.
    Rings { color: RGBColor },
    /// Filled circles with error bars.
    Dots { color: RGBColor },
    /// A coloured ground between two corners.
    Ground { color: RGBColor },
}

impl Look {
    /// What lies over what: ground, lines, marks.
    pub(super) fn layer(self) -> u8 {
        match self {
            Self::Ground { .. } => 0,
            Self::Line { .. } | Self::Dashes { .. } => 1,
            Self::Rings { .. } | Self::Dots { .. } => 2,
        }
    }
}

/// Key rate against distance: a pulse above, a second below.
pub(super) fn key_rate(sweep: &Sweep) -> (String, Vec<Panel>) {
    let per_pulse = |point: &Point| point.per_pulse;
    let bps = |point: &Point| point.bps;
    let curves = |kind: Kind| sweep.distance.iter().filter(move |curve| curve.kind == kind);
    let color = |curve: &Curve| {
        let mut devices = curves(Kind::Endless).map(|curve| &curve.device);
        DEVICES[devices.position(|device| *device == curve.device).unwrap_or(0) % DEVICES.len()]
    };
    let subject = &sweep.subject.name;

    let mut upper = vec![heading("Endless blocks")];
    let mut drawn: Vec<&Curve> = Vec::new();
    for curve in curves(Kind::Endless) {
        // Devices that differ in their clock only have one curve here.
        if let Some(twin) = drawn.iter().position(|other| same(other, curve)) {
            upper[twin + 1].name.extend(["\n", &curve.device]);
            continue;
        }
        drawn.push(curve);
        let look = Look::Line { color: color(curve), width: 5 };
        upper.push(log(&curve.device, look, curve, LEAST_PER_PULSE, per_pulse));
    }
    upper.extend(curves(Kind::Signals).map(|curve| {
        let name = "gys, signal pulses only";
        log(name, Look::Line { color: BLACK, width: 2 }, curve, LEAST_PER_PULSE, per_pulse)
    }));
    upper.extend(curves(Kind::Reference).map(|curve| {
        log("the same, reference figures", Look::Rings { color: BLACK }, curve, LEAST_PER_PULSE, per_pulse)
    }));
    upper.extend(curves(Kind::Plob).map(|curve| {
        let name = format!("PLOB bound, fibre of\n{subject}");
        log(&name, PLOB, curve, LEAST_PER_PULSE, per_pulse)
    }));
    let blocks: Vec<(&Curve, f64)> = sweep
        .distance
        .iter()
        .filter_map(|curve| if let Kind::Blocks { pulses } = curve.kind { Some((curve, pulses)) } else { None })
        .collect();
    if !blocks.is_empty() {
        upper.push(heading(&format!("Finite key, {subject}")));
    }
    let slots = sweep.subject.pulses_per_second();
    for (number, (curve, pulses)) in blocks.iter().enumerate().rev() {
        let shade = 0.35 + 0.5 * crate::link::events::float(number as u64) / 3.0;
        let look = Look::Line { color: mixed(color(curve), shade), width: 3 };
        let name = format!("{} pulses ({})", power(pulses.log10()), spoken(pulses / slots));
        upper.push(log(&name, look, curve, LEAST_PER_PULSE, per_pulse));
    }
    upper.extend(curves(Kind::Photons).map(|curve| {
        log(
            "run pulse by pulse, with\nits own error correction",
            Look::Dots { color: RED },
            curve,
            LEAST_PER_PULSE,
            per_pulse,
        )
    }));

    let mut lower = vec![heading("Endless blocks")];
    lower.extend(
        curves(Kind::Endless)
            .map(|curve| log(&curve.device, Look::Line { color: color(curve), width: 5 }, curve, LEAST_BPS, bps)),
    );
    lower.extend(curves(Kind::Field).enumerate().map(|(number, curve)| {
        let name = if number == 0 { "dashed: finite blocks,\nas the device makes them" } else { "" };
        log(name, Look::Dashes { color: color(curve), width: 4 }, curve, LEAST_BPS, bps)
    }));
    lower.extend(curves(Kind::Signals).map(|curve| {
        let name = "gys, were all pulses signals";
        log(name, Look::Line { color: BLACK, width: 2 }, curve, LEAST_BPS, bps)
    }));
    lower.extend(curves(Kind::Reference).map(|curve| {
        let name = "the same, reference figures\nafter Ma, Qi, Zhao, Lo 2005";
        log(name, Look::Rings { color: BLACK }, curve, LEAST_BPS, bps)
    }));
    lower.extend(sweep.published_end_km.map(|km| Entry {
        name: format!("end of key in their\nfigure 2: {km} km"),
        look: Some(Look::Dashes { color: RED, width: 3 }),
        points: vec![(km, LEAST_BPS, None), (km, LEAST_BPS + 1.2, None)],
    }));

    let top = |of: fn(&Point) -> f64, kinds: fn(Kind) -> bool| {
        let all = sweep.distance.iter().filter(|curve| kinds(curve.kind)).flat_map(|curve| &curve.points);
        all.map(of).fold(f64::MIN_POSITIVE, f64::max).log10().ceil()
    };
    let panel = |y_name, y, entries| Panel {
        y_name,
        x_name: "length of the fibre, km".to_owned(),
        x: (0.0, sweep.to_km),
        y,
        x_text: |km| format!("{km:.0}"),
        y_text: |exponent| power(*exponent),
        entries,
    };
    let panels = vec![
        panel("key, bits per pulse sent", (LEAST_PER_PULSE, 0.0), upper),
        panel("key, bits per second", (LEAST_BPS, top(bps, |kind| kind == Kind::Endless)), lower),
    ];
    ("Secret key against distance, nobody on the line".to_owned(), panels)
}

/// QBER above, key rate below, against the share that Eve intercepts.
pub(super) fn qber_eve(sweep: &Sweep) -> (String, Vec<Panel>) {
    const QBER_TOP: f64 = 0.30;
    let curves = |kind: Kind| sweep.eve.iter().filter(move |curve| curve.kind == kind);
    let plain = |name: &str, look, curve: &Curve, of: fn(&Point) -> Option<f64>, bars: bool| Entry {
        name: name.to_owned(),
        look: Some(look),
        points: curve
            .points
            .iter()
            .filter_map(|point| {
                let y = of(point)?;
                let bar = point.spread.filter(|_| bars).map(|spread| (y - spread, y + spread));
                Some((point.share, y, bar))
            })
            .collect(),
    };
    let mut upper = Vec::new();
    upper.extend(
        curves(Kind::Photons)
            .map(|curve| plain("run pulse by pulse", Look::Dots { color: RED }, curve, |point| point.qber, true)),
    );
    upper.extend(curves(Kind::Endless).map(|curve| {
        let name = "formula: a quarter of\nwhat she takes, and the\nerrors of the link itself";
        plain(name, Look::Line { color: DEVICES[1], width: 5 }, curve, |point| point.qber, false)
    }));
    let threshold = sweep.threshold;
    upper.push(Entry {
        name: format!("alarm, {:.0} %", threshold * 100.0),
        look: Some(Look::Dashes { color: RED, width: 4 }),
        points: vec![(0.0, threshold, None), (1.0, threshold, None)],
    });
    upper.push(Entry {
        name: "key is thrown away".to_owned(),
        look: Some(Look::Ground { color: RED }),
        points: vec![(0.0, threshold, None), (1.0, QBER_TOP, None)],
    });
    let mut lower = Vec::new();
    let finite = format!("finite key, blocks of\n{} pulses", power(BLOCK_PULSES[0].log10()));
    let finite_kind = Kind::Blocks { pulses: BLOCK_PULSES[0] };
    for (kind, name) in [(Kind::Endless, "endless blocks"), (finite_kind, finite.as_str())] {
        let look = match kind {
            Kind::Endless => Look::Line { color: DEVICES[1], width: 5 },
            _ => Look::Dashes { color: DEVICES[1], width: 4 },
        };
        lower.extend(curves(kind).map(|curve| plain(name, look, curve, |point| Some(point.bps / 1e3), false)));
    }
    lower.extend(curves(Kind::Photons).map(|curve| {
        let kilobits = |point: &Point| Some(point.bps / 1e3);
        plain("run pulse by pulse, with\nits own error correction", Look::Dots { color: RED }, curve, kilobits, false)
    }));
    let ends = curves(Kind::Endless)
        .find_map(|curve| curve.points.iter().rev().find(|point| point.bps > 0.0))
        .map(|point| (point.share, point.qber.unwrap_or_default()));
    if let Some((share, qber)) = ends {
        lower.push(heading(&format!(
            "no key beyond {:.0} % taken,\nat a QBER of {:.1} %",
            share * 100.0,
            qber * 100.0
        )));
    }
    let most = sweep.eve.iter().flat_map(|curve| &curve.points).map(|point| point.bps / 1e3).fold(0.1, f64::max);
    let panel = |y_name, y: f64, y_text, entries| Panel {
        y_name,
        x_name: "share of the pulses that Eve intercepts and resends".to_owned(),
        x: (0.0, 1.0),
        y: (0.0, y),
        x_text: |share| format!("{:.0} %", share * 100.0),
        y_text,
        entries,
    };
    let panels = vec![
        panel("QBER", QBER_TOP, |qber| format!("{:.0} %", qber * 100.0), upper),
        panel("key, kbit/s", most * 1.08, |rate| words::axis(*rate), lower),
    ];
    (format!("An eavesdropper on {} over {} km", sweep.subject.name, sweep.eve_km), panels)
}

fn heading(name: &str) -> Entry {
    Entry { name: name.to_owned(), look: None, points: Vec::new() }
}

/// A curve on a logarithmic axis from `least` up; it falls to the axis where it ends before the last distance.
fn log(name: &str, look: Look, curve: &Curve, least: f64, of: impl Fn(&Point) -> f64) -> Entry {
    let falls = !matches!(look, Look::Rings { .. } | Look::Dots { .. });
    let (mut points, mut below): (Vec<Spot>, bool) = (Vec::new(), false);
    for point in &curve.points {
        let (value, y) = (of(point), of(point).log10());
        if look == PLOB && y > 0.0 {
            // Near 0 km the bound exceeds what is shown.
            continue;
        }
        if y.is_nan() || y < least {
            below = true;
            break;
        }
        // The spread is that of the key per pulse; the axis may be of anything in proportion.
        let share = point.spread.filter(|_| point.per_pulse > 0.0).map(|spread| spread / point.per_pulse);
        let bar = share.map(|share| ((value * (1.0 - share).max(1e-12)).log10(), (value * (1.0 + share)).log10()));
        points.push((point.km, y, bar));
    }
    let cut = below || curve.ends;
    if let Some((km, ..)) = points.last().copied().filter(|_| falls && cut) {
        points.push((km, least, None));
    }
    Entry { name: name.to_owned(), look: Some(look), points }
}

/// Whether two curves lie upon each other.
fn same(one: &Curve, other: &Curve) -> bool {
    let close = |(one, other): (&Point, &Point)| (one.per_pulse / other.per_pulse - 1.0).abs() < 1e-6;
    one.points.len() == other.points.len() && one.points.iter().zip(&other.points).all(close)
}

/// A colour, mixed with white: `share` 1 is the colour itself.
fn mixed(color: RGBColor, share: f64) -> RGBColor {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
    let mix = |byte: u8| (f64::from(byte) * share + 255.0 * (1.0 - share)) as u8;
    RGBColor(mix(color.0), mix(color.1), mix(color.2))
}

/// A power of ten.
fn power(exponent: f64) -> String {
    let digits = format!("{exponent:.0}");
    if digits == "0" || digits == "-0" {
        return "1".to_owned();
    }
    let raised = digits.chars().map(|digit| match digit {
        '-' => '\u{207b}',
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(digit),
    });
    "10".chars().chain(raised).collect()
}

/// How long a block takes.
fn spoken(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_written_as_people_do() {
        assert_eq!([power(-9.0), power(0.0), power(12.0)], ["10\u{207b}\u{2079}", "1", "10\u{b9}\u{b2}"]);
    }
}
