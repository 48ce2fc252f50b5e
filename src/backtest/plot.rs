//! The pictures of a report, as SVG.

use std::path::Path;

use plotters::prelude::*;

use super::BacktestError;
use super::report::Report;

const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";

/// The neighbours' accuracy along the stream, a line for each arm that learns; the others are level lines.
pub(super) fn accuracy(report: &Report, path: &Path) -> Result<(), BacktestError> {
    let points = || report.arms.values().flat_map(|arm| &arm.curve);
    let least = points().map(|point| point.knn).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.knn).fold(0.0, f64::max);
    let pad = ((most - least) / 10.0).max(0.005);
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let canvas = SVGBackend::new(path, SIZE).into_drawing_area();
        canvas.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&canvas)
            .caption("accuracy of 20 nearest neighbours along the stream", (FONT, 20))
            .margin(12)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0..report.stream.pictures, (least - pad)..(most + pad))?;
        chart
            .configure_mesh()
            .x_desc("pictures that have arrived")
            .y_desc("accuracy")
            .y_label_formatter(&|value| format!("{:.0} %", 100.0 * value))
            .light_line_style(WHITE)
            .draw()?;
        for (number, (name, arm)) in report.in_order().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let line: Vec<(usize, f64)> = match arm.curve.as_slice() {
                [only] => vec![(0, only.knn), (report.stream.pictures, only.knn)],
                curve => curve.iter().map(|point| (point.arrived, point.knn)).collect(),
            };
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        canvas.present()?;
        Ok(())
    };
    draw().map_err(|error| failed(path, &*error))
}

/// Which experiences the buffer's samples came in at the end, bars side by side for each arm.
pub(super) fn buffer(report: &Report, path: &Path) -> Result<(), BacktestError> {
    let arms: Vec<_> = report
        .in_order()
        .filter(|(_, arm)| !arm.buffer_share.is_empty())
        .collect();
    let (experiences, most) = (
        report.stream.experiences,
        arms.iter()
            .flat_map(|(_, arm)| arm.buffer_share.iter().copied())
            .fold(0.01, f64::max),
    );
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let canvas = SVGBackend::new(path, SIZE).into_drawing_area();
        canvas.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&canvas)
            .caption("where the samples in the buffer came from", (FONT, 20))
            .margin(12)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..experiences as f64, 0.0..most * 1.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(experiences + 1)
            .x_label_formatter(&|at| format!("{at:.0}"))
            .light_line_style(WHITE)
            .x_desc("experience")
            .y_desc("share of the buffer")
            .y_label_formatter(&|value| format!("{:.0} %", 100.0 * value))
            .draw()?;
        let width = 0.8 / arms.len().max(1) as f64;
        for (number, (name, arm)) in arms.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let bars = arm.buffer_share.iter().enumerate().map(|(experience, share)| {
                let left = experience as f64 + 0.1 + number as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, *share)], colour.filled())
            });
            chart
                .draw_series(bars)?
                .label(*name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        canvas.present()?;
        Ok(())
    };
    draw().map_err(|error| failed(path, &*error))
}

fn failed(path: &Path, error: &dyn std::error::Error) -> BacktestError {
    BacktestError::File {
        action: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    }
}
