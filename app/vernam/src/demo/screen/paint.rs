//! The few things that the screen is painted with: gauges, area charts, voice traces, cut text.

use std::borrow::Cow;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Block, BorderType, Borders, Widget as _},
};

use crate::complaint;
use crate::demo::theme::{Theme, Tone};

const EIGHTHS_UP: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where to paint, and with which colours.
pub(crate) struct Canvas<'a> {
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) theme: Theme,
}

impl<'a> Canvas<'a> {
    /// Over the whole of `area`, with nothing on it.
    pub(crate) fn over(buffer: &'a mut Buffer, area: Rect, theme: Theme) -> Self {
        buffer.set_style(area, theme.ground());
        Self { buffer, theme }
    }

    /// A frame with a title on the left and, where it fits, one on the right; gives the area inside.
    pub(crate) fn frame(&mut self, area: Rect, tone: Tone, left: Line<'_>, right: Line<'_>) -> Rect {
        let fits = left.width() + right.width() + 3 <= usize::from(area.width);
        let right = if fits { right } else { Line::default() };
        let block = Block::new()
            .borders(Borders::ALL)
            .border_type(BorderType::Rounded)
            .border_style(self.theme.fg(tone))
            .title_top(left)
            .title_top(right.right_aligned());
        let inner = block.inner(area);
        block.render(area, self.buffer);
        inner
    }

    /// A line of text at row `row` of `area`, cut with `…` where it does not fit.
    pub(crate) fn line(&mut self, area: Rect, row: u16, line: Line<'_>) {
        if let Some(place) = row_of(area, row) {
            cut(line, usize::from(place.width)).render(place, self.buffer);
        }
    }

    /// The same, at the right end.
    pub(crate) fn line_right(&mut self, area: Rect, row: u16, line: Line<'_>) {
        if let Some(place) = row_of(area, row) {
            cut(line, usize::from(place.width)).right_aligned().render(place, self.buffer);
        }
    }

    /// A line at each end of row `row`; the left one goes where both do not fit.
    pub(crate) fn pair(&mut self, area: Rect, row: u16, left: Line<'_>, right: Line<'_>) {
        if left.width() + 1 + right.width() <= usize::from(area.width) {
            self.line(area, row, left);
        }
        self.line_right(area, row, right);
    }

    /// A thin gauge of `share` (0 to 1), in halves of a cell.
    pub(crate) fn gauge(&mut self, area: Rect, share: f64, tone: Tone) {
        let halves = scaled(share, usize::from(area.width) * 2);
        for x in 0..area.width {
            let (mark, tone) = match halves.saturating_sub(usize::from(x) * 2) {
                0 => ('─', Tone::Line),
                1 => ('╸', tone),
                _ => ('━', tone),
            };
            self.put(area.x + x, area.y, mark, self.theme.fg(tone));
        }
    }

    /// A chart filled from below, brightest at its top, newest point at the right, with an optional dashed line at
    /// `mark`.
    /// `points` are shares of the full height (0 to 1) and the tone of each.
    pub(crate) fn area_chart(
        &mut self,
        area: Rect,
        points: impl DoubleEndedIterator<Item = (f64, Tone)>,
        mark: Option<f64>,
    ) {
        if area.is_empty() {
            return;
        }
        let mark_row = mark.map(|share| row_at(share, area.height));
        for x in area.left()..area.right() {
            self.put(x, area.bottom() - 1, '▁', self.theme.fg(Tone::Track));
            if let Some(row) = mark_row {
                self.put(
                    x,
                    area.y + row,
                    if (x - area.x).is_multiple_of(2) { '╌' } else { ' ' },
                    self.theme.fg(Tone::Bad),
                );
            }
        }
        let wide = (area.width / 64).clamp(1, 3);
        for (index, (share, tone)) in points.rev().take(usize::from(area.width / wide)).enumerate() {
            let height = eighths(share, area.height).max(1);
            let left = area.right() - wide * (u16::try_from(index).unwrap_or(u16::MAX).saturating_add(1));
            for row in 0..area.height {
                let below = usize::from(area.height - 1 - row) * 8;
                let here = height.saturating_sub(below).min(8);
                if here > 0 {
                    let depth = f64::from(u32::try_from(height - below - here).unwrap_or(u32::MAX)) / 8.0;
                    let style = Style::new().fg(self.theme.shade(tone, 0.2 + 0.8 * 0.72_f64.powf(depth)));
                    for x in left..left + wide {
                        self.put(x, area.y + row, EIGHTHS_UP[here], style);
                    }
                }
            }
        }
    }

    /// A voice trace: loudness (0 to 1) mirrored around the middle, two points a cell, newest at the right.
    pub(crate) fn voice(&mut self, area: Rect, levels: impl DoubleEndedIterator<Item = f64>, tone: Tone) {
        let columns = usize::from(area.width) * 2;
        let half = usize::from(area.height) * 2;
        let mut heights = vec![0; columns];
        for (slot, level) in heights.iter_mut().rev().zip(levels.rev()) {
            *slot = scaled(level, half);
        }
        for y in 0..area.height {
            for x in 0..area.width {
                let mut dots = 0_u32;
                for (column, bits) in [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]].into_iter().enumerate() {
                    let height = heights[usize::from(x) * 2 + column].max(1);
                    for (row, bit) in bits.into_iter().enumerate() {
                        let dot = usize::from(y) * 4 + row;
                        // Dots above the middle count from it upwards, dots below it downwards.
                        let from_middle = if dot < half { half - dot } else { dot - half + 1 };
                        if from_middle <= height {
                            dots |= bit;
                        }
                    }
                }
                let loud = heights[usize::from(x) * 2].max(heights[usize::from(x) * 2 + 1]) > 1;
                let style = self.theme.fg(if loud { tone } else { Tone::Faint });
                self.put(area.x + x, area.y + y, char::from_u32(0x2800 + dots).unwrap_or(' '), style);
            }
        }
    }

    /// One character. Outside the screen it does nothing.
    pub(crate) fn put(&mut self, x: u16, y: u16, mark: char, style: Style) {
        if let Some(cell) = self.buffer.cell_mut((x, y)) {
            cell.set_char(mark);
            cell.set_style(style);
        }
    }

    /// A span of a tone.
    pub(crate) fn say<'t>(&self, tone: Tone, text: impl Into<Cow<'t, str>>) -> Span<'t> {
        Span::styled(shown(text.into()), self.theme.fg(tone))
    }

    /// A bold span of a tone.
    pub(crate) fn shout<'t>(&self, tone: Tone, text: impl Into<Cow<'t, str>>) -> Span<'t> {
        Span::styled(shown(text.into()), self.theme.bold(tone))
    }
}

/// Names come from elsewhere, and must not turn the writing of a terminal around.
fn shown(text: Cow<'_, str>) -> Cow<'_, str> {
    let changed = match complaint::one_line(&text) {
        Cow::Owned(changed) => Some(changed),
        Cow::Borrowed(_) => None,
    };
    changed.map_or(text, Cow::Owned)
}

/// Row `row` of `area`.
pub(crate) fn row_of(area: Rect, row: u16) -> Option<Rect> {
    (row < area.height && area.width > 0).then(|| Rect { y: area.y + row, height: 1, ..area })
}

/// The line, cut to `width` columns with `…` at its end.
fn cut(line: Line<'_>, width: usize) -> Line<'_> {
    if line.width() <= width {
        return line;
    }
    let mut left = width.saturating_sub(1);
    let mut kept = Vec::new();
    for span in line.spans {
        let text: String = take_columns(&span.content, left);
        left -= Span::raw(text.as_str()).width().min(left);
        let whole = text.len() == span.content.len();
        kept.push(Span::styled(text, span.style));
        if !whole {
            break;
        }
    }
    kept.push(Span::styled("…", Style::new().add_modifier(Modifier::DIM)));
    Line::from(kept)
}

/// As much of `text` as fits into `columns`.
pub(crate) fn take_columns(text: &str, columns: usize) -> String {
    let mut kept = String::new();
    let mut used = 0;
    for mark in text.chars() {
        let mut encoded = [0; 4];
        used += Span::raw(&*mark.encode_utf8(&mut encoded)).width();
        if used > columns {
            break;
        }
        kept.push(mark);
    }
    kept
}

/// The text in lines of `width` columns, broken between words; the last of `rows` lines is cut.
pub(crate) fn wrapped(text: &str, width: u16, rows: u16) -> Vec<String> {
    let (width, rows) = (usize::from(width), usize::from(rows));
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = take_columns(word, width);
        match lines.last_mut() {
            Some(line) if Span::raw(line.as_str()).width() + 1 + Span::raw(word.as_str()).width() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    if lines.len() > rows {
        lines.truncate(rows);
        if let Some(last) = lines.last_mut() {
            *last = take_columns(last, width.saturating_sub(1));
            last.push('…');
        }
    }
    lines
}

/// `share` of `cells` cells, in eighths of a cell.
fn eighths(share: f64, cells: u16) -> usize {
    scaled(share, usize::from(cells) * 8)
}

/// `share` (0 to 1) of `whole`, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "0 to a few hundred cells"
)]
fn scaled(share: f64, whole: usize) -> usize {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    (share * whole as f64).round() as usize
}

/// The row, from the top, in which `share` of the height lies.
fn row_at(share: f64, height: u16) -> u16 {
    let from_below = u16::try_from(scaled(share, usize::from(height) * 8) / 8).unwrap_or(0);
    height - 1 - from_below.min(height - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words_and_cut_at_the_end() {
        assert_eq!(wrapped("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 7, 1), ["one tw…"]);
        assert!(wrapped("", 7, 1).is_empty());
    }

    #[test]
    fn a_line_is_cut_to_its_columns() {
        let line = cut(Line::from(vec![Span::raw("photon"), Span::raw(" by photon")]), 9);
        assert_eq!(line.to_string(), "photon b…");
        assert_eq!(line.width(), 9);
    }
}
