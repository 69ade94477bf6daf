//! Plots as SVG: bars of what targets reached, curves of how long requests took.
//!
//! They are drawn in colours that also say what they are for, so that a page can put its own in
//! their place.

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use sluice_bench::compare::{Figure, Spread, table};
use sluice_bench::targets::Side;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// What they stand on.
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
/// Lines behind everything.
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const OURS: RGBColor = RGBColor(0x0b, 0x84, 0x6b);
const PEER: RGBColor = RGBColor(0x8a, 0x93, 0xa6);
const LIMIT: RGBColor = RGBColor(0xd9, 0xa4, 0x41);
/// Curves of targets, in their order.
const CURVES: [RGBColor; 7] = [
    RGBColor(0xd9, 0xa4, 0x41),
    RGBColor(0x0b, 0x84, 0x6b),
    RGBColor(0x4f, 0x7c, 0xc9),
    RGBColor(0xc7, 0x5b, 0x5b),
    RGBColor(0x8e, 0x6b, 0xbf),
    RGBColor(0x4a, 0xa8, 0xb5),
    RGBColor(0x9a, 0x7b, 0x5a),
];

const WIDTH: u32 = 720;
const BAR: u32 = 30;
const BARS_MARGIN: u32 = 54;
const CURVES_HEIGHT: u32 = 340;
/// Room for names left of bars and right of curves.
const NAMES: u32 = 130;
/// Sizes in a unit of the library's, of which 1.24 are a pixel.
const FONT: &str = "sans-serif";
const FONT_SIZE: u32 = 16;
const TITLE_SIZE: u32 = 19;

/// A target's median and its range.
pub(super) struct Bar {
    pub(super) name: &'static str,
    pub(super) side: Side,
    pub(super) spread: Spread,
}

/// How long a target's requests took: microseconds at each share.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) points: Vec<(Figure, f64)>,
}

/// A bar for each target, with a whisker over the range of its runs. None of nothing.
pub(super) fn bars(title: &str, figure: Figure, bars: &[Bar]) -> anyhow::Result<Option<String>> {
    let Some(most) = bars.iter().map(|bar| bar.spread.max).reduce(f64::max) else {
        return Ok(None);
    };
    let count = bars.len() as i32;
    let height = BARS_MARGIN + BAR * bars.len() as u32;
    svg(height, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, text(TITLE_SIZE))
            .margin(6)
            .set_label_area_size(LabelAreaPosition::Left, NAMES)
            // Room for the figure behind the longest bar.
            .build_cartesian_2d(0.0..most.max(1e-9) * 1.3, 0..count)?;
        chart.configure_mesh().disable_mesh().disable_axes().draw()?;
        for (bar, at) in bars.iter().zip(0..) {
            let (low, high) = (count - 1 - at, count - at);
            let Spread { median, min, max, .. } = bar.spread;
            let mut body = Rectangle::new([(0.0, low), (median, high)], colour(bar.side).filled());
            body.set_margin(5, 5, 0, 0);
            chart.draw_series([body])?;
            let middle = chart.backend_coord(&(0.0, low)).1 - BAR as i32 / 2;
            let x = |value: f64| chart.backend_coord(&(value, low)).0;
            root.draw(&PathElement::new(
                [(x(min), middle), (x(max), middle)],
                INK.stroke_width(2),
            ))?;
            let right = text(FONT_SIZE).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(bar.name, (x(0.0) - 8, middle), right))?;
            let left = text(FONT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
            let figure = format!("{} {}", table::short(median), unit(figure));
            root.draw(&Text::new(figure, (x(max) + 8, middle), left))?;
        }
        Ok(())
    })
    .map(Some)
}

/// A curve for each target, its percentiles side by side, microseconds on a logarithmic scale.
/// None of nothing.
pub(super) fn latencies(title: &str, curves: &[Curve]) -> anyhow::Result<Option<String>> {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let all: Vec<f64> = points.map(|(_, micros)| micros.max(1.0)).collect();
    let (Some(least), Some(most)) =
        (all.iter().copied().reduce(f64::min), all.iter().copied().reduce(f64::max))
    else {
        return Ok(None);
    };
    let figures = sluice_bench::compare::LATENCIES;
    let place = |figure: Figure| figures.iter().position(|it| *it == figure).unwrap_or(0) as f64;
    svg(CURVES_HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, text(TITLE_SIZE))
            .margin(6)
            .set_label_area_size(LabelAreaPosition::Left, 60)
            .set_label_area_size(LabelAreaPosition::Bottom, 30)
            .margin_right(NAMES)
            .build_cartesian_2d(
                0.0..figures.len() as f64 - 1.0,
                (least * 0.8..most * 1.25).log_scale(),
            )?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(text(FONT_SIZE))
            .x_labels(figures.len())
            .x_label_formatter(&|at| label(figures[(at.round() as usize).min(figures.len() - 1)]))
            .y_label_formatter(&|micros| table::short(*micros))
            .draw()?;
        for (at, curve) in curves.iter().enumerate() {
            let colour = CURVES[at % CURVES.len()];
            let points: Vec<(f64, f64)> =
                curve.points.iter().map(|(it, micros)| (place(*it), micros.max(1.0))).collect();
            let circles = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(circles)?;
            chart.draw_series([PathElement::new(points, colour.stroke_width(2))])?;
            let (x, y) = (WIDTH as i32 - NAMES as i32 + 10, 40 + 20 * at as i32);
            root.draw(&Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()))?;
            let left = text(FONT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(curve.name, (x + 16, y), left))?;
        }
        Ok(())
    })
    .map(Some)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// What `draw` draws, on paper.
fn svg(
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> anyhow::Result<String> {
    let mut out = String::new();
    let root = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
    root.fill(&PAPER)?;
    draw(&root).map_err(|error| anyhow!("can't draw: {error}"))?;
    root.present()?;
    drop(root);
    Ok(out)
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

const fn colour(side: Side) -> RGBColor {
    match side {
        Side::Ours => OURS,
        Side::Peer(_) => PEER,
        Side::Limit => LIMIT,
    }
}

/// What a bar is counted in.
fn unit(figure: Figure) -> &'static str {
    let words = figure.name();
    match figure {
        Figure::Rate | Figure::Takes => words,
        _ => words.rsplit(' ').next().unwrap_or(words),
    }
}

fn label(figure: Figure) -> String {
    figure.name().trim_end_matches(" us").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_twice_as_fast_is_twice_as_long() {
        let bar = |name, rate| {
            let spread = Spread { median: rate, min: rate, max: rate, interval: (rate, rate) };
            Bar { name, side: Side::Ours, spread }
        };
        let svg = bars("speed", Figure::Rate, &[bar("slow", 10.0), bar("fast", 20.0)]);
        let svg = svg.unwrap().unwrap();
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect") && line.contains("#0B846B"))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap())
            .map(|width| width.parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 2.0).abs() < 0.02, "{widths:?}");
        assert!(svg.contains("20.0 msgs/s"));
    }

    #[test]
    fn nothing_is_not_drawn() {
        assert!(bars("none", Figure::Rate, &[]).unwrap().is_none());
        assert!(latencies("none", &[]).unwrap().is_none());
    }
}
