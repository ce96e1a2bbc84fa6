//! A film of the screen as one animated SVG: sharp at every size, plays in a browser and in a README, no script in it.
//!
//! A frame is a ratatui [`Buffer`], turned row by row into SVG. Text stays text; blocks, lines and braille dots become
//! shapes, so that the picture does not depend on a font's idea of them. A row that looks the same again is stored
//! once: the film moves a strip of row states behind a window of one row.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Rect,
    style::{Color, Modifier},
};

use super::{
    model::Model,
    screen,
    theme::{Depth, Theme, Tone},
};

/// Size of the filmed screen, in cells; it does not depend on the terminal.
pub const SIZE: (u16, u16) = (100, 34);
/// Time between two frames.
pub const FRAME_EVERY: Duration = Duration::from_millis(500);
/// Size above which a film is thinned to every second frame, bytes.
pub const LARGEST: usize = 400_000;
/// Frames after which a film takes no more: half an hour.
const MOST_FRAMES: usize = 3_600;

const CELL_WIDE: u16 = 9;
const CELL_HIGH: u16 = 19;
const BASELINE: u16 = 14;
const MARGIN: u16 = 20;
const HEAD: u16 = 34;

/// Frames of the screen, growing.
#[derive(Debug)]
pub struct Film {
    size: (u16, u16),
    palette: Palette,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    at: Duration,
    rows: Vec<String>,
    /// How much there is to see: the most telling frame is what a viewer without animation shows.
    telling: u32,
}

impl Default for Film {
    fn default() -> Self {
        Self { size: SIZE, palette: Palette::default(), frames: Vec::new() }
    }
}

impl Film {
    /// A film of a screen of that many columns and rows.
    pub fn sized(columns: u16, rows: u16) -> Self {
        Self { size: (columns, rows), ..Self::default() }
    }

    /// Takes a frame of the model, when it is time for one.
    pub fn film(&mut self, model: &Model) {
        let due = self.frames.last().is_none_or(|last| model.now >= last.at + FRAME_EVERY);
        if due && self.frames.len() < MOST_FRAMES {
            let area = Rect::new(0, 0, self.size.0, self.size.1);
            let mut buffer = Buffer::empty(area);
            screen::paint(&mut buffer, area, model, Theme { depth: Depth::True });
            self.take(&buffer, model.now, telling(model));
        }
    }

    fn take(&mut self, buffer: &Buffer, at: Duration, telling: u32) {
        let rows = (0..buffer.area.height).map(|y| row(buffer, y, &mut self.palette)).collect();
        self.frames.push(Frame { at, rows, telling });
    }

    /// The film as SVG, thinned until it is small enough; empty when nothing was filmed.
    pub fn svg(&self) -> String {
        let mut step = 1;
        loop {
            let svg = self.svg_of_every(step);
            if svg.len() <= LARGEST || step >= self.frames.len() {
                return svg;
            }
            step *= 2;
        }
    }

    fn svg_of_every(&self, step: usize) -> String {
        let Some(poster) = self.frames.iter().max_by_key(|frame| frame.telling) else { return String::new() };
        let mut frames: Vec<&Frame> = self.frames.iter().step_by(step).collect();
        if let Some(last) = self.frames.last().filter(|last| frames.last().is_none_or(|frame| frame.at != last.at)) {
            frames.push(last);
        }
        let begin = frames.first().map_or(Duration::ZERO, |frame| frame.at);
        // The last frame stays for three seconds, so that its sums can be read.
        let end = frames.last().map_or(Duration::ZERO, |frame| frame.at);
        let length = end.saturating_sub(begin) + Duration::from_secs(3);
        let mut out = self.head();
        for y in 0..self.size.1 {
            let strip = Strip::of(&frames, poster, usize::from(y), begin, length);
            strip.write(&mut out, self.size.0, y);
        }
        out.push_str("</svg>\n");
        out
    }

    fn head(&self) -> String {
        let (width, height) = (self.size.0 * CELL_WIDE + 2 * MARGIN, self.size.1 * CELL_HIGH + HEAD + MARGIN);
        let ground = hex(Theme::default().color(Tone::Ground));
        let (line, dim) = (hex(Theme::default().color(Tone::Line)), hex(Theme::default().color(Tone::Dim)));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"ui-monospace,'JetBrains Mono','SF Mono','DejaVu Sans Mono',Menlo,\
             Consolas,monospace\" font-size=\"15\">\n<title>vernam demo</title>\n<style>text{{white-space:pre}}\
             .b{{font-weight:700}}.d{{stroke-width:2.2;stroke-linecap:round}}.l{{stroke-width:1.4}}\n"
        );
        for (number, color) in self.palette.0.iter().enumerate() {
            let color = hex(*color);
            // Writing to a String cannot fail.
            let _ = writeln!(out, ".c{number}{{fill:{color}}}.s{number}{{stroke:{color};fill:none}}");
        }
        let _ = write!(
            out,
            "</style>\n<rect x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"12\" fill=\"{ground}\" \
             stroke=\"{line}\"/>\n<g fill=\"{line}\"><circle cx=\"22\" cy=\"18\" r=\"5.5\"/><circle cx=\"40\" \
             cy=\"18\" r=\"5.5\"/><circle cx=\"58\" cy=\"18\" r=\"5.5\"/></g><text x=\"{}\" y=\"23\" \
             text-anchor=\"middle\" font-size=\"13\" fill=\"{dim}\">vernam demo</text>\n",
            width - 1,
            height - 1,
            width / 2,
        );
        out
    }
}

/// How much a viewer without animation would see in this moment.
fn telling(model: &Model) -> u32 {
    let talking = model.talking().is_some();
    let heard = model.people.iter().map(|person| person.heard.len()).sum::<usize>();
    let points = [
        (talking, 100),
        (talking && model.file_moving(), 60),
        (talking && model.text.is_some(), 30),
        (talking && heard > 60, 20),
        (!model.alarmed(), 10),
    ];
    points.into_iter().map(|(holds, points)| if holds { points } else { 0 }).sum()
}

/// All states of one row of the screen, each once, and when each is seen.
struct Strip<'a> {
    states: Vec<&'a str>,
    /// Share of the film's length at which a state begins, and the state.
    cues: Vec<(f64, usize)>,
    poster: usize,
    seconds: f64,
}

impl<'a> Strip<'a> {
    fn of(frames: &[&'a Frame], poster: &'a Frame, y: usize, begin: Duration, length: Duration) -> Self {
        let seconds = length.as_secs_f64();
        let mut strip = Self { states: Vec::new(), cues: Vec::new(), poster: 0, seconds };
        let mut known = BTreeMap::new();
        strip.poster = strip.state(&mut known, &poster.rows[y]);
        for frame in frames {
            let state = strip.state(&mut known, &frame.rows[y]);
            if strip.cues.last().is_none_or(|(_, last)| *last != state) {
                strip.cues.push((frame.at.saturating_sub(begin).as_secs_f64() / seconds, state));
            }
        }
        strip
    }

    fn state(&mut self, known: &mut BTreeMap<&'a str, usize>, row: &'a str) -> usize {
        *known.entry(row).or_insert_with(|| {
            self.states.push(row);
            self.states.len() - 1
        })
    }

    fn write(&self, out: &mut String, columns: u16, y: u16) {
        let (left, top, width) = (MARGIN, HEAD + y * CELL_HIGH, columns * CELL_WIDE);
        let Self { cues, seconds, .. } = self;
        if cues.len() <= 1 {
            let _ = writeln!(out, "<g transform=\"translate({left} {top})\">{}</g>", self.states[self.poster]);
            return;
        }
        let high = usize::from(CELL_HIGH);
        let _ = write!(
            out,
            "<svg x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{CELL_HIGH}\"><g transform=\"translate(0 -{})\">\
             <animateTransform attributeName=\"transform\" type=\"translate\" calcMode=\"discrete\" dur=\"{seconds:.1}s\" \
             repeatCount=\"indefinite\" values=\"",
            self.poster * high
        );
        for (index, (_, state)) in cues.iter().enumerate() {
            let _ = write!(out, "{}0 -{}", if index > 0 { ";" } else { "" }, state * high);
        }
        out.push_str("\" keyTimes=\"");
        for (index, (share, _)) in cues.iter().enumerate() {
            let text = if index == 0 { "0".to_owned() } else { format!(";{share:.4}").replace("0.", ".") };
            out.push_str(&text);
        }
        out.push_str("\"/>");
        for (index, state) in self.states.iter().enumerate() {
            match index * high {
                0 => out.push_str(state),
                down => {
                    let _ = write!(out, "<g transform=\"translate(0 {down})\">{state}</g>");
                }
            }
        }
        out.push_str("</g></svg>\n");
    }
}

/// The colours seen so far; their index is their class.
#[derive(Debug, Default)]
struct Palette(Vec<Color>);

impl Palette {
    fn class(&mut self, color: Color) -> usize {
        self.0.iter().position(|known| *known == color).unwrap_or_else(|| {
            self.0.push(color);
            self.0.len() - 1
        })
    }
}

fn hex(color: Color) -> String {
    match color {
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        // The film is made with the true-colour theme; anything else is plain text colour.
        _ => "#e4e9f2".to_owned(),
    }
}

/// What one row is made of, by colour class.
#[derive(Default)]
struct Row {
    fills: BTreeMap<usize, String>,
    shapes: BTreeMap<usize, String>,
    lines: BTreeMap<usize, String>,
    dots: BTreeMap<usize, String>,
    texts: String,
}

/// Row `y` of the buffer as SVG, with its upper left corner at the origin.
fn row(buffer: &Buffer, y: u16, palette: &mut Palette) -> String {
    let mut row = Row::default();
    let ground = Theme::default().color(Tone::Ground);
    let cells: Vec<&Cell> = (0..buffer.area.width).filter_map(|x| buffer.cell((x, y))).collect();
    let mut x = 0;
    while x < cells.len() {
        let cell = cells[x];
        let run = cells[x..].iter().take_while(|other| other.bg == cell.bg).count();
        if cell.bg != ground {
            let _ = write!(
                row.fills.entry(palette.class(cell.bg)).or_default(),
                "M{} 0h{}v{CELL_HIGH}h-{1}z",
                x * usize::from(CELL_WIDE),
                run * usize::from(CELL_WIDE)
            );
        }
        x += run;
    }
    let mut x = 0;
    while x < cells.len() {
        let mark = cells[x].symbol().chars().next().unwrap_or(' ');
        if mark == ' ' || shape(&mut row, palette, x, mark, cells[x].fg) {
            x += 1;
        } else {
            x += text(&mut row, palette, &cells[x..], x);
        }
    }
    let mut out = String::new();
    let groups = [(&row.fills, "c", ""), (&row.shapes, "c", ""), (&row.lines, "s", " l"), (&row.dots, "s", " d")];
    for (paths, kind, more) in groups {
        for (class, path) in paths {
            let _ = write!(out, "<path class=\"{kind}{class}{more}\" d=\"{path}\"/>");
        }
    }
    out.push_str(&row.texts);
    out
}

/// Draws a character that is a shape; `false` when it is text.
fn shape(row: &mut Row, palette: &mut Palette, column: usize, mark: char, color: Color) -> bool {
    let left = column * usize::from(CELL_WIDE);
    let (wide, high) = (f64::from(CELL_WIDE), f64::from(CELL_HIGH));
    let code = u32::from(mark);
    match code {
        // Lower eighths, left eighths, upper half.
        0x2581..=0x2588 => {
            let part = high * f64::from(code - 0x2580) / 8.0;
            let path = row.shapes.entry(palette.class(color)).or_default();
            let _ = write!(path, "M{left} {CELL_HIGH}v-{part:.1}h{CELL_WIDE}v{part:.1}z");
        }
        0x2589..=0x258f => {
            let part = wide * f64::from(0x2590 - code) / 8.0;
            let path = row.shapes.entry(palette.class(color)).or_default();
            let _ = write!(path, "M{left} 0h{part:.1}v{CELL_HIGH}h-{part:.1}z");
        }
        0x2596..=0x2598 | 0x259d => {
            let path = row.shapes.entry(palette.class(color)).or_default();
            let (right, down) = (matches!(mark, '▗' | '▝'), matches!(mark, '▗' | '▖'));
            let x = f64::from(u32::try_from(left).unwrap_or(0)) + if right { wide / 2.0 } else { 0.0 };
            let (y, part) = (if down { high / 2.0 } else { 0.0 }, high / 2.0);
            let _ = write!(path, "M{x:.1} {y:.1}h{:.1}v{part:.1}h-{0:.1}z", wide / 2.0);
        }
        0x2590 => {
            let path = row.shapes.entry(palette.class(color)).or_default();
            let left = f64::from(u32::try_from(left).unwrap_or(0)) + wide / 2.0;
            let _ = write!(path, "M{left:.1} 0h{:.1}v{CELL_HIGH}h-{0:.1}z", wide / 2.0);
        }
        0x2501 | 0x2578 => {
            let path = row.shapes.entry(palette.class(color)).or_default();
            let part = if mark == '━' { wide } else { wide / 2.0 };
            let _ = write!(path, "M{left} 7h{part:.1}v5h-{part:.1}z");
        }
        0x2580 => {
            let path = row.shapes.entry(palette.class(color)).or_default();
            let _ = write!(path, "M{left} 0h{CELL_WIDE}v{:.1}h-{CELL_WIDE}z", high / 2.0);
        }
        0x2800..=0x28ff => {
            let path = row.dots.entry(palette.class(color)).or_default();
            for (bit, (x, y)) in
                [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)].into_iter().enumerate()
            {
                if code >> bit & 1 == 1 {
                    let (x, y) = (f64::from(x) * wide / 2.0 + wide / 4.0, f64::from(y) * high / 4.0 + high / 8.0);
                    let left = f64::from(u32::try_from(left).unwrap_or(0));
                    let _ = write!(path, "M{:.1} {y:.1}h.01", left + x);
                }
            }
        }
        _ => {
            let Some(strokes) = box_strokes(mark) else { return false };
            let path = row.lines.entry(palette.class(color)).or_default();
            let _ = write!(path, "M{left} 0m{strokes}");
        }
    }
    true
}

/// The strokes of a frame character, relative to its cell's upper left corner (9 by 19).
fn box_strokes(mark: char) -> Option<&'static str> {
    Some(match mark {
        '─' => "0 9.5h9",
        '╌' => "1.5 9.5h6",
        '│' => "4.5 0v19",
        '╭' => "4.5 19v-4.5q0-5 4.5-5",
        '╮' => "4.5 19v-4.5q0-5-4.5-5",
        '╰' => "4.5 0v4.5q0 5 4.5 5",
        '╯' => "4.5 0v4.5q0 5-4.5 5",
        _ => return None,
    })
}

/// Writes the run of text that begins here; gives its length in cells.
fn text(row: &mut Row, palette: &mut Palette, cells: &[&Cell], column: usize) -> usize {
    let first = cells[0];
    let same = |cell: &Cell| cell.fg == first.fg && cell.modifier == first.modifier;
    let mut content = String::new();
    let mut length = 0;
    let mut trimmed = (0, 0);
    for cell in cells {
        let mark = cell.symbol().chars().next().unwrap_or(' ');
        let blank = mark == ' ';
        // Two blanks end a run: what follows is placed by itself.
        if (!blank && !same(cell)) || is_shape(mark) || (blank && content.ends_with(' ')) {
            break;
        }
        match mark {
            '<' => content.push_str("&lt;"),
            '>' => content.push_str("&gt;"),
            '&' => content.push_str("&amp;"),
            _ => content.push_str(cell.symbol()),
        }
        length += 1;
        if !blank {
            trimmed = (length, content.len());
        }
    }
    let (columns, bytes) = trimmed;
    let bold = if first.modifier.contains(Modifier::BOLD) { " b" } else { "" };
    let _ = write!(
        row.texts,
        "<text x=\"{}\" y=\"{BASELINE}\" class=\"c{}{bold}\" textLength=\"{}\">{}</text>",
        column * usize::from(CELL_WIDE),
        palette.class(first.fg),
        columns * usize::from(CELL_WIDE),
        &content[..bytes]
    );
    columns.max(1)
}

fn is_shape(mark: char) -> bool {
    matches!(u32::from(mark), 0x2501 | 0x2578 | 0x2580..=0x2590 | 0x2596..=0x2598 | 0x259d | 0x2800..=0x28ff)
        || box_strokes(mark).is_some()
}
