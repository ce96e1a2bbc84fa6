//! The quantum link: photons, error rate, key rate, and why there is no key when there is none.

use ratatui::{
    layout::{Constraint, Layout, Rect},
    text::Line,
};

use super::paint::{Canvas, wrapped};
use crate::demo::{
    events::KmeState,
    model::{KmeView, Model},
    plain::bytes,
    theme::Tone,
};

/// Cells between two photons.
const SPACING: u128 = 5;
/// Milliseconds in which a photon moves one cell.
const STEP_MS: u128 = 120;

/// The link between the two KMEs.
pub(super) fn link(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let alarmed = model.alarmed();
    let frame = if alarmed { Tone::Bad } else { Tone::Line };
    let title = if alarmed {
        canvas.shout(Tone::Bad, " ▲ quantum link: tapped ")
    } else {
        canvas.shout(Tone::Key, " quantum link ")
    };
    let km = model.plan.as_ref().map(|plan| format!(" {} km ", plan.length_km)).unwrap_or_default();
    let km = canvas.say(Tone::Dim, km);
    let inner = canvas.frame(area, frame, Line::from(title), Line::from(km));
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let above = inner.height.saturating_sub(5) / 2;
    let [_, fibre, rest] =
        Layout::vertical([Constraint::Length(above), Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    photons(canvas, fibre, model);
    match &model.link.alarm {
        Some(reason) => {
            let head = Line::from(canvas.shout(Tone::Bad, "its key is thrown away:"));
            canvas.line(rest, 0, head);
            for (row, text) in (1..).zip(wrapped(reason.as_str(), rest.width, rest.height.saturating_sub(1))) {
                let text = Line::from(canvas.say(Tone::Text, text));
                canvas.line(rest, row, text);
            }
        }
        None => healthy(canvas, rest, model),
    }
}

/// KME A, the fibre with photons on it, KME B; Eve in the middle when she is there.
fn photons(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let ends = [(" A", 0), ("B ", 1)];
    let [left, fibre, right] =
        Layout::horizontal([Constraint::Length(4), Constraint::Fill(1), Constraint::Length(4)]).areas(area);
    for ((_, index), place) in ends.into_iter().zip([left, right]) {
        let tone = kme_tone(&model.kmes[index]);
        let dot = canvas.say(tone, "●");
        let name = canvas.shout(Tone::Text, if index == 0 { "A" } else { "B" });
        let spans = if index == 0 { vec![name, " ".into(), dot] } else { vec![dot, " ".into(), name] };
        if index == 0 {
            canvas.line(place, 0, Line::from(spans));
        } else {
            canvas.line_right(place, 0, Line::from(spans));
        }
    }
    let alive = model.link.light.is_some() || model.link.alarm.is_some() || model.link.ahead.is_some();
    let middle = fibre.x + fibre.width / 2;
    let step = model.now.as_millis() / STEP_MS;
    for x in fibre.left()..fibre.right() {
        let offset = (u128::from(x) + SPACING * 1000).wrapping_sub(step % SPACING);
        let photon = alive && offset.is_multiple_of(SPACING);
        let spoiled = model.link.eve.is_some() && x > middle;
        let (mark, tone) = match (photon, spoiled) {
            (true, true) => ('×', Tone::Bad),
            (true, false) => ('•', Tone::Key),
            (false, _) => ('─', Tone::Line),
        };
        let style = canvas.theme.fg(tone);
        canvas.put(x, fibre.y, mark, style);
    }
    if model.link.eve.is_some() {
        let eve = Line::from(canvas.shout(Tone::Bad, " EVE "));
        let place = Rect { x: middle.saturating_sub(2), width: 5.min(fibre.width), ..fibre };
        canvas.line(place, 0, eve);
    }
}

fn kme_tone(kme: &KmeView) -> Tone {
    match kme.state {
        Some(KmeState::Delivering) => Tone::Good,
        Some(KmeState::Refusing) => Tone::Bad,
        Some(KmeState::Starting) => Tone::Warn,
        None if kme.port.is_some() => Tone::Warn,
        Some(KmeState::Stopped) | None => Tone::Faint,
    }
}

fn kme_words(kme: &KmeView) -> &'static str {
    match kme.state {
        Some(KmeState::Delivering) => "delivers",
        Some(KmeState::Refusing) => "refuses",
        Some(KmeState::Starting) => "starting",
        None if kme.port.is_some() => "listens",
        Some(KmeState::Stopped) => "stopped",
        None => "not yet",
    }
}

fn healthy(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let device = model.plan.as_ref().map(|plan| plan.device.to_string()).unwrap_or_default();
    let block = match (&model.link.light, model.link.ahead) {
        (Some(light), _) => format!("block {}: {}", light.block, bytes(light.sifted_bits / 8)),
        (None, Some((hours, of, _))) => format!("run ahead {hours:.1} of {of:.1} h"),
        (None, None) => "dark".to_owned(),
    };
    let [a, b] = &model.kmes;
    let rows = [
        (device, Tone::Dim, block, Tone::Text),
        (kme_words(a).to_owned(), kme_tone(a), kme_words(b).to_owned(), kme_tone(b)),
        (format!("pool {}", bytes(a.pool_bits / 8)), Tone::Dim, format!("pool {}", bytes(b.pool_bits / 8)), Tone::Dim),
    ];
    let top = area.height.saturating_sub(3).min(1);
    for (row, (left, left_tone, right, right_tone)) in (top..).zip(rows) {
        let left = Line::from(canvas.say(left_tone, left));
        let right = Line::from(canvas.say(right_tone, right));
        canvas.pair(area, row, left, right);
    }
}

/// The error rate, with the line above which key is thrown away.
pub(super) fn qber(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let threshold = model.link.threshold;
    let tone_of = |qber: f64| match threshold {
        Some(threshold) if qber > threshold => Tone::Bad,
        Some(threshold) if qber > threshold * 0.6 => Tone::Warn,
        _ => Tone::Good,
    };
    let now = model.link.qber.last();
    let tone = now.map_or(Tone::Dim, tone_of);
    let value = now.map(|qber| format!("{:.1} % ", qber * 100.0)).unwrap_or_default();
    let title = Line::from(vec![
        canvas.say(Tone::Dim, if area.width < 48 { " error rate " } else { " error rate (QBER) " }),
        canvas.shout(tone, value),
    ]);
    let alarm = threshold.map(|threshold| format!(" alarm at {:.0} % ", threshold * 100.0)).unwrap_or_default();
    let alarm = canvas.say(if model.alarmed() { Tone::Bad } else { Tone::Dim }, alarm);
    let inner = canvas.frame(area, if model.alarmed() { Tone::Bad } else { Tone::Line }, title, Line::from(alarm));
    let highest = model.link.qber.iter().fold(0.0, f64::max);
    let full = if highest > 0.15 { 0.30 } else { 0.15 };
    let points = model.link.qber.iter().map(|qber| (qber / full, tone_of(qber)));
    canvas.area_chart(inner, points, threshold.map(|threshold| threshold / full));
}

/// The key rate.
pub(super) fn rate(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let value = model.link.rate.last().map(kilobits).unwrap_or_default();
    let tone = if model.alarmed() { Tone::Bad } else { Tone::Key };
    let title = Line::from(vec![canvas.say(Tone::Dim, " key rate "), canvas.shout(tone, format!("{value} "))]);
    let made = format!(" {} made live ", bytes(model.link.live_bits / 8));
    let made = canvas.say(Tone::Dim, made);
    let inner = canvas.frame(area, Tone::Line, title, Line::from(made));
    let highest = model.link.rate.iter().fold(0.0, f64::max) * 1.25;
    let full = if highest > 0.0 { highest } else { 1.0 };
    let points = model.link.rate.iter().map(|rate| (rate / full, if rate > 0.0 { Tone::Key } else { Tone::Bad }));
    canvas.area_chart(inner, points, None);
}

fn kilobits(bits_per_second: f64) -> String {
    if bits_per_second < 1e6 {
        format!("{:.1} kb/s", bits_per_second / 1e3)
    } else {
        format!("{:.1} Mb/s", bits_per_second / 1e6)
    }
}
