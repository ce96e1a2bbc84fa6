//! A run as text: lines for people, JSON Lines and CSV for machines.
//!
//! JSON Lines: the header `{"schema":"vernam-link","version":1}`, then one [`Stamped`] event a line, `"t"` in virtual
//! seconds. CSV: a header, then a row a block, discarded ones too. Units stand in the names; a QBER, a share and a
//! gain are numbers from 0 to 1. A field may be added under the same version; none changes its meaning or goes away.

use super::{
    events::{Block, Event, Setup, Stamped, Sums},
    words::{blocks, percent, percent_if_known, rate, short, time},
};
use crate::demo::summary::grouped;

/// The first line of JSON Lines.
pub const JSON_HEADER: &str = r#"{"schema":"vernam-link","version":1}"#;

/// That privacy amplification took too little for granted, in words.
pub(super) const NOT_SECRET: &str = "more than was assumed: this key is NOT secret, and neither end can know";

/// One column of the CSV: its name, and what stands in it.
type Column = (&'static str, fn(&Block) -> String);

/// Fewer decoys than this, of what is to be expected beside the signals, are told of.
const FEW_DECOYS: f64 = 0.95;

const COLUMNS: [Column; 28] = [
    ("block", |b| b.block.to_string()),
    ("start_s", |b| b.start_s.to_string()),
    ("end_s", |b| b.end_s.to_string()),
    ("pulses", |b| b.pulses.to_string()),
    ("sifted_x", |b| b.sifted_x.to_string()),
    ("errors_x", |b| b.errors_x.to_string()),
    ("sifted_z", |b| b.sifted_z.to_string()),
    ("errors_z", |b| b.errors_z.to_string()),
    ("qber_x", |b| b.qber_x.map(|qber| qber.to_string()).unwrap_or_default()),
    ("qber_z", |b| b.qber_z.to_string()),
    ("gain_signal", |b| b.gains[0].to_string()),
    ("gain_decoy", |b| b.gains[1].to_string()),
    ("gain_vacuum", |b| b.gains[2].to_string()),
    ("vacuum_bits", |b| b.vacuum_bits.to_string()),
    ("single_bits", |b| b.single_bits.to_string()),
    ("phase_error", |b| b.phase_error.to_string()),
    ("parity_bits", |b| b.parity_bits.to_string()),
    ("hash_bits", |b| b.hash_bits.to_string()),
    ("auth_bits", |b| b.auth_bits.to_string()),
    ("key_bits", |b| b.key_bits.to_string()),
    ("rate_bps", |b| b.rate_bps.to_string()),
    ("epsilon", |b| b.epsilon.map(|epsilon| format!("{epsilon:e}")).unwrap_or_default()),
    ("tapped", |b| b.tapped.to_string()),
    ("eve_known_bits", |b| b.eve.map(|eve| eve.known_bits.to_string()).unwrap_or_default()),
    ("eve_assumed_bits", |b| b.eve.map(|eve| eve.assumed_bits.to_string()).unwrap_or_default()),
    ("reason", |b| b.reason.as_deref().map(quoted).unwrap_or_default()),
    ("decoy_share", |b| b.decoy_share.map(|share| share.to_string()).unwrap_or_default()),
    ("secret", |b| b.secret.map(|secret| secret.to_string()).unwrap_or_default()),
];

/// One event as a line of JSON, without its end.
pub fn json(stamped: &Stamped) -> serde_json::Result<String> {
    serde_json::to_string(stamped)
}

/// The first line of the CSV.
pub fn csv_header() -> String {
    COLUMNS.map(|(name, _)| name).join(",")
}

/// One event as a row of the CSV; `None` if it is no block.
pub fn csv(stamped: &Stamped) -> Option<String> {
    let (Event::Block(block) | Event::Discarded(block)) = &stamped.event else { return None };
    Some(COLUMNS.map(|(_, cell)| cell(block)).join(","))
}

/// Text as a cell of its own (RFC 4180).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// One event as lines for people; none for what there is too much of.
pub fn plain(stamped: &Stamped) -> Vec<String> {
    let text = match &stamped.event {
        Event::Started(setup) => return opening(setup),
        Event::Progress(_) => return Vec::new(),
        Event::Block(block) => passed(block),
        Event::Discarded(block) => {
            let reason = block.reason.as_deref().unwrap_or_default();
            // The reason may be the decoys.
            let decoys = few_decoys(block).filter(|_| !reason.contains("decoys")).unwrap_or_default();
            format!("block {} discarded: {reason}{decoys}", block.block)
        }
        Event::Disturbed { eve, trouble } => {
            format!("what only the simulation knows: {}", disturbance(eve.as_deref(), trouble.as_deref()))
        }
        Event::Ended(sums) => return vec![said(stamped.t, "the link stops"), total(sums)],
    };
    vec![said(stamped.t, &text)]
}

/// Where the randomness comes from, in words.
pub(super) fn randomness(seed: Option<u64>) -> String {
    seed.map_or_else(
        || "randomness of the operating system".to_owned(),
        |seed| format!("seed {seed}: the same run again, its key worth nothing"),
    )
}

/// Who and what is on the line, in words.
pub(super) fn disturbance(eve: Option<&str>, trouble: Option<&str>) -> String {
    let parts: Vec<&str> = eve.into_iter().chain(trouble).collect();
    if parts.is_empty() { "nobody is on the line".to_owned() } else { parts.join("; ") }
}

fn opening(setup: &Setup) -> Vec<String> {
    let Setup { device, length_km, loss_db, expected_qber, expected_bps, endless_bps, block_s, f, .. } = setup;
    let how = if setup.model == "photons" { "pulse by pulse" } else { "from the formulas" };
    let [signal, decoy, vacuum] = setup.expected_gains;
    vec![
        format!("{device} over {length_km} km, {loss_db:.2} dB, simulated {how}; {}", randomness(setup.seed)),
        format!(
            "with nobody on the line: QBER {}; clicks per pulse: signal {signal:.2e}, decoy {decoy:.2e}, vacuum \
             {vacuum:.2e}; by the formulas with f = {f}: {} of key from blocks of {block_s} s, {} from endless ones",
            percent(*expected_qber),
            rate(*expected_bps),
            rate(*endless_bps)
        ),
    ]
}

fn passed(block: &Block) -> String {
    let text = format!(
        "block {}: {} of key, {} from {} sifted; QBER X {} Z {}; disclosed {}, tags {}",
        block.block,
        rate(block.rate_bps),
        short(block.key_bits),
        short(block.sifted_x),
        percent_if_known(block.qber_x),
        percent(block.qber_z),
        short(block.parity_bits + block.hash_bits),
        short(block.auth_bits),
    );
    let decoys = few_decoys(block).unwrap_or_default();
    let eve = block.eve.filter(|eve| eve.known_bits > 0).map_or_else(String::new, |eve| {
        format!("; Eve knows {}, assumed {}", short(eve.known_bits), short(eve.assumed_bits))
    });
    let warning = if block.secret == Some(false) { format!(": {NOT_SECRET}") } else { String::new() };
    format!("{text}{decoys}{eve}{warning}")
}

/// That decoys are missing, in words.
fn few_decoys(block: &Block) -> Option<String> {
    let share = block.decoy_share.filter(|share| *share < FEW_DECOYS)?;
    Some(format!("; decoys {:.0} % of what they should be", share * 100.0))
}

fn total(sums: &Sums) -> String {
    let made = format!("{} bits of key in {}", grouped(sums.key_bits), blocks(sums.blocks));
    let mean = if sums.finished_s > 0.0 {
        let mean = rate(super::events::float(sums.key_bits) / sums.finished_s);
        format!(", {mean} on average over the {} of finished blocks", time(sums.finished_s))
    } else {
        String::new()
    };
    let warning = match sums.unsafe_blocks {
        0 => String::new(),
        number => format!("; {} of key that Eve knows more of than was assumed", blocks(number)),
    };
    format!("{made}{mean}; {} discarded{warning}", blocks(sums.discarded))
}

/// A line of text that happened then.
pub(super) fn said(seconds: f64, text: &str) -> String {
    format!("{:>8}  {text}", time(seconds))
}
