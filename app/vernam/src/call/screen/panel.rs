//! The call that the keys are about: who, since when, levels both ways, quality, key left, words to compare.

use ratatui::{layout::Rect, text::Line};
use vernam_engine::Transmit;
use vernam_session::Suite;

use super::{state, suite_tone};
use crate::call::events::Tick;
use crate::call::model::{Call, Model};
use crate::call::words;
use crate::demo::model::loudness;
use crate::demo::screen::paint::Canvas;
use crate::demo::theme::Tone;

/// Seconds of one-time pad left from which on it is shown as a warning.
const LITTLE_S: u64 = 60;
/// Seconds of a call after which it is said that nothing of ours was sent yet: before, it may just begin.
const UNSENT_S: f64 = 2.0;
/// Columns for the name of a meter.
const LABEL: u16 = 12;

/// The whole panel.
pub(super) fn call(canvas: &mut Canvas<'_>, area: Rect, model: &Model, call: &Call) {
    let tone = suite_tone(call.protected_by());
    let name = canvas.shout(tone, format!(" {} ", call.contact));
    let phase = canvas.say(Tone::Text, format!("{} ", state(call)));
    let codec = format!(" Opus {} kb/s, {} ms ", f64::from(call.terms.bit_rate_bps) / 1_000.0, call.terms.frame_ms);
    let codec = canvas.say(Tone::Dim, codec);
    let inner = canvas.frame(area, Tone::Line, Line::from(vec![name, phase]), Line::from(codec));
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    meters(canvas, inner, model, call);
    quality(canvas, inner, call);
    key(canvas, inner, call);
    compare(canvas, inner, model, call);
    devices(canvas, inner, model, call);
}

/// A small screen: the meters and who.
pub(super) fn brief(canvas: &mut Canvas<'_>, area: Rect, model: &Model, call: &Call) {
    let words = Line::from(canvas.shout(Tone::Text, format!(" {}: {}", call.contact, state(call))));
    canvas.line(area, 0, words);
    let rest = Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(1), ..area };
    meters(canvas, rest, model, call);
}

/// Nobody calls.
pub(super) fn nobody(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let inner = canvas.frame(area, Tone::Line, Line::default(), Line::default());
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let says = if model.is_echo_test {
        "the echo test begins"
    } else if model.switches.do_not_disturb {
        "nobody rings here: D lets calls through again"
    } else {
        "waiting for a call"
    };
    let says = Line::from(canvas.say(Tone::Dim, says));
    canvas.line(inner, 0, says);
}

fn meters(canvas: &mut Canvas<'_>, area: Rect, model: &Model, call: &Call) {
    let switches = model.switches;
    let sending = call.tick.as_ref().is_none_or(|tick| tick.sending);
    let (said, heard) = call.tick.as_ref().map_or((f64::MIN, f64::MIN), |tick| (tick.said_dbfs, tick.heard_dbfs));
    let mine = if switches.muted || switches.deafened {
        Some((Tone::Bad, "MUTED: nothing of it is sent"))
    } else if call.held {
        Some((Tone::Warn, "on hold: nothing of it is sent"))
    } else if !switches.without_devices && model.devices[0].is_none() && call.tick.is_some() {
        Some((Tone::Bad, "NO MICROPHONE: silence is sent"))
    } else if call.tick.as_ref().is_some_and(|tick| tick.sent == 0 && tick.lasted_s >= UNSENT_S) {
        Some((Tone::Bad, "NOT SENT: no key for it yet"))
    } else {
        match (switches.transmit, switches.talking, sending) {
            (Transmit::PushToTalk, false, _) if switches.tells_release => Some((Tone::Warn, "hold space to talk")),
            (Transmit::PushToTalk, true, _) if switches.tells_release => Some((Tone::Good, "sent while space is down")),
            (Transmit::PushToTalk, false, _) => Some((Tone::Warn, "press space to talk, and again to end")),
            (Transmit::PushToTalk, true, _) => Some((Tone::Good, "SENT until you press space again")),
            (Transmit::Voice, _, true) => Some((Tone::Good, "sent")),
            (Transmit::Voice, _, false) => Some((Tone::Dim, "sent when you speak")),
            (Transmit::Open, ..) => None,
        }
    };
    let theirs = if switches.deafened {
        Some((Tone::Bad, "DEAFENED: not played"))
    } else if call.muted_by_contact {
        Some((Tone::Warn, "microphone off"))
    } else if call.held_by_contact {
        Some((Tone::Warn, "holds the call"))
    } else {
        None
    };
    let rows = [("you", said, mine, Tone::Alice), (call.contact.as_str(), heard, theirs, Tone::Bob)];
    for (row, (name, dbfs, note, tone)) in (0..).zip(rows) {
        meter(canvas, area, row, name, dbfs, note, tone);
    }
}

fn meter(canvas: &mut Canvas<'_>, area: Rect, row: u16, name: &str, dbfs: f64, note: Option<(Tone, &str)>, tone: Tone) {
    if row >= area.height {
        return;
    }
    let label = Rect { width: LABEL.min(area.width), ..area };
    let words = Line::from(canvas.say(Tone::Text, name.to_owned()));
    canvas.line(label, row, words);
    let level = if dbfs <= -96.0 { "  quiet".to_owned() } else { format!("{dbfs:>4.0} dB") };
    let (note_tone, note) = note.unwrap_or((Tone::Dim, ""));
    let right = vec![canvas.say(note_tone, format!(" {note} ")), canvas.say(Tone::Faint, level)];
    let right = Line::from(right);
    let taken = LABEL + u16::try_from(right.width()).unwrap_or(u16::MAX).saturating_add(1);
    let gauge = Rect { x: area.x + LABEL, y: area.y + row, width: area.width.saturating_sub(taken), height: 1 };
    canvas.gauge(gauge, loudness(dbfs), tone);
    canvas.line_right(area, row, right);
}

fn quality(canvas: &mut Canvas<'_>, area: Rect, call: &Call) {
    let Some(tick) = &call.tick else {
        let none = Line::from(canvas.say(Tone::Faint, "no sound yet"));
        return canvas.line(area, 2, none);
    };
    let lossy = |percent: f64| {
        if percent >= 5.0 {
            Tone::Bad
        } else if percent >= 1.0 {
            Tone::Warn
        } else {
            Tone::Text
        }
    };
    let Tick { delay_ms, jitter_ms, buffer_ms, lost_percent, .. } = *tick;
    let late = if delay_ms > 150.0 { Tone::Warn } else { Tone::Text };
    let mut spans = Vec::new();
    let mut item = |label: &'static str, value: String, tone| {
        spans.push(canvas.say(Tone::Dim, label));
        spans.push(canvas.say(tone, value));
    };
    item("delay ", format!("{delay_ms:.0} ms"), late);
    item("  jitter ", format!("{jitter_ms:.0} ms"), Tone::Text);
    item("  buffer ", format!("{buffer_ms:.0} ms"), Tone::Text);
    item("  lost ", format!("{lost_percent:.1} %"), lossy(lost_percent));
    item(" there ", format!("{} %", tick.lost_at_contact_percent), lossy(f64::from(tick.lost_at_contact_percent)));
    item("  concealed ", tick.concealed.to_string(), Tone::Text);
    if tick.rejected > 0 {
        item("  refused ", tick.rejected.to_string(), Tone::Bad);
    }
    item("  mended ", tick.recovered.to_string(), Tone::Text);
    let line = Line::from(spans);
    canvas.line(area, 2, line);
}

/// What protects each direction while they differ, and how long the key lasts.
fn key(canvas: &mut Canvas<'_>, area: Rect, call: &Call) {
    let suite = call.protected_by();
    let mut spans = vec![canvas.say(Tone::Dim, "key    ")];
    match call.left_s.filter(|_| suite == Suite::Otp) {
        Some(left) => {
            let tone = if left <= LITTLE_S { Tone::Bad } else { Tone::Key };
            spans.push(canvas.shout(tone, format!("one-time pad for {} of talk", words::lasts(left))));
        }
        None if suite == Suite::Otp => spans.push(canvas.say(Tone::Key, "one-time pad")),
        None => spans.push(canvas.say(Tone::Text, "a fresh one every minute; nothing is used up")),
    }
    if let Some(tick) = call.tick.as_ref().filter(|tick| tick.sent_under != tick.received_under) {
        let way = format!(
            "  changing: you send under {}, hear under {}",
            words::protection(tick.sent_under),
            words::protection(tick.received_under)
        );
        spans.push(canvas.say(Tone::Warn, way));
    }
    canvas.line(area, 3, Line::from(spans));
}

fn compare(canvas: &mut Canvas<'_>, area: Rect, model: &Model, call: &Call) {
    let words = match model.words_of(&call.contact) {
        Some(words) => vec![
            canvas.say(Tone::Dim, "words  "),
            canvas.shout(Tone::Text, words),
            canvas.say(Tone::Faint, "   read them to each other: the same if nobody is between you"),
        ],
        None => vec![canvas.say(Tone::Dim, "words  "), canvas.say(Tone::Faint, "they come in a moment")],
    };
    canvas.line(area, 4, Line::from(words));
    let mut notes = Vec::new();
    if call.recording {
        notes.push(canvas.shout(Tone::Bad, "● recorded here, encrypted   "));
    }
    if call.recording_by_contact {
        notes.push(canvas.shout(Tone::Bad, format!("● recorded by {}   r takes your yes back", call.contact)));
    }
    canvas.line(area, 5, Line::from(notes));
}

fn devices(canvas: &mut Canvas<'_>, area: Rect, model: &Model, call: &Call) {
    let switches = model.switches;
    if switches.without_devices {
        let none = Line::from(canvas.say(Tone::Faint, "no sound devices: files or silence"));
        return canvas.line(area, 6, none);
    }
    if !call.is_on() && model.devices == [None, None] {
        let closed = "microphone and loudspeaker are opened when the call is taken";
        let closed = Line::from(canvas.say(Tone::Faint, closed));
        return canvas.line(area, 6, closed);
    }
    let name = |index: usize| match (&model.devices[index], &model.offer) {
        (Some(name), _) => name.clone(),
        (None, Some(offer)) if index == 0 => format!("none ({} is gone)", offer.instead_of),
        (None, _) => "none".to_owned(),
    };
    let line = vec![
        canvas.say(Tone::Dim, "mic    "),
        canvas.say(Tone::Text, name(0)),
        canvas.say(Tone::Dim, "  speaker "),
        canvas.say(Tone::Text, name(1)),
    ];
    canvas.line(area, 6, Line::from(line));
    let on = |label: &'static str, on: bool| {
        let (tone, mark) = if on { (Tone::Good, "✓") } else { (Tone::Faint, "○") };
        [canvas.say(tone, mark), canvas.say(Tone::Dim, label)]
    };
    let spans = [
        on(" echo cancelling   ", switches.echo_cancelling),
        on(" noise suppression   ", switches.noise_suppression),
        on(" high-pass   ", switches.high_pass),
        on(" gain control", switches.gain_control),
    ];
    let line = Line::from(spans.into_iter().flatten().collect::<Vec<_>>());
    canvas.line(area, 7, line);
}
