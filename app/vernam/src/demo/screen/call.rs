//! The call and what goes on beside it: quality, setting up, promises, the file, the message, the log.

use ratatui::{
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use super::{moody, paint::Canvas, suite_tone};
use crate::demo::{
    events::{Act, FileState, Person, TextState},
    model::{Model, ratio},
    plain::{bytes, clock},
    theme::Tone,
};

/// What matters now: the promises at the end, the call, or how far setting up is.
pub(super) fn now(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    if model.act == Some(Act::Summing) || model.summary.is_some() {
        promises(canvas, area, model);
    } else if model.call.is_some() {
        quality(canvas, area, model);
    } else {
        setting_up(canvas, area, model);
    }
}

fn quality(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let Some(call) = &model.call else { return };
    let number = canvas.say(Tone::Dim, format!(" call {} ", call.number));
    let suite = canvas.shout(suite_tone(call.suite), format!("{} ", call.suite.title()));
    let tick = model.people.iter().find_map(|person| person.tick);
    let codec = tick.map(|tick| format!(" Opus {} kb/s ", f64::from(tick.bit_rate_bps) / 1000.0)).unwrap_or_default();
    let codec = canvas.say(Tone::Dim, codec);
    let inner = canvas.frame(area, Tone::Line, Line::from(vec![number, suite]), Line::from(codec));
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    for (row, who) in (0..).zip(Person::BOTH) {
        let tone = if who == Person::Alice { Tone::Alice } else { Tone::Bob };
        let mut spans = vec![canvas.shout(tone, format!("{who:<6}"))];
        if let Some(tick) = model.person(who).tick {
            // What does not fit whole is left out, with all that comes after it.
            let mut room = usize::from(inner.width).saturating_sub(6);
            let mut item = |label: &'static str, value: String, tone| {
                let width = label.len() + value.len();
                room = room.saturating_sub(width);
                if room > 0 {
                    spans.push(canvas.say(Tone::Dim, label));
                    spans.push(canvas.say(tone, value));
                }
            };
            let bad = |count: u64, tone| if count > 0 { tone } else { Tone::Text };
            item("delay ", format!("{:.0} ms", tick.delay_p50_ms), Tone::Text);
            item(" p95 ", format!("{:.0}", tick.delay_p95_ms), Tone::Text);
            item("  got ", tick.received.to_string(), Tone::Text);
            item(" lost ", tick.lost.to_string(), bad(tick.lost, Tone::Warn));
            item(" mended ", tick.concealed.to_string(), bad(tick.concealed, Tone::Warn));
            item(" refused ", tick.rejected.to_string(), bad(tick.rejected, Tone::Bad));
            item("  key ", bytes(tick.key_used_bytes), Tone::Key);
            item("  buffer ", format!("{:.0} ms", tick.buffer_ms), Tone::Text);
            item("  jitter ", format!("{:.1} ms", tick.jitter_ms), Tone::Text);
            item("  sent ", tick.sent.to_string(), Tone::Text);
        } else {
            spans.push(canvas.say(Tone::Faint, "no sound yet"));
        }
        canvas.line(inner, row, Line::from(spans));
    }
}

fn setting_up(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let title = Line::from(canvas.say(Tone::Dim, " setting up "));
    let inner = canvas.frame(area, Tone::Line, title, Line::default());
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let steps = [
        ("KME A", model.kmes[0].port.is_some()),
        ("KME B", model.kmes[1].port.is_some()),
        ("stock filled", model.link.ahead.is_some_and(|(hours, of, _)| hours >= of)),
        ("connected", model.connection.is_some()),
        ("keys confirmed", model.confirmed == [true; 2]),
    ];
    let mut spans = Vec::new();
    for (name, done) in steps {
        spans.push(if done { canvas.say(Tone::Good, "✓ ") } else { canvas.say(Tone::Faint, "○ ") });
        spans.push(canvas.say(if done { Tone::Text } else { Tone::Faint }, format!("{name}   ")));
    }
    canvas.line(inner, 0, Line::from(spans));
    match (&model.connection, model.link.ahead) {
        (Some((exchange, cipher)), _) => {
            let words = Line::from(canvas.say(Tone::Dim, format!("outer layer: QUIC, {exchange}, {cipher}")));
            canvas.line(inner, 1, words);
        }
        (None, Some((hours, of, bits))) if inner.height > 1 => {
            let row = Rect { y: inner.y + 1, height: 1, ..inner };
            let [words, gauge] = Layout::horizontal([Constraint::Length(52), Constraint::Fill(1)]).areas(row);
            let text = format!("running the link ahead {hours:.1} of {of:.1} h: {}", bytes(bits / 8));
            let text = Line::from(canvas.say(Tone::Text, text));
            canvas.line(words, 0, text);
            canvas.gauge(gauge, if of > 0.0 { hours / of } else { 1.0 }, Tone::Key);
        }
        _ => {}
    }
}

fn promises(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let broken = model.checks.iter().filter(|check| !check.kept).count();
    let kept = model.checks.len() - broken;
    let title = Line::from(canvas.say(Tone::Dim, " promises "));
    let inner = canvas.frame(area, if broken > 0 { Tone::Bad } else { Tone::Line }, title, Line::default());
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let mut spans = vec![canvas.shout(Tone::Good, format!("✓ {kept} kept"))];
    if broken > 0 {
        spans.push(canvas.shout(Tone::Bad, format!("   ✗ {broken} broken")));
    }
    canvas.line(inner, 0, Line::from(spans));
    let shown = model.checks.iter().find(|check| !check.kept).or_else(|| model.checks.last());
    if let Some(check) = shown {
        let tone = if check.kept { Tone::Dim } else { Tone::Bad };
        let text = Line::from(canvas.say(tone, format!("{}: {}", check.promise, check.detail)));
        canvas.line(inner, 1, text);
    }
}

/// The file: how far, how fast, under what.
pub(super) fn file(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let title = Line::from(canvas.say(Tone::Dim, " file "));
    let suite = model.file.as_ref().map(|file| canvas.say(suite_tone(file.suite), format!(" {} ", file.suite.title())));
    let inner = canvas.frame(area, Tone::Line, title, suite.map(Line::from).unwrap_or_default());
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(file) = &model.file else {
        let none = Line::from(canvas.say(Tone::Faint, "none yet"));
        return canvas.line(inner, 0, none);
    };
    let rate = crate::demo::throughput(file.done_bytes, file.elapsed_s);
    match file.state {
        FileState::Done => {
            let words = vec![
                canvas.say(Tone::Good, "✓ "),
                canvas.say(Tone::Text, file.name.to_string()),
                canvas.say(Tone::Dim, format!("  {} whole, {rate:.1} MB/s", bytes(file.total_bytes))),
            ];
            canvas.line(inner, 0, Line::from(words));
        }
        FileState::Failed => {
            let words = Line::from(canvas.shout(Tone::Bad, format!("✗ {} did not arrive", file.name)));
            canvas.line(inner, 0, words);
        }
        FileState::Offered | FileState::Moving => {
            let [name, gauge, number] =
                Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(14)]).areas(inner);
            let words = Line::from(canvas.say(Tone::Text, file.name.to_string()));
            canvas.line(name, 0, words);
            let share = ratio(file.done_bytes, file.total_bytes);
            canvas.gauge(gauge, share, Tone::Good);
            let words = Line::from(canvas.say(Tone::Text, format!("{:.0} % {rate:.1} MB/s", share * 100.0)));
            canvas.line_right(number, 0, words);
        }
    }
}

/// The last message, in a bubble with the colour of who wrote it.
pub(super) fn message(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let title = Line::from(canvas.say(Tone::Dim, " message "));
    let Some(message) = &model.text else {
        let inner = canvas.frame(area, Tone::Line, title, Line::default());
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        let none = Line::from(canvas.say(Tone::Faint, "none yet"));
        return canvas.line(inner, 0, none);
    };
    let state = match message.state {
        TextState::Sent => canvas.say(Tone::Dim, " ✓ sent "),
        TextState::Delivered => canvas.say(Tone::Good, " ✓✓ delivered "),
        TextState::Read => canvas.say(Tone::Good, " ✓✓ read "),
    };
    let inner = canvas.frame(area, Tone::Line, title, Line::from(state));
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let tone = if message.from == Person::Alice { Tone::Alice } else { Tone::Bob };
    let words = vec![
        canvas.shout(tone, format!("{}  ", message.from)),
        canvas.say(Tone::Text, format!("\u{201c}{}\u{201d}", message.text)),
    ];
    canvas.line(inner, 0, Line::from(words));
}

/// The last lines, and how to end the run.
pub(super) fn log(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    if area.is_empty() {
        return;
    }
    let hint = canvas.say(Tone::Faint, if area.height >= 6 { " q ends the run cleanly " } else { " q ends it " });
    let hint_width = u16::try_from(hint.width()).unwrap_or(0);
    let mut last_row_width = u16::MAX;
    let inner = if area.height >= 6 {
        let title = canvas.say(Tone::Dim, " what happened ");
        let inner = canvas.frame(area, Tone::Line, Line::from(title), Line::from(hint));
        Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
    } else {
        canvas.line_right(area, area.height - 1, Line::from(hint));
        last_row_width = area.width.saturating_sub(hint_width + 1);
        Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area }
    };
    let first = model.log.len().saturating_sub(usize::from(inner.height));
    for (row, entry) in (0..).zip(model.log.iter().skip(first)) {
        let mut spans: Vec<Span<'_>> = vec![canvas.say(Tone::Faint, format!("{:>7} ", clock(entry.at)))];
        spans.extend(moody(canvas, entry.mood, entry.text.clone()));
        let width = if row + 1 == inner.height { inner.width.min(last_row_width) } else { inner.width };
        canvas.line(Rect { width, ..inner }, row, Line::from(spans));
    }
    if let (Some((since, warning)), true) = (&model.warning, model.talking().is_some()) {
        // A warning stays in sight for ten seconds, on the last row, whatever else is said.
        let in_sight = model.log.iter().skip(first).any(|entry| entry.text.contains(warning.as_str()));
        if model.now.saturating_sub(*since).as_secs() < 10 && inner.height > 1 && !in_sight {
            let row = inner.height - 1;
            let words = canvas.shout(Tone::Warn, format!("        ! {warning}"));
            let blank = " ".repeat(usize::from(inner.width));
            canvas.line(inner, row, Line::from(blank));
            canvas.line(inner, row, Line::from(words));
        }
    }
}
