//! How the cost of a message grows: with queues, with what waits, with connections; and how long a
//! start takes.
//!
//! Only one thing grows at a time. Every point has a broker of its own, which is filled and
//! connected to beforehand; all points of a dimension do the same work in turn, there and back
//! again, and the first round does not count. So each round has a ratio for each point, beside the
//! smallest, from runs side by side.

mod point;
mod rounds;
mod seen;
mod site;
pub mod table;

use std::io;
use std::path::PathBuf;

use crate::compare::{Fault, Figure, Figures};
use crate::targets::{Sluice, TargetError};

pub use point::{DIMENSIONS, Dimension, Point, Scale};
use site::Site;

/// How it is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where temporary folders are made, on the file system to measure.
    pub dir: PathBuf,
    /// What grows.
    pub dimensions: Vec<Dimension>,
    /// How far.
    pub scale: Scale,
    /// Rounds that count.
    pub repetitions: usize,
}

/// What one point gave.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Where.
    pub point: Point,
    /// A run a round.
    pub runs: Vec<Figures>,
    /// Starts, where they are timed.
    pub starts: Vec<Figures>,
    /// What went wrong.
    pub fault: Option<Fault>,
}

impl Cell {
    /// What it gave of a figure, in the order of the rounds.
    pub fn values(&self, figure: Figure) -> Vec<f64> {
        let runs = self.runs.iter().chain(&self.starts);
        runs.filter_map(|run| run.get(&figure).copied()).collect()
    }
}

/// Runs it all; `begins` hears of every run. What goes wrong is in the cells.
///
/// # Errors
/// There is no place for data.
pub fn run(plan: &Plan, begins: &mut dyn FnMut(&str)) -> io::Result<Vec<Cell>> {
    std::fs::create_dir_all(&plan.dir)?;
    let mut cells = Vec::new();
    for dimension in &plan.dimensions {
        cells.extend(one(plan, *dimension, begins));
    }
    Ok(cells)
}

fn one(plan: &Plan, dimension: Dimension, begins: &mut dyn FnMut(&str)) -> Vec<Cell> {
    let sluice = Sluice { program: plan.program.clone() };
    let mut all = Vec::new();
    for point in plan.scale.points(dimension) {
        begins(&format!("{point}: fill"));
        let mut cell = Cell { point, runs: Vec::new(), starts: Vec::new(), fault: None };
        let site = cell.keep(Site::open(&sluice, &plan.dir, point, &plan.scale));
        all.push((cell, site));
    }
    let work = plan.scale.work(dimension);
    for round in 0..=plan.repetitions {
        there_and_back(&mut all, round, |cell, site| {
            begins(&format!("{}: round {round}", cell.point));
            let figures = cell.keep(site.measure(work));
            // Buffers grow and queues get their first message in the one before the first.
            cell.runs.extend(figures.filter(|_| round > 0));
        });
    }
    check(&mut all);
    for round in 1..=plan.repetitions {
        there_and_back(&mut all, round, |cell, site| {
            if cell.point.has_start() {
                begins(&format!("{}: start {round}", cell.point));
                let figures = cell.keep(site.start());
                cell.starts.extend(figures);
            }
        });
    }
    check(&mut all);
    all.into_iter().map(|(cell, _)| cell).collect()
}

/// Holds what each broker says it has against what it should.
fn check(all: &mut [(Cell, Option<Site>)]) {
    there_and_back(all, 0, |cell, site| {
        cell.keep(site.check());
    });
}

/// Has each point that did not fail do something, in one order and then in the other, so that none
/// always follows the same one.
fn there_and_back(
    all: &mut [(Cell, Option<Site>)],
    round: usize,
    mut each: impl FnMut(&mut Cell, &mut Site),
) {
    let count = all.len();
    for step in 0..count {
        let at = if round % 2 == 1 { count - 1 - step } else { step };
        let (cell, site) = &mut all[at];
        if let (None, Some(site)) = (&cell.fault, site) {
            each(cell, site);
        }
    }
}

impl Cell {
    /// The value, or none and the first fault is kept.
    fn keep<T>(&mut self, outcome: Result<T, TargetError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault.get_or_insert(Fault::of(&error));
                None
            }
        }
    }
}
