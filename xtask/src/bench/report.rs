//! A report as files: the figures as JSON and CSV, plots as SVG, and one page with all of it.

mod doc;
mod page;
mod plot;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sluice_bench::compare::{Case, Figure, Judged, LATENCIES, Report, table};
use sluice_bench::machine::Machine;

pub(crate) use doc::Marks;
pub(super) use doc::fill;

/// What was measured, and on what.
pub(super) struct Measured {
    pub(super) report: Report,
    pub(super) judged: Vec<Judged>,
    pub(super) machine: Machine,
    pub(super) parameters: String,
    pub(super) versions: Vec<String>,
}

impl Measured {
    /// For machines.
    pub(super) fn to_json(&self) -> Value {
        let mut json = table::to_json(&self.report, &self.judged);
        json["machine"] = self.machine.to_json();
        json["parameters"] = json!(self.parameters);
        json["versions"] = json!(self.versions);
        json["version"] = json!(env!("CARGO_PKG_VERSION"));
        json
    }

    /// Every case, in order.
    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = self.report.cells.iter().map(|cell| cell.case).collect();
        cases.dedup();
        cases
    }
}

/// A plot of a case.
struct Drawn {
    /// The file's name.
    name: String,
    case: Case,
    svg: String,
}

/// Writes all files of a report into a directory, which is made.
pub(super) fn write(dir: &Path, measured: &Measured) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    write("figures.json", &format!("{:#}\n", measured.to_json()))?;
    write("figures.csv", &table::to_csv(&measured.report))?;
    let drawn = draw(measured)?;
    for plot in &drawn {
        write(&plot.name, &plot.svg)?;
    }
    write("index.html", &page::html(measured, &drawn))
}

fn draw(measured: &Measured) -> anyhow::Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    for case in measured.cases() {
        for figure in bars_of(case) {
            let bars: Vec<plot::Bar> = of(measured, case, |cell| {
                let spread = *cell.spreads().get(&figure)?;
                Some(plot::Bar { name: cell.target, side: cell.side, spread })
            });
            let name = format!("{}.svg", file_name(case, figure.name()));
            let svg = plot::bars(&format!("{case}: {}", figure.name()), figure, &bars)?;
            drawn.extend(svg.map(|svg| Drawn { name, case, svg }));
        }
        if matches!(case.workload(), 'B' | 'D' | 'I') {
            let curves: Vec<plot::Curve> = of(measured, case, |cell| {
                let spreads = cell.spreads();
                let points = LATENCIES.iter().filter_map(|it| Some((*it, spreads.get(it)?.median)));
                Some(plot::Curve { name: cell.target, points: points.collect() })
            });
            let name = format!("{}.svg", file_name(case, "latency"));
            let svg = plot::latencies(&format!("{case}: latency, microseconds"), &curves)?;
            drawn.extend(svg.map(|svg| Drawn { name, case, svg }));
        }
    }
    Ok(drawn)
}

/// What each target has of a case.
fn of<T>(
    measured: &Measured,
    case: Case,
    one: impl Fn(&sluice_bench::compare::Cell) -> Option<T>,
) -> Vec<T> {
    let cells = measured.report.cells.iter().filter(|cell| cell.case == case);
    cells.filter_map(one).collect()
}

fn bars_of(case: Case) -> Vec<Figure> {
    match case {
        Case::Queue { .. } | Case::Keyed { .. } => vec![Figure::Rate, Figure::Takes],
        _ => vec![case.main_figure()],
    }
}

/// A name that any file system takes.
fn file_name(case: Case, what: &str) -> String {
    let text = format!("{} {case} {what}", case.workload()).to_lowercase();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use sluice_bench::compare::{Cell, Figures, judge};
    use sluice_bench::targets::{Level, Side};

    use super::*;

    /// Two targets in one case of each kind that is drawn differently.
    pub(super) fn measured() -> Measured {
        let cases = [
            Case::Pass { bytes: 16, subscribers: 1 },
            Case::Pace { rate: 2_000, level: Level::Sync },
            Case::Queue { take: 100, level: Level::Os },
            Case::Cycle { level: Level::Os },
            Case::Idle,
        ];
        let all = [Figure::Rate, Figure::Takes, Figure::ConnectionBytes];
        let runs = |factor: f64| {
            let run = |more: f64| {
                let figures = all.iter().chain(&LATENCIES).zip(1..);
                figures.map(|(it, at)| (*it, factor * f64::from(at) + more)).collect::<Figures>()
            };
            vec![run(0.0), run(0.5)]
        };
        let cell = |case, target, side, factor| Cell {
            case,
            target,
            side,
            settings: "<b> & \"quoted\"".into(),
            runs: runs(factor),
            fault: None,
        };
        let cells = cases.iter().flat_map(|case| {
            [
                cell(*case, "Sluice", Side::Ours, 1000.0),
                cell(*case, "NATS", Side::Peer("nats"), 10.0),
            ]
        });
        let report = Report { cells: cells.collect() };
        let judged = judge(&report);
        let machine = Machine {
            processor: "A & B <C>".into(),
            processors: 2,
            kernel: "6.1".into(),
            file_system: "ext4".into(),
        };
        let (parameters, versions) = ("3 repetitions".into(), vec!["NATS: 2.9".into()]);
        Measured { report, judged, machine, parameters, versions }
    }

    #[test]
    fn a_report_has_all_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &measured()).unwrap();
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "a-pass-16-b-msgs-s.svg",
            "b-confirm-synced-2000-s-due-latency.svg",
            "b-confirm-synced-2000-s-due-p99-us.svg",
            "c-queue-level-os-take-100-msgs-s.svg",
            "c-queue-level-os-take-100-takes-s.svg",
            "d-cycle-level-os-latency.svg",
            "d-cycle-level-os-p50-us.svg",
            "figures.csv",
            "figures.json",
            "g-idle-connections-rss-b-conn.svg",
            "index.html",
        ];
        assert_eq!(names, expected);
    }
}
