//! Runs every case against every target that can do it, in alternation.

use std::fmt;
use std::io;

use super::case::Case;
use super::figures::{Figure, Figures};
use super::plan::Plan;
use super::spread::Spread;
use crate::targets::{Side, Target, TargetError};
use crate::workloads::{self, Job};

/// What one target did in one case.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The case.
    pub case: Case,
    /// The target's name.
    pub target: &'static str,
    /// Whose it is.
    pub side: Side,
    /// Its settings.
    pub settings: String,
    /// A run a repetition.
    pub runs: Vec<Figures>,
    /// What went wrong: it failed, or messages were lost, doubled or changed.
    pub fault: Option<Fault>,
}

/// Why a target has no figures, or none that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Messages were lost, doubled, changed or out of order.
    Messages(String),
    /// It could not be measured: it did not start, a connection broke, it refused.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(text) => write!(f, "messages lost, doubled or changed: {}", text.trim()),
            Self::Failed(text) => f.write_str(text.trim()),
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the cases and targets.
    pub cells: Vec<Cell>,
}

/// Hears how far it is.
pub trait Progress {
    /// So many runs there will be.
    fn total(&mut self, runs: usize);
    /// This one begins.
    fn begin(&mut self, case: Case, target: &'static str);
    /// It has ended.
    fn end(&mut self);
}

/// Runs the plan against these targets. What goes wrong is in the report.
///
/// # Errors
/// There is no place for data.
pub fn run(
    plan: &Plan,
    targets: &[Box<dyn Target>],
    progress: &mut dyn Progress,
) -> io::Result<Report> {
    let able = |case: Case| {
        targets.iter().filter_map(move |target| Some((target, target.settings(case)?)))
    };
    let per_pair = plan.repetitions + usize::from(plan.content);
    let pairs: usize = plan.cases.iter().map(|case| able(*case).count()).sum();
    progress.total(pairs * per_pair);
    let mut report = Report::default();
    for case in &plan.cases {
        let able: Vec<_> = able(*case).collect();
        let cells = able.iter().map(|(target, settings)| Cell {
            case: *case,
            target: target.name(),
            side: target.side(),
            settings: settings.clone(),
            runs: Vec::new(),
            fault: None,
        });
        let mut cells: Vec<Cell> = cells.collect();
        for repetition in 0..per_pair {
            let content = repetition == plan.repetitions;
            let mut order: Vec<usize> = (0..able.len()).collect();
            // There and back again, so that no target always follows the same one.
            if repetition % 2 == 1 {
                order.reverse();
            }
            for at in order {
                progress.begin(*case, cells[at].target);
                one(plan, able[at].0.as_ref(), &mut cells[at], content)?;
                progress.end();
            }
        }
        report.cells.extend(cells);
    }
    Ok(report)
}

/// One run. A target that failed is not asked again.
fn one(plan: &Plan, target: &dyn Target, cell: &mut Cell, content: bool) -> io::Result<()> {
    if cell.fault.is_some() || (content && !workloads::has_content(cell.case)) {
        return Ok(());
    }
    let folder = tempfile::tempdir_in(&plan.dir)?;
    let job = Job::of(plan, cell.case, content);
    let figures = target
        .start(cell.case, folder.path())
        .and_then(|mut service| workloads::run(job, service.as_mut()));
    match figures {
        Ok(done) if !content => cell.runs.push(done.figures),
        Ok(_) => {}
        Err(error) => {
            let at = if content { "where every byte is checked: " } else { "" };
            cell.fault = Some(Fault::at(at, &error));
        }
    }
    Ok(())
}

impl Fault {
    /// What an error tells of a target.
    pub(crate) fn of(error: &TargetError) -> Self {
        Self::at("", error)
    }

    fn at(place: &str, error: &TargetError) -> Self {
        let text = format!("{place}{error}");
        if let TargetError::Messages(_) = error { Self::Messages(text) } else { Self::Failed(text) }
    }
}

impl Report {
    /// What a target's runs gave.
    pub fn values(&self, case: Case, target: &str, figure: Figure) -> Vec<f64> {
        let cell = self.cells.iter().find(|cell| cell.case == case && cell.target == target);
        let runs = cell.map(|cell| cell.runs.as_slice()).unwrap_or_default();
        runs.iter().filter_map(|run| run.get(&figure).copied()).collect()
    }

    /// The best target of a side, by its median.
    pub fn side(
        &self,
        case: Case,
        figure: Figure,
        is_side: impl Fn(Side) -> bool,
    ) -> Option<&'static str> {
        let cells = self.cells.iter().filter(|cell| cell.case == case && is_side(cell.side));
        let medians =
            cells.filter_map(|cell| Some((cell.target, cell.spreads().get(&figure)?.median)));
        let by_median = |a: &(_, f64), b: &(_, f64)| a.1.total_cmp(&b.1);
        let best = match figure.more_is_better() {
            true => medians.max_by(by_median),
            false => medians.min_by(by_median),
        };
        best.map(|(target, _)| target)
    }

    /// What went wrong.
    pub fn faults(&self) -> impl Iterator<Item = (&Cell, &Fault)> {
        self.cells.iter().filter_map(|cell| Some((cell, cell.fault.as_ref()?)))
    }
}

impl Cell {
    /// Its figures over all runs.
    pub fn spreads(&self) -> Figures<Spread> {
        let mut figures: Vec<Figure> =
            self.runs.iter().flat_map(|run| run.keys().copied()).collect();
        figures.sort_unstable();
        figures.dedup();
        let spread = |figure| {
            let values = self.runs.iter().filter_map(|run| run.get(&figure).copied());
            (figure, Spread::of(values))
        };
        figures.into_iter().map(spread).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(target: &'static str, side: Side, rates: &[f64]) -> Cell {
        let runs = rates.iter().map(|rate| Figures::from([(Figure::Rate, *rate)])).collect();
        Cell { case: Case::Restart, target, side, settings: String::new(), runs, fault: None }
    }

    #[test]
    fn the_best_of_a_side_is_that_of_the_better_median() {
        let cells = vec![
            cell("null", Side::Limit, &[9.0]),
            cell("a", Side::Peer("a"), &[1.0, 8.0, 2.0]),
            cell("b", Side::Peer("b"), &[3.0, 3.0, 3.0]),
            cell("none", Side::Peer("c"), &[]),
        ];
        let report = Report { cells };
        let is_peer = |side| matches!(side, Side::Peer(_));
        assert_eq!(report.side(Case::Restart, Figure::Rate, is_peer), Some("b"));
        assert_eq!(report.side(Case::Restart, Figure::P50, is_peer), None);
    }
}
