//! The telephone's screen: a pure function of the model. No clock, no terminal, no state.
//!
//! ```text
//!  whose telephone, where
//!  what protects the call right now
//!  the call: who, since when, levels, quality, key left, words to compare
//!  other calls
//!  a question, a list of devices, a passphrase
//!  what happened
//!  what the keys do
//! ```

mod panel;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};
use vernam_engine::Transmit;
use vernam_session::Suite;

use super::model::{Call, Model, Mood, Phase};
use super::question::Question;
use super::words;
use crate::complaint;
use crate::demo::screen::paint::{Canvas, wrapped};
use crate::demo::theme::{Theme, Tone};

/// Rows of the call's panel, with its frame.
const PANEL: u16 = 10;
/// Most dots that stand for what is typed.
const DOTS: usize = 24;
/// The smallest height with room for the call's panel.
const SMALL: u16 = 18;

/// Draws the model.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    let canvas = &mut Canvas::over(frame.buffer_mut(), area, theme);
    let small = area.height < SMALL || area.width < 50;
    let asked = asked(model, area.width);
    let others = u16::try_from(model.calls.len().saturating_sub(1)).unwrap_or(u16::MAX).min(4);
    // What is asked goes before all but the protection: on a screen that is too small the rest gives way.
    let mut left = area.height.saturating_sub(2);
    let mut room = |wanted: u16| {
        let given = wanted.min(left);
        left -= given;
        Constraint::Length(given)
    };
    let question = room(u16::try_from(asked.len()).unwrap_or(u16::MAX));
    let keys = room(if small { 1 } else { 2 });
    let call = room(if small { 3 } else { PANEL });
    let other = room(others);
    let [title, banner, call, other, question, log, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        call,
        other,
        question,
        Constraint::Fill(1),
        keys,
    ])
    .areas(area);
    head(canvas, title, model);
    protection(canvas, banner, model);
    match (model.call(), small) {
        (Some(shown), false) => panel::call(canvas, call, model, shown),
        (Some(shown), true) => panel::brief(canvas, call, model, shown),
        (None, _) => panel::nobody(canvas, call, model),
    }
    for (row, waiting) in (0..others).zip(model.calls.iter().skip(1)) {
        let tone = if waiting.phase == Phase::Incoming { Tone::Warn } else { Tone::Dim };
        let words =
            format!("  {}: {} under {}", waiting.contact, state(waiting), words::protection(waiting.protected_by()));
        let hint = if waiting.phase == Phase::Incoming { "Tab takes it " } else { "Tab goes over to it " };
        let (left, right) = (canvas.say(tone, words), canvas.say(Tone::Faint, hint));
        canvas.pair(other, row, Line::from(left), Line::from(right));
    }
    for (row, (tone, text)) in (0..).zip(asked) {
        let style = canvas.theme.filled(tone);
        let place = Rect { y: question.y + row, height: 1.min(question.height.saturating_sub(row)), ..question };
        canvas.buffer.set_style(place, style);
        canvas.line(question, row, Line::from(Span::styled(format!("  {text}"), style)));
    }
    happened(canvas, log, model);
    help(canvas, keys, model);
}

/// Whose telephone it is, and where it listens.
fn head(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let what = if model.is_echo_test { "echo test".to_owned() } else { model.name.clone() };
    let left = vec![canvas.shout(Tone::Good, " ◆ vernam "), canvas.shout(Tone::Text, what)];
    let switches = model.switches;
    let mut right = Vec::new();
    if switches.do_not_disturb {
        right.push(canvas.shout(Tone::Warn, "do not disturb  "));
    }
    if !model.address.is_empty() {
        right.push(canvas.say(Tone::Faint, format!("listens on {} ", model.address)));
    }
    canvas.line(area, 0, Line::from(left));
    canvas.line_right(area, 0, Line::from(right));
}

/// What protects the call right now, in plain words, at all times.
fn protection(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let (tone, claim, time) = match model.call() {
        _ if model.stopping => (Tone::Dim, "ENDING".to_owned(), String::new()),
        None => (Tone::Dim, "NO CALL  ─  the microphone is closed".to_owned(), String::new()),
        Some(call) => {
            let suite = call.protected_by();
            let (what, meaning) = (words::protection(suite), words::protection_meaning(suite));
            let proposed = if call.is_on() { "" } else { "PROPOSED: " };
            let time = model.lasted(call).map(words::clock).unwrap_or_default();
            (suite_tone(suite), format!("{proposed}{what}  ─  {meaning}"), time)
        }
    };
    let style = canvas.theme.filled(tone);
    canvas.buffer.set_style(area, style);
    let room = Rect { width: area.width.saturating_sub(u16::try_from(time.len() + 2).unwrap_or(0)), ..area };
    canvas.line(room, 0, Line::from(Span::styled(format!(" {claim}"), style)));
    canvas.line_right(area, 0, Line::from(Span::styled(format!("{time} "), style)));
}

/// The tone of what protects something.
fn suite_tone(suite: Suite) -> Tone {
    match suite {
        Suite::Otp => Tone::Good,
        Suite::Aes256Gcm => Tone::Aes,
        Suite::ChaCha20Poly1305 => Tone::Key,
    }
}

/// Where a call is, in words.
fn state(call: &Call) -> &'static str {
    match call.phase {
        Phase::Calling => "calling",
        Phase::Ringing => "it rings there",
        Phase::Incoming => "calls you",
        Phase::Talking if call.held => "held by you",
        Phase::Talking if call.held_by_contact => "you are on hold",
        Phase::Talking => "talking",
        Phase::Reconnecting => "the connection is away, waiting up to 30 s",
    }
}

/// The lines of what is asked now: a question, and below it a passphrase or a list, which hides none.
fn asked(model: &Model, width: u16) -> Vec<(Tone, String)> {
    let mut lines = question(model, width);
    if let Some((what, typed)) = &model.prompt {
        // All of a long one has no room, and that it grows is to be seen.
        let dots = "•".repeat((*typed).min(DOTS));
        lines.push((Tone::Aes, format!("{what}: {dots} ({typed})")));
        lines.push((Tone::Aes, "Enter to go on, Esc to leave it, Ctrl-U to begin anew".to_owned()));
    } else if let Some(menu) = &model.menu {
        let part = match menu.part {
            super::model::DevicePart::Microphone => "microphone",
            super::model::DevicePart::Speaker => "loudspeaker",
            super::model::DevicePart::Ringer => "ringer",
        };
        lines.push((Tone::Aes, format!("Which {part}? Arrows and Enter, or a digit; Esc leaves it")));
        // As many as fit beside the rest, around the marked one.
        let first = menu.marked.saturating_sub(4);
        lines.extend(menu.names.iter().enumerate().skip(first).take(6).map(|(index, name)| {
            let mark = if index == menu.marked { "▶" } else { " " };
            (Tone::Aes, format!("{mark} {} {}", index + 1, complaint::one_line(name)))
        }));
    }
    lines
}

/// The question that is asked, which others wait, and how it is answered while a passphrase is typed.
fn question(model: &Model, width: u16) -> Vec<(Tone, String)> {
    let Some(question) = model.question() else { return Vec::new() };
    let while_typing = if model.prompt.is_some() { " (while you type: Ctrl-Y for y, Ctrl-N for n)" } else { "" };
    let then: Vec<String> = model.asked.after().iter().take(2).map(Question::short).collect();
    let then = if then.is_empty() { then.concat() } else { format!(" (then: {})", then.join(", ")) };
    let text = question.words() + while_typing + &then;
    let text = complaint::one_line(&text);
    wrapped(&text, width.saturating_sub(4), 3).into_iter().map(|line| (Tone::Warn, line)).collect()
}

/// What happened, the newest last.
fn happened(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let first = model.log.len().saturating_sub(usize::from(area.height));
    for (row, entry) in (0..).zip(model.log.iter().skip(first)) {
        let tone = match entry.mood {
            Mood::Plain => Tone::Dim,
            Mood::Good => Tone::Good,
            Mood::Warn => Tone::Warn,
            Mood::Bad => Tone::Bad,
        };
        let time = canvas.say(Tone::Faint, format!("{:>8} ", words::clock(entry.at)));
        let text = canvas.say(tone, entry.text.clone());
        canvas.line(area, row, Line::from(vec![time, text]));
    }
}

/// What the keys do now.
fn help(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let talking = model.call().is_some_and(Call::is_on);
    // Space does something under push-to-talk only, and what depends on the terminal.
    let space: &[(&str, &str)] = match (model.switches.transmit, model.switches.tells_release) {
        (Transmit::PushToTalk, true) => &[("space", "hold to talk")],
        (Transmit::PushToTalk, false) => &[("space", "talk, then end")],
        _ => &[],
    };
    let lines: [Vec<(&str, &str)>; 2] = if talking {
        let first = [
            ("q", "hang up"),
            ("m", "mute"),
            ("d", "deafen"),
            ("h", "hold"),
            ("o", "protection"),
            ("r", "record"),
            ("t", "when to send"),
        ];
        let second = [
            ("n", "noise"),
            ("e", "echo"),
            ("f", "filter"),
            ("g", "gain"),
            ("Tab", "other call"),
            ("M", "mic"),
            ("S", "speaker"),
            ("R", "ringer"),
        ];
        [first.to_vec(), [space, &second].concat()]
    } else {
        let ends = if model.calls.is_empty() { ("q", "end") } else { ("q", "hang up") };
        let rest = [("D", "do not disturb"), ("M", "microphone"), ("S", "speaker"), ("R", "ringer")];
        [vec![ends], rest.to_vec()]
    };
    for (row, line) in (0..).zip(lines) {
        let mut spans = vec![canvas.say(Tone::Faint, " ")];
        for (key, what) in line {
            spans.push(canvas.shout(Tone::Text, (*key).to_owned()));
            spans.push(canvas.say(Tone::Faint, format!(" {what}  ")));
        }
        canvas.line(area, row, Line::from(spans));
    }
}
