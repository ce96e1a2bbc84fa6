//! The screen: a pure function of the model. No clock, no terminal, no state.
//!
//! ```text
//!  acts, time
//!  what protects the call right now
//!  Alice │ the quantum link │ Bob
//!  error rate │ key rate
//!  the call (or how far setting up is, or the promises)
//!  file │ message
//!  log
//! ```

mod call;
mod key;
pub(crate) mod paint;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Alignment, Constraint, Layout, Rect},
    style::Modifier,
    text::{Line, Span},
    widgets::{Paragraph, Widget as _},
};

use self::paint::Canvas;
use super::{
    events::{Act, Person, Suite},
    model::{Call, CallState, Model, Mood},
    plain::{mark, minutes, spoken},
    theme::{Theme, Tone},
};

/// The smallest screen on which everything has room; a smaller one shows less.
pub const SMALLEST: (u16, u16) = (80, 24);

/// Draws the model.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    paint(frame.buffer_mut(), area, model, theme);
}

/// Draws the model into a buffer.
pub fn paint(buffer: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let canvas = &mut Canvas::over(buffer, area, theme);
    let parts = Parts::of(area);
    title(canvas, parts.title, model);
    banner(canvas, parts.banner, model);
    if area.width < 60 || area.height < 17 {
        call::log(canvas, parts.rest, model);
        return;
    }
    let [alice, link, bob] =
        Layout::horizontal([Constraint::Ratio(3, 10), Constraint::Ratio(4, 10), Constraint::Ratio(3, 10)])
            .areas(parts.people);
    person(canvas, alice, model, Person::Alice);
    key::link(canvas, link, model);
    person(canvas, bob, model, Person::Bob);
    let [qber, rate] = Layout::horizontal([Constraint::Fill(1); 2]).areas(parts.charts);
    key::qber(canvas, qber, model);
    key::rate(canvas, rate, model);
    call::now(canvas, parts.call, model);
    let [file, text] = Layout::horizontal([Constraint::Fill(1); 2]).areas(parts.extras);
    call::file(canvas, file, model);
    call::message(canvas, text, model);
    call::log(canvas, parts.rest, model);
}

/// How the screen is cut.
struct Parts {
    title: Rect,
    banner: Rect,
    people: Rect,
    charts: Rect,
    call: Rect,
    extras: Rect,
    rest: Rect,
}

impl Parts {
    fn of(area: Rect) -> Self {
        let spare = area.height.saturating_sub(SMALLEST.1);
        let small = area.width < 60 || area.height < 17;
        let present = |rows: u16, least: u16| if small || area.height < least { 0 } else { rows };
        let [title, banner, people, charts, call, extras, rest] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(if spare >= 4 { 3 } else { 1 }),
            Constraint::Length(present(7 + (spare / 7).min(4), 17)),
            Constraint::Length(present(5 + (spare / 3).min(12), 22)),
            Constraint::Length(present(4, 17)),
            Constraint::Length(present(3, 24)),
            Constraint::Fill(1),
        ])
        .areas(area);
        Self { title, banner, people, charts, call, extras, rest }
    }
}

/// The acts, and how much time has passed.
fn title(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let mut spans = vec![canvas.shout(Tone::Good, " ◆ vernam ")];
    let narrow = area.width < 100;
    let gap = if narrow { " " } else { "  " };
    let acts = model.plan.iter().flat_map(|plan| &plan.acts).filter(|act| !matches!(act, Act::Setup | Act::Summing));
    for (number, act) in (1..).zip(acts) {
        let text = format!("{gap}{number} {}", if narrow { act.short() } else { act.title() });
        spans.push(if model.act == Some(*act) {
            canvas.shout(act_tone(*act), format!("{text} ●"))
        } else if model.acts_done.contains(act) {
            canvas.say(Tone::Dim, format!("{text} ✓"))
        } else {
            canvas.say(Tone::Faint, text)
        });
    }
    canvas.line(area, 0, Line::from(spans));
    let of = model.plan.as_ref().map(|plan| format!("/{}", minutes(plan.duration_s))).unwrap_or_default();
    let time = canvas.shout(Tone::Text, format!(" {}", minutes(model.now.as_secs_f64())));
    let of = canvas.say(Tone::Dim, format!("{of} "));
    canvas.line_right(area, 0, Line::from(vec![time, of]));
}

fn act_tone(act: Act) -> Tone {
    match act {
        Act::OneTimePad => Tone::Good,
        Act::Aes => Tone::Aes,
        Act::ChaCha => Tone::Key,
        Act::Eavesdropper => Tone::Bad,
        Act::Setup | Act::Summing => Tone::Dim,
    }
}

/// The tone of what protects something.
fn suite_tone(suite: Suite) -> Tone {
    match suite {
        Suite::Otp => Tone::Good,
        Suite::Aes256Gcm => Tone::Aes,
        Suite::ChaCha20Poly1305 => Tone::Key,
    }
}

/// What the banner says: its tone, the claim, and what it means.
struct Claim {
    tone: Tone,
    what: String,
    meaning: String,
}

/// What protects the call right now, in plain words.
fn banner(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    let Claim { tone, what, meaning } = protection(model);
    let middle = Rect { y: area.y + area.height / 2, height: 1.min(area.height), ..area };
    if area.height >= 3 {
        for x in area.left()..area.right() {
            let edge = canvas.theme.fg(tone);
            let (above, below) = match x {
                x if x == area.left() => ('▗', '▝'),
                x if x + 1 == area.right() => ('▖', '▘'),
                _ => ('▄', '▀'),
            };
            canvas.put(x, area.y, above, edge);
            canvas.put(x, area.bottom() - 1, below, edge);
        }
    }
    let style = canvas.theme.filled(tone);
    canvas.buffer.set_style(middle, style);
    if area.height >= 3 {
        // Half a cell in from both edges, as the frames below.
        let (edge, ground) = (canvas.theme.fg(tone), canvas.theme.color(Tone::Ground));
        for (x, mark) in [(area.left(), '▐'), (area.right().saturating_sub(1), '▌')] {
            canvas.put(x, middle.y, mark, edge.bg(ground).remove_modifier(Modifier::REVERSED));
        }
    }
    let middle = Rect { x: middle.x + 1, width: middle.width.saturating_sub(2), ..middle };
    let time = match (&model.call, model.talking()) {
        (Some(call), Some(_)) if area.width >= 70 => {
            let time = model.people.iter().filter_map(|person| person.tick).map(|tick| tick.time_s).fold(0.0, f64::max);
            format!("call {}  {}", call.number, minutes(time))
        }
        _ => String::new(),
    };
    let room = usize::from(middle.width).saturating_sub(time.chars().count() + 1);
    let text = paint::take_columns(&format!("{what}  \u{2500}  {meaning}"), room);
    Paragraph::new(Line::from(Span::styled(text, style))).render(middle, canvas.buffer);
    Paragraph::new(Line::from(Span::styled(time, style))).alignment(Alignment::Right).render(
        Rect { x: middle.x + middle.width / 2, width: middle.width - middle.width / 2, ..middle },
        canvas.buffer,
    );
}

fn protection(model: &Model) -> Claim {
    let claim = |tone, what: &str, meaning: String| Claim { tone, what: what.to_owned(), meaning };
    if let Some(summary) = &model.summary {
        let broken = summary.broken().count();
        return if broken == 0 {
            claim(Tone::Good, "DONE", format!("all {} promises kept", summary.promises.len()))
        } else {
            claim(Tone::Bad, "DONE", format!("{broken} of {} promises broken", summary.promises.len()))
        };
    }
    if model.stopping {
        return claim(Tone::Warn, "STOPPING", "hanging up, shutting the servers down, erasing keys".to_owned());
    }
    match &model.call {
        Some(Call { suite, state: CallState::Talking, .. }) => talking(model, *suite),
        Some(Call { suite, state: CallState::Ringing, caller, .. }) => {
            claim(Tone::Dim, "RINGING", format!("{caller} calls {} and offers {}", caller.other(), suite.title()))
        }
        Some(Call { state: CallState::Ended(reason), .. }) => claim(Tone::Dim, "CALL OVER", reason.to_string()),
        None if model.confirmed == [true; 2] => {
            claim(Tone::Good, "CONNECTED", "each has proved to hold the same quantum key as the other".to_owned())
        }
        None => claim(Tone::Dim, "SETTING UP", "no word is spoken yet".to_owned()),
    }
}

fn talking(model: &Model, suite: Suite) -> Claim {
    let left = model
        .people
        .iter()
        .filter_map(|person| person.send)
        .map(|level| level.talk_s)
        .reduce(f64::min)
        .map_or_else(String::new, spoken);
    match (suite, model.alarmed()) {
        (Suite::Otp, false) => Claim {
            tone: Tone::Good,
            what: "ONE-TIME PAD".to_owned(),
            meaning: "every word uses key that is then destroyed".to_owned(),
        },
        (Suite::Otp, true) => Claim {
            tone: Tone::Warn,
            what: "ONE-TIME PAD FROM STOCK".to_owned(),
            meaning: format!("link tapped, no new key; {left} left"),
        },
        (suite, alarmed) => Claim {
            tone: if alarmed { Tone::Warn } else { suite_tone(suite) },
            what: suite.title().to_uppercase(),
            meaning: if alarmed {
                "the link is tapped: no new key".to_owned()
            } else {
                "a fresh quantum key a minute; not a one-time pad".to_owned()
            },
        },
    }
}

/// One person: what they hear, and what key they hold.
fn person(canvas: &mut Canvas<'_>, area: Rect, model: &Model, who: Person) {
    let view = model.person(who);
    let tone = match who {
        Person::Alice => Tone::Alice,
        Person::Bob => Tone::Bob,
    };
    let name = Line::from(vec![canvas.shout(tone, format!(" ● {who} "))]);
    let hears = if model.talking().is_some() {
        canvas.say(Tone::Dim, format!(" hears {} ", who.other()))
    } else {
        Span::raw("")
    };
    let inner = canvas.frame(area, Tone::Line, name, Line::from(hears));
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let voice_rows = inner.height.saturating_sub(3);
    let [voice, out, into, talk] = Layout::vertical([
        Constraint::Length(voice_rows),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(inner);
    let speaker = match who {
        Person::Alice => Tone::Bob,
        Person::Bob => Tone::Alice,
    };
    canvas.voice(voice, view.heard.iter().copied(), speaker);
    let (send_share, receive_share) = model.stock_share(who);
    for (row, label, share, level) in [(out, "out", send_share, view.send), (into, "in", receive_share, view.receive)] {
        let value = level.map_or_else(|| "-".to_owned(), |level| super::plain::bytes(level.bytes));
        let roomy = row.width >= 26;
        let [name, gauge, number] = Layout::horizontal([
            Constraint::Length(if roomy { 8 } else { 4 }),
            Constraint::Fill(1),
            Constraint::Length(9),
        ])
        .areas(row);
        let label = Line::from(canvas.say(Tone::Dim, format!("{}{label}", if roomy { "key " } else { "" })));
        canvas.line(name, 0, label);
        let low = level.is_some_and(|level| level.talk_s < 60.0);
        canvas.gauge(gauge, share, if low { Tone::Warn } else { Tone::Key });
        let value = Line::from(canvas.say(Tone::Text, value));
        canvas.line_right(number, 0, value);
    }
    let left = view.send.zip(view.receive).map(|(send, receive)| send.talk_s.min(receive.talk_s));
    let words = match left {
        Some(seconds) if seconds < 60.0 => {
            vec![canvas.shout(Tone::Warn, spoken(seconds)), canvas.say(Tone::Warn, " of talk left")]
        }
        Some(seconds) => vec![canvas.shout(Tone::Text, spoken(seconds)), canvas.say(Tone::Dim, " of talk left")],
        None => vec![canvas.say(Tone::Faint, "no key in stock yet")],
    };
    canvas.line(talk, 0, Line::from(words));
}

fn mood_tone(mood: Mood) -> Tone {
    match mood {
        Mood::Plain => Tone::Dim,
        Mood::Good => Tone::Good,
        Mood::Warn => Tone::Warn,
        Mood::Bad => Tone::Bad,
    }
}

/// A mark and a text, in a mood.
fn moody(canvas: &Canvas<'_>, mood: Mood, text: String) -> Vec<Span<'static>> {
    let tone = mood_tone(mood);
    let words = if matches!(mood, Mood::Bad | Mood::Warn) { tone } else { Tone::Text };
    vec![canvas.say(tone, mark(mood)), canvas.say(words, text)]
}
