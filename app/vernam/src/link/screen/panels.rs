//! The six panels of the screen.

use ratatui::{
    layout::{Constraint, Layout, Rect},
    text::Line,
};

use crate::{
    demo::{
        screen::paint::{Canvas, wrapped},
        summary::grouped,
        theme::Tone,
    },
    link::{
        events::{Block, float},
        live::{Gain, Live, Verdict},
        records::NOT_SECRET,
        words::{percent, percent_if_known, rate, short, time},
    },
};

/// Cells between two photons on the line.
const SPACING: u16 = 6;
/// QBER at the top of the chart while all is well; twice that once it is not.
const QBER_FULL: f64 = 0.15;

/// A frame with room at its sides.
fn framed(canvas: &mut Canvas<'_>, area: Rect, tone: Tone, left: Line<'_>, right: Line<'_>) -> Rect {
    let inner = canvas.frame(area, tone, left, right);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// Key rate, block by block.
pub(super) fn key_rate(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let now = live.last().map(|block| rate(block.rate_bps)).unwrap_or_default();
    let tone = if live.alarm().is_some() { Tone::Bad } else { Tone::Key };
    let title = Line::from(vec![canvas.say(Tone::Dim, " key rate "), canvas.shout(tone, format!("{now} "))]);
    let made = Line::from(canvas.say(Tone::Dim, format!(" {} bits made ", grouped(live.sums.key_bits))));
    let inner = framed(canvas, area, Tone::Line, title, made);
    let expected = live.setup.as_ref().map_or(0.0, |setup| setup.expected_bps);
    let full = live.blocks.iter().map(|block| block.rate_bps).fold(expected, f64::max) * 1.1;
    let full = if full > 0.0 { full } else { 1.0 };
    let points = live
        .blocks
        .iter()
        .map(|block| (block.rate_bps / full, if block.rate_bps > 0.0 { Tone::Key } else { Tone::Bad }));
    canvas.area_chart(inner, points, None);
}

/// Error rate of both bases, with the line above which key is thrown away.
pub(super) fn qber(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let threshold = live.setup.as_ref().map_or(0.11, |setup| setup.threshold);
    let tone_of = |qber: f64| match qber {
        qber if qber > threshold => Tone::Bad,
        qber if qber > threshold * 0.6 => Tone::Warn,
        _ => Tone::Good,
    };
    let mut spans = vec![canvas.say(Tone::Dim, " error rate ")];
    if let Some(block) = live.last() {
        for (name, value) in [("X ", block.qber_x), ("Z ", Some(block.qber_z))] {
            spans.push(canvas.say(Tone::Dim, name));
            spans.push(canvas.shout(value.map_or(Tone::Dim, tone_of), format!("{} ", percent_if_known(value))));
        }
    }
    let alarm = Line::from(canvas.say(Tone::Dim, format!(" alarm {:.0} % ", threshold * 100.0)));
    let frame = if live.last().is_some_and(|block| worse(block) > threshold) { Tone::Bad } else { Tone::Line };
    let inner = framed(canvas, area, frame, Line::from(spans), alarm);
    let highest = live.blocks.iter().map(worse).fold(0.0, f64::max);
    let full = if highest > QBER_FULL { 2.0 * QBER_FULL } else { QBER_FULL };
    let [x_half, gap, z_half] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(3), Constraint::Fill(1)]).areas(inner);
    // What nobody knows leaves the chart's ground as it is.
    let values = |of: fn(&Block) -> Option<f64>| {
        live.blocks.iter().map(move |block| of(block).map_or((0.0, Tone::Track), |qber| (qber / full, tone_of(qber))))
    };
    canvas.area_chart(x_half, values(|block| block.qber_x), Some(threshold / full));
    canvas.area_chart(z_half, values(|block| Some(block.qber_z)), Some(threshold / full));
    for (place, name) in [
        (Rect { width: 1.min(gap.width), x: gap.x + 1, ..gap }, "Z"),
        (Rect { x: inner.x.saturating_sub(1), width: 1, ..gap }, "X"),
    ] {
        let name = Line::from(canvas.say(Tone::Dim, name));
        canvas.line(place, 0, name);
    }
}

/// The larger of the error rates that are known.
fn worse(block: &Block) -> f64 {
    block.qber_x.unwrap_or(0.0).max(block.qber_z)
}

/// Clicks per pulse of each kind, against what a line with nobody on it gives: where photon-number splitting shows.
pub(super) fn decoys(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let gains = live.gains();
    let off = |kind: usize| gains.is_some_and(|gains| gains[kind].verdict != Verdict::Fits);
    let (tone, verdict) = match (off(0), off(1) || off(2)) {
        _ if gains.is_none() => (Tone::Dim, "nothing has clicked yet"),
        (false, false) => (Tone::Good, "as expected with nobody on the line"),
        (false, true) => (Tone::Bad, "signals as ever, decoys not: photons are split off"),
        (true, _) => (Tone::Warn, "not the light that was expected: the line has changed"),
    };
    let title = Line::from(canvas.say(Tone::Dim, " clicks per pulse, against expected "));
    let frame = if tone == Tone::Bad { Tone::Bad } else { Tone::Line };
    let inner = framed(canvas, area, frame, title, Line::default());
    for (index, name) in ["signal", "decoy", "vacuum"].into_iter().enumerate() {
        let row = u16::try_from(index * 2).unwrap_or(u16::MAX);
        match gains.map(|gains| gains[index]) {
            Some(gain) => one_kind(canvas, inner, row, name, gain),
            None => canvas.line(inner, row, Line::from(canvas.say(Tone::Faint, name))),
        }
    }
    let verdict = Line::from(canvas.shout(tone, verdict));
    canvas.line(inner, 6, verdict);
}

fn one_kind(canvas: &mut Canvas<'_>, area: Rect, row: u16, name: &'static str, gain: Gain) {
    let tone = if gain.verdict == Verdict::Fits { Tone::Good } else { Tone::Bad };
    let ratio = if gain.expected > 0.0 { gain.seen / gain.expected } else { 1.0 };
    let name =
        Line::from(vec![canvas.say(Tone::Text, format!("{name:<7}")), canvas.say(Tone::Dim, format!("μ {}", gain.mu))]);
    let mark = if gain.verdict == Verdict::Fits { "✓" } else { "✗" };
    let value = Line::from(vec![
        canvas.say(Tone::Text, format!("{:.2e}", gain.seen)),
        canvas.shout(tone, format!(" ×{ratio:.2} {mark}")),
    ]);
    canvas.pair(area, row, name, value);
    if row + 1 < area.height {
        // What is expected lies in the middle.
        canvas.gauge(Rect { y: area.y + row + 1, height: 1, ..area }, ratio / 2.0, tone);
    }
}

/// From pulses to key: the block in the making, and the last one.
pub(super) fn stages(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let shares = live.setup.as_ref().map_or([0.0; 3], |setup| setup.shares);
    let (growing, last) = (live.growing.as_ref(), live.last());
    let making = growing.map(|growing| growing.block).or_else(|| last.map(|block| block.block + 1)).unwrap_or(1);
    let title = Line::from(canvas.say(Tone::Dim, " from pulses to key "));
    let inner = framed(canvas, area, Tone::Line, title, Line::default());
    let [names, now, before] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(10), Constraint::Length(12)]).areas(inner);
    let heads = [
        (now, canvas.say(Tone::Dim, format!("block {making}"))),
        (before, canvas.say(Tone::Dim, last.map(|block| format!("block {}", block.block)).unwrap_or_default())),
    ];
    for (place, head) in heads {
        canvas.line_right(place, 0, Line::from(head));
    }
    let cell = |now: Option<u64>, before: Option<u64>| (now, before);
    let rows = [
        ("pulses sent", cell(growing.map(|g| g.pulses), last.map(|b| b.pulses))),
        ("clicks", cell(growing.map(|g| g.clicks(&shares)), last.map(|b| b.clicks(&shares)))),
        ("sifted key, X", cell(growing.map(|g| g.sifted_x), last.map(|b| b.sifted_x))),
        ("corrected", cell(None, last.and_then(|b| b.qber_x.map(|_known| b.errors_x)))),
        ("disclosed", cell(None, last.map(|b| b.parity_bits + b.hash_bits))),
        ("for tags", cell(None, last.map(|b| b.auth_bits))),
        ("secret key", cell(None, last.map(|b| b.key_bits))),
    ];
    // A line is short of the names and their header: the tags then share one with what was disclosed.
    let skip = usize::from(inner.height < 8);
    let rows = rows.iter().enumerate().filter(|(index, _)| skip == 0 || *index != 3).map(|(_, row)| row);
    for (row, (name, (growing, done))) in (1..).zip(rows) {
        let key = *name == "secret key";
        let name = Line::from(canvas.say(if key { Tone::Text } else { Tone::Dim }, *name));
        canvas.line(names, row, name);
        let growing = Line::from(canvas.say(Tone::Text, growing.map(short).unwrap_or_default()));
        canvas.line_right(now, row, growing);
        let tone = match (key, done) {
            (true, Some(0)) => Tone::Bad,
            (true, _) => Tone::Key,
            _ => Tone::Text,
        };
        let done = done.map(short).unwrap_or_default();
        let done = Line::from(if key { canvas.shout(tone, done) } else { canvas.say(tone, done) });
        canvas.line_right(before, row, done);
    }
}

/// The last blocks, newest first, with the reasons of those thrown away.
pub(super) fn blocks(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let sums = live.sums;
    let title = Line::from(canvas.say(Tone::Dim, " last blocks "));
    let counted = format!(" {} kept, {} discarded ", sums.blocks, sums.discarded);
    let counted = Line::from(canvas.say(Tone::Dim, counted));
    let inner = framed(canvas, area, Tone::Line, title, counted);
    let mut row = 0;
    for block in live.blocks.iter().rev() {
        if row >= inner.height {
            break;
        }
        let at = canvas.say(Tone::Dim, format!("{:>7} ", time(block.end_s)));
        let Some(reason) = &block.reason else {
            let number = canvas.say(Tone::Good, format!("✓ {} ", block.block));
            let key = canvas.say(Tone::Text, format!("{} of key", short(block.key_bits)));
            let qber = canvas.say(Tone::Dim, format!("  QBER {}", percent_if_known(block.qber_x)));
            canvas.line(inner, row, Line::from(vec![at, number, key, qber]));
            row += 1;
            continue;
        };
        let rest = Rect { x: inner.x + 8.min(inner.width), width: inner.width.saturating_sub(8), ..inner };
        canvas.line(inner, row, Line::from(at));
        // The newest in full; of the others, how they begin.
        let rows = if row == 0 { 4 } else { 1 };
        for text in wrapped(&format!("✗ {reason}"), rest.width, rows.min(inner.height - row)) {
            let text = Line::from(canvas.say(Tone::Bad, text));
            canvas.line(rest, row, text);
            row += 1;
        }
    }
}

/// Who is on the line, and what she knows: told apart, for real equipment cannot tell.
pub(super) fn simulation(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let title = Line::from(canvas.shout(Tone::Warn, " what only the simulation knows "));
    let secret = live.last().and_then(|block| block.secret);
    let frame = match (secret, &live.disturbed) {
        (Some(false), _) => Tone::Bad,
        (_, Some(_)) => Tone::Warn,
        (_, None) => Tone::Line,
    };
    let inner = framed(canvas, area, frame, title, Line::default());
    fibre(canvas, inner, live);
    let mut row = 1;
    let mut tell = |canvas: &mut Canvas<'_>, tone, text: &str| {
        for text in wrapped(text, inner.width, 2.min(inner.height.saturating_sub(row))) {
            let text = Line::from(canvas.say(tone, text));
            canvas.line(inner, row, text);
            row += 1;
        }
    };
    match &live.disturbed {
        None => tell(canvas, Tone::Dim, "nobody is on the line, nothing is wrong with it"),
        Some(what) => tell(canvas, Tone::Text, what),
    }
    let Some(block) = live.last() else { return };
    // First, for a small screen has no room for all of it.
    match secret {
        Some(false) => tell(canvas, Tone::Bad, NOT_SECRET),
        Some(true) => tell(canvas, Tone::Good, "less than assumed: the key is safe"),
        None => {}
    }
    match block.eve {
        Some(eve) if live.eve => {
            let of = |bits: u64| percent(float(bits) / float(block.sifted_x.max(1)));
            let knows = format!(
                "she knows {} of {} sifted bits ({})",
                short(eve.known_bits),
                short(block.sifted_x),
                of(eve.known_bits)
            );
            tell(canvas, if secret == Some(false) { Tone::Bad } else { Tone::Text }, &knows);
            let assumed = match &block.reason {
                None => format!("assumed when amplifying: {} ({})", short(eve.assumed_bits), of(eve.assumed_bits)),
                Some(_) => "the block is thrown away: what she knows is worth nothing".to_owned(),
            };
            tell(canvas, if secret == Some(false) { Tone::Bad } else { Tone::Good }, &assumed);
        }
        _ => {}
    }
}

/// Alice, the line with photons on it, whoever is there, Bob.
fn fibre(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let Some(row) = crate::demo::screen::paint::row_of(area, 0) else { return };
    let (alice, bob) = (canvas.shout(Tone::Alice, "Alice "), canvas.shout(Tone::Bob, " Bob"));
    canvas.line(row, 0, Line::from(alice));
    canvas.line_right(row, 0, Line::from(bob));
    let glass = Rect { x: row.x + 6.min(row.width), width: row.width.saturating_sub(10), ..row };
    let middle = glass.x + glass.width / 2;
    let step = u16::try_from(crate::link::events::count(live.now * 4.0) % u64::from(SPACING)).unwrap_or(0);
    for x in glass.left()..glass.right() {
        let photon = (x + SPACING - step).is_multiple_of(SPACING);
        let (mark, tone) = match (photon, live.disturbed.is_some() && x >= middle) {
            (true, true) => ('×', Tone::Bad),
            (true, false) => ('•', Tone::Key),
            _ => ('─', Tone::Line),
        };
        let style = canvas.theme.fg(tone);
        canvas.put(x, glass.y, mark, style);
    }
    if live.disturbed.is_some() {
        let who = if live.eve { " EVE " } else { " ⚡ " };
        let who = Line::from(canvas.shout(Tone::Bad, who));
        let place = Rect { x: middle.saturating_sub(2), width: 5.min(glass.width), ..glass };
        canvas.line(place, 0, who);
    }
}
