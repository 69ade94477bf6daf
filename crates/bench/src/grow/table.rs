//! What grew how much, as a table for people and for machines.

use std::fmt::Write;

use serde_json::{Value, json};

use super::point::{Dimension, Point};
use super::{Cell, DIMENSIONS};
use crate::compare::table::short;
use crate::compare::{Fault, Figure, Spread};

/// The cost of a message at a point may be so many times that at the smallest.
pub const GROWTH_MAX: f64 = 2.0;

/// What the columns of [`rows`] hold.
pub const HEAD: [&str; 7] = ["", "at", "figure", "median", "beside", "ratio", "at most twice"];

/// One figure at one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Grown {
    /// Where.
    pub point: Point,
    /// What.
    pub figure: Figure,
    /// How much.
    pub values: Spread,
    /// The smallest point that it can be held against, and how many times that it is: for a
    /// message that passes, or, at a start, for each one that waits more than at the point before.
    pub ratio: Option<(Point, Spread)>,
}

impl Grown {
    /// Whether it grew no more than it may.
    pub fn is_met(&self) -> Option<bool> {
        self.ratio.map(|(_, ratio)| ratio.median <= GROWTH_MAX)
    }
}

/// Every figure at every point.
pub fn grown(cells: &[Cell]) -> Vec<Grown> {
    let mut all = Vec::new();
    for dimension in DIMENSIONS {
        let of: Vec<&Cell> = cells.iter().filter(|it| it.point.dimension == dimension).collect();
        for figure in [Figure::Cpu, Figure::Elapsed, Figure::Start] {
            all.extend(of.iter().filter_map(|cell| one(&of, cell, figure)));
        }
    }
    all
}

fn one(all: &[&Cell], cell: &Cell, figure: Figure) -> Option<Grown> {
    let values = cell.values(figure);
    if values.is_empty() {
        return None;
    }
    let base = base_of(all, figure).filter(|base| cell.point.size > base.point.size);
    let ratio = base.and_then(|base| {
        let ratio = |round| {
            let (here, there) = (each(all, cell, figure, round)?, each(all, base, figure, round)?);
            // No more than what a run is off by: there is nothing to divide by.
            (there > 0.0).then_some(here / there)
        };
        let ratios: Option<Vec<f64>> = (0..values.len()).map(ratio).collect();
        Some((base.point, Spread::of(ratios?.into_iter())))
    });
    Some(Grown { point: cell.point, figure, values: Spread::of(values.into_iter()), ratio })
}

/// What others are held against: the smallest point, or, at a start, the first step from one
/// backlog to a larger one.
fn base_of<'a>(all: &[&'a Cell], figure: Figure) -> Option<&'a Cell> {
    match figure {
        Figure::Start => all.iter().copied().filter(|cell| cell.point.size > 0).nth(1),
        _ => all.first().copied(),
    }
}

/// What a message costs at a point. Most of a start is the same whatever waits, and more than a
/// million messages add, so what it takes is held against the next smaller backlog: the difference
/// is that of the messages.
fn each(all: &[&Cell], cell: &Cell, figure: Figure, round: usize) -> Option<f64> {
    let value = *cell.values(figure).get(round)?;
    if figure != Figure::Start {
        return Some(value);
    }
    let smaller = |it: &&&Cell| it.point.size > 0 && it.point.size < cell.point.size;
    let before = all.iter().filter(smaller).max_by_key(|it| it.point.size)?;
    let more = cell.point.size - before.point.size;
    Some((value - before.values(figure).get(round)?) / more as f64)
}

/// The same as text.
pub fn rows(grown: &[Grown]) -> Vec<[String; 7]> {
    grown.iter().map(row).collect()
}

fn row(one: &Grown) -> [String; 7] {
    let what = match one.point.dimension {
        Dimension::Queues => "queues",
        Dimension::Backlog => "waiting",
        Dimension::Connections => "connections",
    };
    let Spread { median, min, max, .. } = one.values;
    let (beside, ratio) = one.ratio.map_or(("-".into(), "-".into()), |(base, it)| {
        let Spread { median, min, max, .. } = it;
        (count(base.size), format!("{median:.2} ({min:.2}..{max:.2})"))
    });
    let met = match one.is_met() {
        None => "-",
        Some(true) => "yes",
        Some(false) => "NO",
    };
    let value = format!("{} ({}..{})", short(median), short(min), short(max));
    let figure = match one.figure {
        Figure::Cpu => "CPU us/msg",
        figure => figure.name(),
    };
    [what.into(), count(one.point.size), figure.into(), value, beside, ratio, met.into()]
}

/// With spaces between thousands.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The same in columns.
pub fn text(grown: &[Grown]) -> String {
    let mut out = String::new();
    for row in std::iter::once(HEAD.map(str::to_owned)).chain(rows(grown)) {
        let [what, at, figure, value, beside, ratio, met] = row;
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "{what:<12}{at:>12}  {figure:<11}{value:>24}{beside:>11}{ratio:>20}  {met}"
        );
    }
    out
}

/// For machines: every run at every point, and the table.
pub fn to_json(cells: &[Cell], grown: &[Grown]) -> Value {
    json!({
        "points": cells.iter().map(cell_json).collect::<Vec<_>>(),
        "growth": grown.iter().map(grown_json).collect::<Vec<_>>(),
        "table": { "head": HEAD, "rows": rows(grown) },
    })
}

fn cell_json(cell: &Cell) -> Value {
    let figures = [Figure::Cpu, Figure::Elapsed, Figure::Start].map(|figure| {
        let values = cell.values(figure);
        let mut json = Spread::of(values.iter().copied()).to_json();
        json["runs"] = json!(values);
        (figure.name().to_owned(), json)
    });
    json!({
        "point": cell.point.to_string(),
        "figures": figures.into_iter().collect::<serde_json::Map<_, _>>(),
        "fault": cell.fault.as_ref().map(ToString::to_string),
        "messages_lost": matches!(cell.fault, Some(Fault::Messages(_))),
    })
}

fn grown_json(one: &Grown) -> Value {
    json!({
        "point": one.point.to_string(),
        "figure": one.figure.name(),
        "value": one.values.to_json(),
        "beside": one.ratio.map(|(base, _)| base.to_string()),
        "ratio": one.ratio.map(|(_, ratio)| ratio.to_json()),
        "met": one.is_met(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Figures;

    fn cell(dimension: Dimension, size: u64, cpu: [f64; 3], starts: [f64; 3]) -> Cell {
        let all = |figure, values: [f64; 3]| {
            values.map(|value| Figures::from([(figure, value)])).to_vec()
        };
        let point = Point { dimension, size };
        let (runs, starts) = (all(Figure::Cpu, cpu), all(Figure::Start, starts));
        Cell { point, runs, starts, fault: None }
    }

    #[test]
    fn messages_are_held_against_those_of_the_smallest_point_round_by_round() {
        let cells = [
            cell(Dimension::Backlog, 0, [1.0, 2.0, 4.0], [0.0; 3]),
            cell(Dimension::Backlog, 1_000, [2.0, 4.0, 8.0], [0.0; 3]),
            cell(Dimension::Backlog, 10_000, [4.0, 4.2, 8.4], [0.0; 3]),
        ];
        let grown = grown(&cells);
        let ratio = |at: usize| grown[at].ratio.map(|(base, ratio)| (base.size, ratio.median));
        assert_eq!(ratio(0), None);
        assert_eq!((ratio(1), grown[1].is_met()), (Some((0, 2.0)), Some(true)));
        assert_eq!((ratio(2), grown[2].is_met()), (Some((0, 2.1)), Some(false)));
        let table = text(&grown);
        assert!(table.contains("10 000  CPU us/msg"), "{table}");
        assert!(table.contains("2.10 (2.10..4.00)  NO"), "{table}");
    }
    #[test]
    fn the_messages_of_a_start_are_what_it_takes_more_than_with_fewer() {
        let of = |starts: [[f64; 3]; 4]| {
            let sizes = [0, 1_000, 4_000, 10_000];
            let cells: Vec<Cell> = sizes
                .into_iter()
                .zip(starts)
                .map(|(size, starts)| cell(Dimension::Backlog, size, [1.0; 3], starts))
                .collect();
            let starts = grown(&cells).into_iter().filter(|one| one.figure == Figure::Start);
            starts.map(|one| one.ratio.map(|(base, it)| (base.size, it.median))).collect::<Vec<_>>()
        };
        // With nothing it took longer than with a thousand, which is no message's.
        let linear = of([[170.0; 3], [160.0; 3], [190.0; 3], [250.0; 3]]);
        assert_eq!(linear, [None, None, None, Some((4_000, 1.0))]);
        let steep = of([[170.0; 3], [160.0; 3], [190.0; 3], [340.0; 3]]);
        assert_eq!(steep[3], Some((4_000, 2.5)));
        // Where the first step is lost in what runs are off by, nothing is said.
        assert_eq!(of([[170.0; 3], [160.0; 3], [150.0; 3], [340.0; 3]])[3], None);
    }
}
