//! `vernam link sweep`: how key rate and QBER depend on distance and on Eve, as numbers and as pictures.
//!
//! Every number comes from `vernam_qkd`: curves from its formulas, reference figures from its data file, points with
//! error bars from links that were run pulse by pulse. This module only asks and draws.

mod chart;
mod curves;
mod panels;
mod photons;

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;

use self::chart::{Picture, Which};
pub use self::curves::{Curve, Kind, Point, Sweep};
use crate::{
    cli::{SweepOptions, SweepView},
    demo::show::quietly,
};

/// The first line of the numbers as JSON Lines.
pub const JSON_HEADER: &str = r#"{"schema":"vernam-link-sweep","version":1}"#;
/// The first line of the numbers as CSV.
pub const CSV_HEADER: &str = "picture,curve,device,length_km,eve_share,bits_per_pulse,rate_bps,qber,spread";

/// One point of one curve, as it is written out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    /// `key-rate` or `qber-eve`.
    pub picture: &'static str,
    /// Which curve.
    pub curve: String,
    /// Name of the device.
    pub device: &'a str,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// Share of the pulses that Eve intercepts.
    pub eve_share: f64,
    /// Key bits per pulse sent, of whatever kind.
    pub bits_per_pulse: f64,
    /// Key bits a second.
    pub rate_bps: f64,
    /// QBER of the key basis, where the curve has one.
    pub qber: Option<f64>,
    /// Standard deviation of what was measured (key per pulse, or QBER), for points with error bars.
    pub spread: Option<f64>,
}

/// Computes, draws and writes everything.
pub fn run(options: &SweepOptions) -> anyhow::Result<()> {
    let mut sweep = Sweep::of(options);
    if options.photons {
        photons::measure(&mut sweep, options).context("the link cannot be run pulse by pulse")?;
    }
    let out = &options.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the directory {}", out.display()))?;
    let mut written = Vec::new();
    for (name, which) in [("key-rate", Which::KeyRate), ("qber-eve", Which::QberEve)] {
        let picture = Picture::of(&sweep, which)?;
        for (ending, bytes) in [("svg", picture.svg.as_bytes()), ("png", &picture.png)] {
            let path = out.join(format!("{name}.{ending}"));
            write(&path, bytes)?;
            written.push(path);
        }
    }
    let mut lines = match options.view {
        SweepView::Words => sweep.words(),
        SweepView::Json => json(&sweep)?,
        SweepView::Csv => csv(&sweep),
    };
    if options.view == SweepView::Words {
        lines.extend(written.iter().map(|path| format!("wrote {}", path.display())));
    }
    let mut stdout = io::stdout().lock();
    quietly(lines.iter().try_for_each(|line| writeln!(stdout, "{line}")))?;
    Ok(())
}

/// The numbers as JSON Lines, header first.
pub fn json(sweep: &Sweep) -> serde_json::Result<Vec<String>> {
    let rows = sweep.rows().map(|row| serde_json::to_string(&row));
    std::iter::once(Ok(JSON_HEADER.to_owned())).chain(rows).collect()
}

/// The numbers as CSV, header first.
pub fn csv(sweep: &Sweep) -> Vec<String> {
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let rows = sweep.rows().map(|row| {
        let Row { picture, curve, device, length_km, eve_share, bits_per_pulse, rate_bps, qber, spread } = &row;
        let (qber, spread) = (optional(*qber), optional(*spread));
        format!("{picture},{curve},{device},{length_km},{eve_share},{bits_per_pulse},{rate_bps},{qber},{spread}")
    });
    std::iter::once(CSV_HEADER.to_owned()).chain(rows).collect()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = std::fs::write(path, bytes);
    if written.is_err() {
        // Half a picture would be taken for a whole one; the first error tells.
        let _best_effort = std::fs::remove_file(path);
    }
    written.with_context(|| format!("cannot write the picture {}", path.display()))
}
