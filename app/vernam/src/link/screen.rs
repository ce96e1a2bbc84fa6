//! The screen of `vernam link`: a pure function of what is known. No clock, no terminal, no state.
//!
//! ```text
//!  device, line, randomness, virtual time
//!  whether there is key, and why not
//!  key rate │ error rate in X and Z
//!  clicks per pulse of the three kinds │ from pulses to key
//!  last blocks │ what only the simulation knows
//! ```

mod panels;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Paragraph, Widget as _},
};

use super::{
    live::Live,
    words::{rate, time},
};
use crate::demo::{
    screen::paint::{Canvas, take_columns},
    theme::{Theme, Tone},
};

/// The smallest screen on which everything has room; a smaller one shows less.
pub const SMALLEST: (u16, u16) = (80, 24);

/// Draws the link.
pub fn draw(frame: &mut Frame<'_>, live: &Live, theme: Theme) {
    let area = frame.area();
    paint(frame.buffer_mut(), area, live, theme);
}

/// Draws the link into a buffer.
pub fn paint(buffer: &mut Buffer, area: Rect, live: &Live, theme: Theme) {
    let canvas = &mut Canvas::over(buffer, area, theme);
    let spare = area.height.saturating_sub(SMALLEST.1);
    let small = area.width < 60 || area.height < 17;
    let present = |rows: u16, least: u16| if small || area.height < least { 0 } else { rows };
    let [head, banner_row, charts, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(present(6 + spare / 3, 24)),
        Constraint::Length(present(9 + spare.min(1), 17)),
        Constraint::Fill(1),
    ])
    .areas(area);
    title(canvas, head, live);
    banner(canvas, banner_row, live);
    if small {
        panels::blocks(canvas, bottom, live);
        return;
    }
    let halves = |area| Layout::horizontal([Constraint::Fill(1); 2]).areas::<2>(area);
    let [left, right] = halves(charts);
    panels::key_rate(canvas, left, live);
    panels::qber(canvas, right, live);
    let [left, right] = halves(middle);
    panels::decoys(canvas, left, live);
    panels::stages(canvas, right, live);
    let [left, right] = halves(bottom);
    panels::blocks(canvas, left, live);
    panels::simulation(canvas, right, live);
}

fn title(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let mut spans = vec![canvas.shout(Tone::Good, " ◆ vernam link ")];
    if let Some(setup) = &live.setup {
        let how = if setup.model == "photons" { "pulse by pulse" } else { "from the formulas" };
        let seed = setup.seed.map_or_else(|| "OS randomness".to_owned(), |seed| format!("seed {seed}"));
        spans.push(canvas.shout(Tone::Text, format!(" {}", setup.device)));
        let length = format!("  {} km, {:.2} dB", setup.length_km, setup.loss_db);
        spans.push(canvas.say(Tone::Text, length));
        spans.push(canvas.say(Tone::Dim, format!("  {how}  {seed}")));
    }
    let clock = Line::from(canvas.shout(Tone::Text, format!(" {} ", time(live.now))));
    let room = Rect { width: area.width.saturating_sub(u16::try_from(clock.width()).unwrap_or(0)), ..area };
    canvas.line(room, 0, Line::from(spans));
    canvas.line_right(area, 0, clock);
}

/// Whether there is key.
fn banner(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let (tone, what, meaning) = match (live.ended, live.alarm(), live.last()) {
        (true, _, _) => (Tone::Dim, "STOPPED", String::new()),
        (_, Some(reason), _) => (Tone::Bad, "NO KEY", reason.to_owned()),
        (_, None, Some(block)) if block.key_bits > 0 => {
            (Tone::Good, "KEY FLOWS", format!("{}, the same at both ends", rate(block.rate_bps)))
        }
        (_, None, Some(_)) => (Tone::Warn, "NO KEY", "authentication takes all that the link makes".to_owned()),
        (_, None, None) => (Tone::Warn, "STARTING", "the first block is in the making".to_owned()),
    };
    let style = canvas.theme.filled(tone);
    canvas.buffer.set_style(area, style);
    let text = if meaning.is_empty() { what.to_owned() } else { format!("{what}  ─  {meaning}") };
    let inner = Rect { x: area.x + 1.min(area.width), width: area.width.saturating_sub(2), ..area };
    let text = take_columns(&text, usize::from(inner.width));
    Paragraph::new(Line::from(Span::styled(text, style))).render(inner, canvas.buffer);
}
