//! The pictures of a report, as SVG.

use std::path::Path;

use crate::plot::{self, Axis, Line, Panel, PlotError, Unit};

use super::BacktestError;
use super::report::Report;

/// The neighbours' accuracy along the stream, a line for each arm that learns; the others are level lines.
pub(super) fn accuracy(report: &Report, path: &Path) -> Result<(), BacktestError> {
    let lines = report.in_order().map(|(name, arm)| Line {
        name,
        points: match arm.curve.as_slice() {
            [only] => vec![(0.0, only.knn), (report.stream.pictures as f64, only.knn)],
            curve => curve.iter().map(|point| (point.arrived as f64, point.knn)).collect(),
        },
    });
    let panel = Panel {
        y: Axis {
            label: "accuracy",
            unit: Unit::Share,
        },
        lines: lines.collect(),
        marks: None,
    };
    let arrived = Axis {
        label: "pictures that have arrived",
        unit: Unit::Number,
    };
    let title = "accuracy of 20 nearest neighbours along the stream";
    write(path, plot::lines(title, arrived, &[panel]))
}

/// Which experiences the buffer's samples came in at the end, bars side by side for each arm.
pub(super) fn buffer(report: &Report, path: &Path) -> Result<(), BacktestError> {
    let arms: Vec<_> = report
        .in_order()
        .filter(|(_, arm)| !arm.buffer_share.is_empty())
        .map(|(name, arm)| (name, arm.buffer_share.as_slice()))
        .collect();
    let share = Axis {
        label: "share of the buffer",
        unit: Unit::Share,
    };
    let title = "where the samples in the buffer came from";
    write(path, plot::bars(title, "experience", share, &arms))
}

fn write(path: &Path, plot: Result<String, PlotError>) -> Result<(), BacktestError> {
    plot.map_err(std::io::Error::other)
        .and_then(|svg| std::fs::write(path, svg))
        .map_err(|source| BacktestError::File {
            action: "write",
            path: path.to_owned(),
            source,
        })
}
