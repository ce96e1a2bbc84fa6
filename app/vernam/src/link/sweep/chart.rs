//! Draws the two pictures, as SVG and as PNG, with one font of our own: no library of the system is asked for one.

use std::sync::LazyLock;

use anyhow::{Context as _, anyhow};
use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{Shift, types::RangedCoordf64},
    prelude::{
        BitMapBackend, Cartesian2d, Circle, DrawingArea, DrawingBackend, IntoDrawingArea as _, IntoTextStyle as _,
        LineSeries, PathElement, Rectangle, SVGBackend, Text,
    },
    style::{Color as _, FontStyle, RGBColor, ShapeStyle, TextStyle, WHITE, register_font},
};

use super::{
    curves::Sweep,
    panels::{self, Entry, Look},
};

/// Width and height of a picture, pixels: twice what it takes on a page.
const SIZE: (u32, u32) = (1760, 1600);
/// Everything is drawn so many times as large, for the library places things on whole pixels only; then it is shrunk.
const FINE: u32 = 2;
const LARGE: (u32, u32) = (SIZE.0 * FINE, SIZE.1 * FINE);
/// Width of the column in which the curves are named.
const LEGEND: u32 = 520;
/// Height of the picture's heading.
const HEADING: u32 = 84;
/// Name under which the letters are known; a browser that shows the SVG has letters of its own by that name.
const FAMILY: &str = "sans-serif";
const LETTERS: &[u8] = include_bytes!("../../../../../assets/fonts/DejaVuSans.ttf");
const LETTER: u32 = 31;
const HEADING_LETTER: u32 = 40;
/// Height of a line of the legend.
const LEADING: i32 = 39;

const INK: RGBColor = RGBColor(34, 40, 49);
const AXIS: RGBColor = RGBColor(120, 128, 140);
const GRID: RGBColor = RGBColor(226, 230, 236);

/// Why something could not be drawn.
type Failure<DB> = plotters::drawing::DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>;
/// A chart whose axes are both numbers; a logarithmic one shows powers of ten.
type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Which picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Key rate against distance.
    KeyRate,
    /// QBER and key rate against the share that Eve intercepts.
    QberEve,
}

/// A picture in both forms.
pub(super) struct Picture {
    /// As SVG.
    pub(super) svg: String,
    /// As PNG.
    pub(super) png: Vec<u8>,
}

/// One of the charts of a picture.
pub(super) struct Panel {
    /// What stands along the vertical axis.
    pub(super) y_name: &'static str,
    /// What stands along the horizontal axis.
    pub(super) x_name: String,
    /// From where to where the horizontal axis goes.
    pub(super) x: (f64, f64),
    /// The same for the vertical one; of powers of ten if it is logarithmic.
    pub(super) y: (f64, f64),
    /// How a number is written at the horizontal axis.
    pub(super) x_text: fn(&f64) -> String,
    /// The same for the vertical one.
    pub(super) y_text: fn(&f64) -> String,
    /// What is drawn, and how it is named beside it.
    pub(super) entries: Vec<Entry>,
}

impl Picture {
    /// Draws one picture in both forms.
    pub(super) fn of(sweep: &Sweep, which: Which) -> anyhow::Result<Self> {
        static REGISTERED: LazyLock<bool> = LazyLock::new(|| register_font(FAMILY, FontStyle::Normal, LETTERS).is_ok());
        anyhow::ensure!(*REGISTERED, "the letters for the pictures cannot be read");
        let (heading, panels) = match which {
            Which::KeyRate => panels::key_rate(sweep),
            Which::QberEve => panels::qber_eve(sweep),
        };
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, LARGE).into_drawing_area();
            draw(&area, &heading, &panels).map_err(|error| anyhow!("the SVG cannot be drawn: {error}"))?;
        }
        let mut pixels = vec![0; LARGE.0 as usize * LARGE.1 as usize * 3];
        {
            let area = BitMapBackend::with_buffer(&mut pixels, LARGE).into_drawing_area();
            draw(&area, &heading, &panels).map_err(|error| anyhow!("the PNG cannot be drawn: {error}"))?;
        }
        let (large, size) = (format!("width=\"{}\" height=\"{}\"", LARGE.0, LARGE.1), (SIZE.0 / 2, SIZE.1 / 2));
        let svg = svg.replacen(&large, &format!("width=\"{}\" height=\"{}\"", size.0, size.1), 1);
        Ok(Self { svg, png: encoded(&shrunk(&pixels))? })
    }
}

/// The picture, [`FINE`] times smaller each way: every pixel is the mean of those that it stands for.
fn shrunk(large: &[u8]) -> Vec<u8> {
    let (fine, row) = (FINE as usize, LARGE.0 as usize * 3);
    let mut small = Vec::with_capacity(large.len() / (fine * fine));
    for rows in large.chunks_exact(row * fine) {
        for left in (0..row).step_by(3 * fine) {
            for color in 0..3 {
                let all = (0..fine * fine).map(|i| u32::from(rows[i / fine * row + left + i % fine * 3 + color]));
                let mean = all.sum::<u32>() / (FINE * FINE);
                small.push(u8::try_from(mean).expect("a mean of bytes is a byte"));
            }
        }
    }
    small
}

fn encoded(pixels: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().context("the PNG cannot be written")?;
    writer.write_image_data(pixels).context("the PNG cannot be written")?;
    writer.finish().context("the PNG cannot be written")?;
    Ok(png)
}

fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, heading: &str, panels: &[Panel]) -> Result<(), Failure<DB>> {
    area.fill(&WHITE)?;
    let (head, rest) = area.split_vertically(HEADING * FINE);
    head.draw(&Text::new(heading.to_owned(), px((40, 26)), letters(HEADING_LETTER, INK)))?;
    for (place, panel) in rest.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let (chart, legend) = place.split_horizontally((SIZE.0 - LEGEND) * FINE);
        draw_panel(&chart, panel)?;
        draw_legend(&legend, &panel.entries)?;
    }
    area.present()
}

fn draw_panel<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, panel: &Panel) -> Result<(), Failure<DB>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(14 * FINE)
        .margin_left(20 * FINE)
        .margin_right(34 * FINE)
        .margin_bottom(14 * FINE)
        .x_label_area_size(92 * FINE)
        .y_label_area_size(132 * FINE)
        .build_cartesian_2d(panel.x.0..panel.x.1, panel.y.0..panel.y.1)?;
    chart
        .configure_mesh()
        .x_desc(panel.x_name.as_str())
        .y_desc(panel.y_name)
        .axis_desc_style(letters(LETTER, INK))
        .label_style(letters(LETTER, INK))
        .x_label_formatter(&panel.x_text)
        .y_label_formatter(&panel.y_text)
        .x_labels(11)
        .y_labels(9)
        .max_light_lines(0)
        .bold_line_style(GRID.stroke_width(2 * FINE))
        .axis_style(AXIS.stroke_width(2 * FINE))
        .set_all_tick_mark_size(8 * FINE)
        .draw()?;
    // Ground, lines, marks; of each what is named first lies on top.
    for layer in 0..3 {
        for entry in panel.entries.iter().rev().filter(|entry| entry.look.is_some_and(|look| look.layer() == layer)) {
            draw_entry(&mut chart, entry, panel)?;
        }
    }
    Ok(())
}

fn draw_entry<DB: DrawingBackend>(chart: &mut Chart<'_, DB>, entry: &Entry, panel: &Panel) -> Result<(), Failure<DB>> {
    let Some(look) = entry.look else { return Ok(()) };
    let points = || entry.points.iter().map(|(x, y, _)| (*x, *y));
    match look {
        Look::Line { color, width } => {
            chart.draw_series(LineSeries::new(points(), color.stroke_width(width * FINE)))?;
        }
        Look::Dashes { color, width } => {
            let dashes = dashed(points(), panel);
            chart
                .draw_series(dashes.into_iter().map(|dash| PathElement::new(dash, color.stroke_width(width * FINE))))?;
        }
        Look::Rings { color } => {
            chart.draw_series(points().map(|at| Circle::new(at, 9 * FINE, WHITE.filled())))?;
            chart.draw_series(points().map(|at| Circle::new(at, 9 * FINE, color.stroke_width(4 * FINE))))?;
        }
        Look::Dots { color } => {
            let bars = entry.points.iter().filter_map(|(x, y, bar)| {
                let (low, high) = (*bar)?;
                let (low, high) = (low.max(panel.y.0), high.min(panel.y.1));
                (low < *y).then(|| PathElement::new(vec![(*x, low), (*x, high)], color.stroke_width(4 * FINE)))
            });
            chart.draw_series(bars)?;
            chart.draw_series(points().map(|at| Circle::new(at, 9 * FINE, color.filled())))?;
        }
        Look::Ground { color } => {
            let corners: Vec<(f64, f64)> = points().collect();
            if let [from, to] = corners[..] {
                chart.draw_series([Rectangle::new([from, to], color.mix(0.08).filled())])?;
            }
        }
    }
    Ok(())
}

/// A path as dashes of the same length on the page.
fn dashed(points: impl Iterator<Item = (f64, f64)>, panel: &Panel) -> Vec<Vec<(f64, f64)>> {
    /// Length of a dash and of the gap behind it, as shares of the panel's width.
    const PERIOD: f64 = 0.022;
    let across = |(x, y): (f64, f64)| {
        ((x - panel.x.0) / (panel.x.1 - panel.x.0), 0.55 * (y - panel.y.0) / (panel.y.1 - panel.y.0))
    };
    let (mut dashes, mut dash, mut way) = (Vec::new(), Vec::new(), 0.0);
    let mut before: Option<(f64, f64)> = None;
    for point in points {
        let pieces = before.map_or(1, |from| {
            let ((x0, y0), (x1, y1)) = (across(from), across(point));
            // Short enough that a dash ends where it should.
            crate::link::events::count(((x1 - x0).hypot(y1 - y0) / PERIOD * 8.0).ceil()).clamp(1, 4_000)
        });
        let from = before.unwrap_or(point);
        for piece in 1..=pieces {
            let share = crate::link::events::float(piece) / crate::link::events::float(pieces);
            let at = (from.0 + (point.0 - from.0) * share, from.1 + (point.1 - from.1) * share);
            let last = before.replace(at).unwrap_or(at);
            let ((x0, y0), (x1, y1)) = (across(last), across(at));
            way += (x1 - x0).hypot(y1 - y0);
            if way % PERIOD < 0.6 * PERIOD {
                dash.push(at);
            } else if dash.len() > 1 {
                dashes.push(std::mem::take(&mut dash));
            } else {
                dash.clear();
            }
        }
    }
    dashes.push(dash);
    dashes
}

fn draw_legend<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, entries: &[Entry]) -> Result<(), Failure<DB>> {
    const SWATCH: i32 = 56;
    let path = |from, to, style: ShapeStyle| PathElement::new([px(from), px(to)], style);
    let mut y = 34;
    for entry in entries {
        let middle = (10 + SWATCH / 2, y);
        match entry.look {
            Some(Look::Line { color, width }) => {
                area.draw(&path((10, y), (10 + SWATCH, y), color.stroke_width(width * FINE)))?;
            }
            Some(Look::Dashes { color, width }) if !entry.name.is_empty() => {
                for from in [10, 32, 54] {
                    area.draw(&path((from, y), (from + 13, y), color.stroke_width(width * FINE)))?;
                }
            }
            Some(Look::Rings { color }) => {
                area.draw(&Circle::new(px(middle), 9 * FINE, color.stroke_width(4 * FINE)))?;
            }
            Some(Look::Dots { color }) => {
                area.draw(&path((middle.0, y - 18), (middle.0, y + 18), color.stroke_width(4 * FINE)))?;
                area.draw(&Circle::new(px(middle), 9 * FINE, color.filled()))?;
            }
            Some(Look::Ground { color }) => {
                let corners = [px((10, y - 14)), px((10 + SWATCH, y + 14))];
                area.draw(&Rectangle::new(corners, color.mix(0.15).filled()))?;
            }
            Some(Look::Dashes { .. }) | None => {}
        }
        let left = if entry.look.is_some() { 84 } else { 10 };
        for line in entry.name.lines() {
            area.draw(&Text::new(line.to_owned(), px((left, y - 8)), letters(LETTER, INK)))?;
            y += LEADING;
        }
        if !entry.name.is_empty() {
            y += 8;
        }
    }
    Ok(())
}

/// A place of the picture in the large pixels in which it is drawn.
fn px((x, y): (i32, i32)) -> (i32, i32) {
    let fine = FINE.cast_signed();
    (x * fine, y * fine)
}

fn letters(size: u32, color: RGBColor) -> TextStyle<'static> {
    (FAMILY, size * FINE).with_color(color).into_text_style(&LARGE)
}
