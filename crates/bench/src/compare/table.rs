//! A report as tables for people, as JSON and as CSV.

use std::fmt::Write;

use serde_json::{Value, json};

use super::case::Case;
use super::figures::Figure;
use super::goals::{Against, Bound, Judged};
use super::run::{Cell, Fault, Report};
use super::spread::Spread;

/// Every figure: a line for each case and target.
pub fn figures(report: &Report) -> String {
    let mut out = String::new();
    let mut last = None;
    for cell in &report.cells {
        if last != Some(cell.case) {
            // Writing to a string can't fail.
            let _ = writeln!(out, "\n{} {}", cell.case.workload(), cell.case);
            last = Some(cell.case);
        }
        let _ = write!(out, "  {:<15}", cell.target);
        for (figure, spread) in cell.spreads().into_iter().filter(|(it, _)| !it.is_detail()) {
            let Spread { median, min, max, .. } = spread;
            let range = format!("({}..{})", short(min), short(max));
            let _ = write!(out, "  {} {} {range}", figure.name(), short(median));
        }
        if let Some(fault) = &cell.fault {
            let _ = write!(out, "  FAILED: {fault}");
        }
        out.push('\n');
    }
    out
}

/// What the columns of [`rows`] hold.
pub const HEAD: [&str; 10] =
    ["", "workload", "figure", "ours", "peer", "ratio", "limit", "ratio", "target", "met"];

/// The targets as text: a row for each.
pub fn rows(judged: &[Judged]) -> Vec<[String; 10]> {
    judged.iter().map(row).collect()
}

fn row(one: &Judged) -> [String; 10] {
    let value = |spread: Option<Spread>| spread.map_or("-".into(), |it| short(it.median));
    let ratio = |spread: Option<Spread>| {
        spread.map_or("-".into(), |Spread { median, min, max, .. }| {
            format!("{median:.2} ({min:.2}..{max:.2})")
        })
    };
    let met = match one.met {
        None => "-",
        Some(true) if one.is_doubtful => "yes, of too few pairs",
        Some(false) if one.is_doubtful => "NO, of too few pairs",
        Some(true) => "yes",
        Some(false) => "NO",
    };
    [
        one.goal.case.workload().into(),
        one.goal.case.to_string(),
        one.goal.figure.name().into(),
        value(one.ours),
        one.peer.map_or("-".into(), |(name, it)| format!("{name} {}", short(it.median))),
        ratio(one.peer_ratio),
        value(one.limit),
        ratio(one.limit_ratio),
        target(one),
        met.into(),
    ]
}

/// The same in columns.
pub fn goals(judged: &[Judged]) -> String {
    let mut out = String::new();
    for row in std::iter::once(HEAD.map(str::to_owned)).chain(rows(judged)) {
        let [letter, case, figure, ours, peer, ratio, limit, limit_ratio, target, met] = row;
        let _ = writeln!(
            out,
            "{letter:<2}{case:<34}{figure:<11}{ours:>9}  {peer:<22}{ratio:>20}{limit:>9}\
             {limit_ratio:>20}  {target:<27} {met}",
        );
    }
    out
}

fn target(one: &Judged) -> String {
    let (sign, bound) = match one.goal.bound {
        Bound::AtLeast(bound) => (">=", bound),
        Bound::AtMost(bound) => ("<=", bound),
        Bound::Unset => return "-".into(),
    };
    match one.goal.against {
        Against::Best => format!("{sign} {bound}x best peer"),
        Against::Peer(name) => format!("{sign} {bound}x {name}"),
        Against::PeerAt(name, case) => {
            let other = match case {
                Case::Keyed { keys } => format!("with {keys} keys"),
                case => case.queue_level().map_or("", |level| level.name()).into(),
            };
            format!("{sign} {bound}x {name} {other}")
        }
        Against::Limit => format!("{sign} {bound} of limit"),
        Against::Itself => format!("{sign} {bound}"),
    }
}

/// Three digits and more, with k and M.
pub fn short(value: f64) -> String {
    match value {
        10_000_000.0.. => format!("{:.1} M", value / 1e6),
        1_000_000.0.. => format!("{:.2} M", value / 1e6),
        100_000.0.. => format!("{:.0} k", value / 1e3),
        10_000.0.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// For machines: every run of every target, and the targets.
pub fn to_json(report: &Report, judged: &[Judged]) -> Value {
    json!({
        "cells": report.cells.iter().map(cell_json).collect::<Vec<_>>(),
        "targets": judged.iter().map(goal_json).collect::<Vec<_>>(),
        "table": { "head": HEAD, "rows": rows(judged) },
    })
}

fn cell_json(cell: &Cell) -> Value {
    let figures = cell.spreads().into_iter().map(|(figure, spread)| {
        let mut value = spread.to_json();
        let runs: Vec<f64> = cell.runs.iter().filter_map(|run| run.get(&figure).copied()).collect();
        value["runs"] = json!(runs);
        (figure.name().to_owned(), value)
    });
    json!({
        "workload": cell.case.workload().to_string(),
        "case": cell.case.to_string(),
        "target": cell.target,
        "settings": cell.settings,
        "figures": figures.collect::<serde_json::Map<_, _>>(),
        "fault": cell.fault.as_ref().map(ToString::to_string),
        "messages_lost": matches!(cell.fault, Some(Fault::Messages(_))),
    })
}

fn goal_json(one: &Judged) -> Value {
    let spread = |spread: Option<Spread>| spread.map(Spread::to_json);
    json!({
        "workload": one.goal.case.workload().to_string(),
        "case": one.goal.case.to_string(),
        "figure": one.goal.figure.name(),
        "target": target(one),
        "ours": spread(one.ours),
        "peer": one.peer.map(|(name, _)| name),
        "peer_figure": spread(one.peer.map(|(_, figure)| figure)),
        "peer_ratio": spread(one.peer_ratio),
        "limit": spread(one.limit),
        "limit_ratio": spread(one.limit_ratio),
        "met": one.met,
        "too_few_pairs": one.is_doubtful,
    })
}

/// For machines that read tables: a line for each figure of each run.
pub fn to_csv(report: &Report) -> String {
    let mut out = String::from("workload,case,target,figure,repetition,value\n");
    for cell in &report.cells {
        for (repetition, run) in (1..).zip(&cell.runs) {
            for (figure, value) in run {
                let (workload, case) = (cell.case.workload(), cell.case);
                let figure: Figure = *figure;
                let (target, name) = (cell.target, figure.name());
                let _ = writeln!(out, "{workload},\"{case}\",{target},{name},{repetition},{value}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Case, Figures, judge};
    use crate::targets::Side;

    fn report() -> Report {
        let case = Case::Pass { bytes: 16, subscribers: 1 };
        let cell = |target, side, rates: [f64; 2]| Cell {
            case,
            target,
            side,
            settings: "a, b".into(),
            runs: rates.map(|rate| Figures::from([(Figure::Rate, rate)])).into(),
            fault: None,
        };
        let cells = vec![
            cell("relay", Side::Limit, [40e6, 40e6]),
            cell("Sluice", Side::Ours, [20e6, 22e6]),
            cell("NATS", Side::Peer("nats"), [4e6, 4e6]),
        ];
        Report { cells }
    }

    #[test]
    fn ratios_are_those_of_pairs_and_targets_are_judged() {
        let judged = judge(&report());
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0].peer_ratio.map(|ratio| ratio.median), Some(5.25));
        assert_eq!(judged[0].met, Some(true));
        let table = goals(&judged);
        let line = table.lines().nth(1).unwrap_or_default();
        for word in ["21.0 M", "NATS 4.00 M", "5.25 (5.00..5.50)", ">= 5x NATS", "yes"] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }

    #[test]
    fn machines_get_every_run() {
        let report = report();
        let csv = to_csv(&report);
        assert_eq!(csv.lines().count(), 7);
        assert!(csv.contains("A,\"pass 16 B\",Sluice,msgs/s,2,22000000"));
        let json = to_json(&report, &judge(&report));
        assert_eq!(json["cells"][2]["figures"]["msgs/s"]["runs"], json!([4e6, 4e6]));
        assert_eq!(json["targets"][0]["met"], json!(true));
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.14, "0.14"),
            (42.0, "42.0"),
            (1234.0, "1234"),
            (54_321.0, "54.3 k"),
            (4.354e6, "4.35 M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
