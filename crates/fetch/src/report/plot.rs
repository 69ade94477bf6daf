//! A plot of runs as SVG: requests a second as bars, percentiles of latencies as curves.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use thiserror::Error;

use crate::tally::Summary;

/// Why there is no plot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the plot can't be drawn: {0}")]
pub struct PlotError(String);

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const COLOURS: [RGBColor; 3] =
    [RGBColor(0xd9, 0xa4, 0x41), RGBColor(0x4f, 0x7c, 0xc9), RGBColor(0x0b, 0x84, 0x6b)];
const WIDTH: u32 = 760;
/// Room for names left of bars, and right of curves.
const NAMES: u32 = 90;
const BAR: u32 = 34;
const CURVES: u32 = 320;
const SHARES: [&str; 6] = ["min", "p50", "p90", "p95", "p99", "max"];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Runs side by side.
///
/// # Errors
/// It can't be drawn.
pub fn svg(runs: &[Summary]) -> Result<String, PlotError> {
    let mut text = String::new();
    draw(&mut text, runs).map_err(|error| PlotError(error.to_string()))?;
    Ok(text)
}

fn draw(text: &mut String, runs: &[Summary]) -> Drawn {
    let bars = BAR * runs.len() as u32 + 50;
    let root = SVGBackend::with_string(text, (WIDTH, bars + CURVES)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(bars);
    draw_bars(&above, runs)?;
    draw_curves(&below, runs)?;
    root.present()?;
    Ok(())
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn draw_bars(area: &Area<'_>, runs: &[Summary]) -> Drawn {
    let most = runs.iter().map(|run| run.requests_per_second).fold(1e-9, f64::max);
    let count = runs.len() as i32;
    let mut chart = ChartBuilder::on(area)
        .caption("requests a second", font(19))
        .margin(6)
        .set_label_area_size(LabelAreaPosition::Left, NAMES)
        .build_cartesian_2d(0.0..most * 1.2, 0..count.max(1))?;
    for ((run, colour), at) in runs.iter().zip(COLOURS.iter().cycle()).zip(0..) {
        let (low, high) = (count - 1 - at, count - at);
        let mut bar =
            Rectangle::new([(0.0, low), (run.requests_per_second, high)], colour.filled());
        bar.set_margin(5, 5, 0, 0);
        chart.draw_series([bar])?;
        let (left, bottom) = chart.backend_coord(&(0.0, low));
        let (right, top) = chart.backend_coord(&(run.requests_per_second, high));
        // Above the other plot: what is asked of the whole is the same here.
        let y = (bottom + top) / 2;
        let name = font(16).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(run.mode.name(), (left - 8, y), name))?;
        let figure = font(16).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(format!("{:.1}", run.requests_per_second), (right + 8, y), figure))?;
    }
    Ok(())
}

fn draw_curves(area: &Area<'_>, runs: &[Summary]) -> Drawn {
    let curves: Vec<(&str, Vec<f64>)> = runs
        .iter()
        .filter_map(|run| {
            let it = run.latency_ms.as_ref()?;
            let points = [it.min, it.p50, it.p90, it.p95, it.p99, it.max];
            Some((run.mode.name(), points.map(|millis| millis.max(0.001)).to_vec()))
        })
        .collect();
    let all = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let (Some(least), Some(most)) = (all().reduce(f64::min), all().reduce(f64::max)) else {
        return Ok(());
    };
    let mut chart = ChartBuilder::on(area)
        .caption("latency, ms", font(19))
        .margin(6)
        .margin_right(NAMES)
        .set_label_area_size(LabelAreaPosition::Left, NAMES)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d(0.0..5.0, (least * 0.8..most * 1.25).log_scale())?;
    let share = |at: &f64| SHARES.get(at.round() as usize).copied().unwrap_or_default().to_owned();
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(font(15))
        .x_labels(SHARES.len())
        .x_label_formatter(&share)
        .draw()?;
    for ((name, points), (colour, at)) in curves.iter().zip(COLOURS.iter().cycle().zip(0..)) {
        let points: Vec<(f64, f64)> =
            points.iter().zip(0..).map(|(millis, at)| (f64::from(at), *millis)).collect();
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        chart.draw_series([PathElement::new(points, colour.stroke_width(2))])?;
        let (x, y) = ((WIDTH - NAMES) as i32 + 6, 40 + 22 * at);
        area.draw(&Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()))?;
        let left = font(15).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(*name, (x + 15, y), left))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Mode;
    use crate::report::table::tests::run;

    #[test]
    fn every_run_has_its_bar_and_its_curve() {
        let runs = [(Mode::Seq, 10.5), (Mode::Threads, 99.0), (Mode::Async, 123.4)];
        let svg = svg(&runs.map(|(mode, rate)| run(mode, rate))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for word in ["seq", "threads", "async"] {
            let names = svg.lines().filter(|line| line.trim() == word).count();
            assert_eq!(names, 2, "{word}");
        }
        for figure in ["10.5", "99.0", "123.4", "p95"] {
            assert!(svg.contains(figure), "{figure}");
        }
        let curve = |line: &&str| line.contains("<polyline") && line.contains("stroke-width=\"2\"");
        assert_eq!(svg.lines().filter(curve).count(), 3, "{svg}");
    }

    #[test]
    fn a_run_without_answers_has_no_curve() {
        let mut empty = run(Mode::Seq, 0.0);
        empty.latency_ms = None;
        assert!(svg(&[empty]).unwrap().contains("seq"));
    }
}
