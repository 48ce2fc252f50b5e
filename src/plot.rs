//! Plots as SVG: lines over numbers or over time, panel below panel, and bars side by side.
//! Always true: a plot is text, which whoever asked for it writes; a line takes 100 KB at most, however long its series is.

mod thin;
mod ticks;

#[cfg(test)]
mod tests;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use thin::{columns, runs};
use ticks::Ticks;

/// Pixels a row; also the columns that a series is thinned to.
const WIDTH_PX: u32 = 900;
const TITLE_PX: u32 = 36;
const ONE_PANEL_PX: u32 = 520;
const EACH_PANEL_PX: u32 = 300;
const LEGEND_ROW_PX: u32 = 20;

/// Labels of an axis, at most: as many as fit side by side, or look well on each other.
const X_LABELS: u32 = 9;
const Y_LABELS: u32 = 8;

/// Characters of a name in a legend; a longer one is cut.
const NAME_CHARS_MAX: usize = 40;

const FONT: &str = "sans-serif";

/// The largest value of a plot: sums of two are finite. What is larger is drawn there.
const VALUE_MAX: f64 = 1e300;

/// Values that are all nearer to 0 are drawn as if they were 0.
const VALUE_MIN: f64 = 1e-290;

/// What an axis is about.
#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    /// What stands beside it.
    pub label: &'a str,
    /// How its numbers are written.
    pub unit: Unit,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As they are.
    Number,
    /// 0 to 1, in per cent.
    Share,
    /// Milliseconds since 1970, as dates and times of day in UTC.
    Time,
}

/// A part of a plot with an upright axis of its own.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// Its upright axis.
    pub y: Axis<'a>,
    /// What is drawn, in order.
    pub lines: Vec<Line<'a>>,
    /// What is marked.
    pub marks: Option<Marks<'a>>,
}

/// A series.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// What it is.
    pub name: &'a str,
    /// Where and what. A value that is no number is a gap; a place that is none is left out.
    pub points: Vec<(f64, f64)>,
}

/// Places that are marked over a panel's whole height.
#[derive(Clone, Debug)]
pub struct Marks<'a> {
    /// What is marked.
    pub name: &'a str,
    /// Where.
    pub at: Vec<f64>,
}

/// A plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot could not be drawn: {0}")]
pub struct PlotError(String);

/// Lines over one level axis, which all panels share.
pub fn lines(title: &str, x: Axis<'_>, panels: &[Panel<'_>]) -> Result<String, PlotError> {
    let each = if panels.len() > 1 { EACH_PANEL_PX } else { ONE_PANEL_PX };
    let height = TITLE_PX + each * panels.len().max(1) as u32;
    let places = panels.iter().flat_map(|panel| {
        let marks = panel.marks.iter().flat_map(|marks| &marks.at).copied();
        panel
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.0))
            .chain(marks)
    });
    let across = opened(extent(places).unwrap_or(0.0..1.0), x.unit);
    draw(title, height, |canvas| {
        for (number, area) in canvas.split_evenly((panels.len().max(1), 1)).iter().enumerate() {
            if let Some(panel) = panels.get(number) {
                let label = if number + 1 == panels.len() { x.label } else { "" };
                panel_of_lines(area, Axis { label, ..x }, &across, panel)?;
            }
        }
        Ok(())
    })
}

/// Bars, a group of one of each name for every number from 0 on.
pub fn bars(title: &str, x_label: &str, y: Axis<'_>, bars: &[(&str, &[f64])]) -> Result<String, PlotError> {
    let groups = bars.iter().map(|(_, values)| values.len()).max().unwrap_or(0).max(1);
    let most = bars
        .iter()
        .flat_map(|(_, values)| values.iter().copied())
        .filter(|value| value.is_finite())
        .fold(0.01, f64::max);
    let (across, up) = (0.0..groups as f64, 0.0..most.min(VALUE_MAX) * 1.1);
    draw(title, TITLE_PX + ONE_PANEL_PX, |canvas| {
        let names: Vec<_> = bars
            .iter()
            .enumerate()
            .map(|(number, (name, _))| (*name, colour(number)))
            .collect();
        let canvas = below_legend(canvas, &names)?;
        let x = Axis {
            label: x_label,
            unit: Unit::Number,
        };
        let mut chart = axes(&canvas, x, y, &across, &up)?;
        let width = 0.8 / bars.len().max(1) as f64;
        for (number, (_, values)) in bars.iter().enumerate() {
            let bars = values.iter().enumerate().filter(|(_, value)| value.is_finite());
            chart.draw_series(bars.map(|(group, value)| {
                let left = group as f64 + 0.1 + number as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, *value)], colour(number).filled())
            }))?;
        }
        Ok(())
    })
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Ticks, Ticks>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(title: &str, height: u32, fill: impl FnOnce(&Canvas<'_>) -> Drawn) -> Result<String, PlotError> {
    let mut svg = String::new();
    let drawn = || -> Drawn {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH_PX, height)).into_drawing_area();
        canvas.fill(&WHITE)?;
        fill(&canvas.titled(&printable(title), (FONT, 20))?)?;
        canvas.present()?;
        Ok(())
    };
    drawn().map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn panel_of_lines(area: &Canvas<'_>, x: Axis<'_>, across: &Range<f64>, panel: &Panel<'_>) -> Drawn {
    let names = panel.lines.iter().enumerate();
    let mut names: Vec<_> = names.map(|(number, line)| (line.name, colour(number))).collect();
    names.extend(panel.marks.iter().map(|marks| (marks.name, mark_colour())));
    let area = below_legend(area, &names)?;
    let values = panel.lines.iter().flat_map(|line| {
        let placed = line.points.iter().filter(|point| point.0.is_finite());
        placed.map(|point| point.1)
    });
    let up = padded(extent(values).unwrap_or(0.0..1.0), panel.y.unit);
    let mut chart = axes(&area, x, panel.y, across, &up)?;
    for (number, line) in panel.lines.iter().enumerate() {
        // Thick strokes of more points than columns would run together.
        let thick = if line.points.len() > WIDTH_PX as usize { 1 } else { 2 };
        for run in runs(&line.points, across) {
            match run.as_slice() {
                [only] => chart.draw_series([Circle::new(*only, 2, colour(number).filled())])?,
                _ => chart.draw_series([PathElement::new(run, colour(number).stroke_width(thick))])?,
            };
        }
    }
    if let Some(marks) = &panel.marks {
        let upright = |at: f64| PathElement::new([(at, up.start), (at, up.end)], mark_colour());
        chart.draw_series(columns(&marks.at, across).into_iter().map(upright))?;
    }
    Ok(())
}

/// A chart with its axes drawn.
fn axes<'a, 'b>(
    area: &'a Canvas<'b>,
    x: Axis<'_>,
    y: Axis<'_>,
    across: &Range<f64>,
    up: &Range<f64>,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(30)
        .x_label_area_size(if x.label.is_empty() { 24 } else { 40 })
        .y_label_area_size(72)
        .build_cartesian_2d(
            Ticks::new(across.clone(), x.unit, X_LABELS),
            Ticks::new(up.clone(), y.unit, Y_LABELS),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc(printable(x.label))
        .y_desc(printable(y.label))
        .draw()?;
    Ok(chart)
}

/// Names and their colours from left to right above what is left of the area, so that they hide nothing.
fn below_legend<'a>(area: &Canvas<'a>, names: &[(&str, RGBAColor)]) -> Result<Canvas<'a>, Box<dyn std::error::Error>> {
    let (left, right) = (84, WIDTH_PX as i32 - 30);
    let (mut at, mut row) = (left, 0);
    for (name, colour) in names {
        let name: String = printable(name).chars().take(NAME_CHARS_MAX).collect();
        // 8 pixels hold most letters of this size.
        let wide = 40 + 8 * name.chars().count() as i32;
        if at > left && at + wide > right {
            (at, row) = (left, row + 1);
        }
        let middle = (row * LEGEND_ROW_PX + LEGEND_ROW_PX / 2) as i32;
        area.draw(&PathElement::new(
            [(at, middle), (at + 18, middle)],
            colour.stroke_width(3),
        ))?;
        area.draw(&Text::new(name, (at + 24, middle - 6), (FONT, 13)))?;
        at += wide;
    }
    let rows = if names.is_empty() { 0 } else { row + 1 };
    Ok(area.split_vertically(rows * LEGEND_ROW_PX).1)
}

fn colour(number: usize) -> RGBAColor {
    Palette99::pick(number).to_rgba()
}

fn mark_colour() -> RGBAColor {
    BLACK.mix(0.6)
}

/// From the least to the largest of what is finite.
fn extent(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let mut finite = values
        .filter(|value| value.is_finite())
        .map(|value| value.clamp(-VALUE_MAX, VALUE_MAX));
    let first = finite.next()?;
    Some(finite.fold(first..first, |all, value| all.start.min(value)..all.end.max(value)))
}

/// The range itself where labels can tell its ends apart, else one around it.
fn opened(range: Range<f64>, unit: Unit) -> Range<f64> {
    let most = range.start.abs().max(range.end.abs());
    let (least, pad) = match unit {
        Unit::Number if most < VALUE_MIN => (VALUE_MIN, 1.0),
        Unit::Number => (most * 1e-9, most / 10.0),
        // Half a point: noise below it is not blown up to the height of the plot.
        Unit::Share => (0.01, 0.005),
        Unit::Time => (1.0, 1_000.0),
    };
    if range.end - range.start < least {
        range.start - pad..range.end + pad
    } else {
        range
    }
}

/// With room on both sides.
fn padded(range: Range<f64>, unit: Unit) -> Range<f64> {
    let range = opened(range, unit);
    let pad = (range.end - range.start) / 20.0;
    range.start - pad..range.end + pad
}

/// A text without the characters that no XML can hold.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') {
                ' '
            } else {
                c
            }
        })
        .collect()
}
