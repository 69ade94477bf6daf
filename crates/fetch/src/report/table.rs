//! A table with a column for each run.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};

use crate::mode::Mode;
use crate::tally::{Latencies, Summary};

/// One of the figures.
type LatencyOf = fn(&Latencies) -> f64;

/// What runs came to, side by side; where one was one after the other, how many times as fast the
/// others were.
pub fn text(runs: &[Summary]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let heading = |run: &Summary| run.mode.name().to_owned();
    table.set_header(std::iter::once(String::new()).chain(runs.iter().map(heading)));
    let mut row = |name: &str, cell: &dyn Fn(&Summary) -> String| {
        table.add_row(std::iter::once(name.to_owned()).chain(runs.iter().map(cell)));
    };
    row("urls", &|run| run.urls.to_string());
    if runs.iter().any(|run| run.left > 0) {
        row("not done", &|run| run.left.to_string());
    }
    row("ok", &|run| run.ok.to_string());
    let kinds: BTreeSet<&String> = runs.iter().flat_map(|run| run.errors.keys()).collect();
    for kind in kinds {
        row(&format!("error {kind}"), &|run| {
            run.errors.get(kind).copied().unwrap_or_default().to_string()
        });
    }
    row("requests", &|run| run.requests.to_string());
    row("retried", &|run| run.retries.to_string());
    row("throttled", &|run| run.throttled.to_string());
    row("redirected", &|run| run.redirects.to_string());
    row("bytes", &|run| run.bytes.to_string());
    row("took", &|run| format!("{:.2} s", run.elapsed_ms / 1e3));
    row("requests/s", &|run| format!("{:.1}", run.requests_per_second));
    if let Some(slow) = runs.iter().find(|run| run.mode == Mode::Seq).filter(|_| runs.len() > 1) {
        row("times seq", &|run| {
            format!("{:.1}", run.requests_per_second / slow.requests_per_second.max(0.1))
        });
    }
    let latencies: [(&str, LatencyOf); 7] = [
        ("min", |it| it.min),
        ("mean", |it| it.mean),
        ("p50", |it| it.p50),
        ("p90", |it| it.p90),
        ("p95", |it| it.p95),
        ("p99", |it| it.p99),
        ("max", |it| it.max),
    ];
    for (name, figure) in latencies {
        row(&format!("{name} ms"), &|run| {
            run.latency_ms.as_ref().map_or("-".to_owned(), |it| format!("{:.1}", figure(it)))
        });
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{table}\n");
    for run in runs.iter().filter(|run| !run.given_up.is_empty()) {
        text.push_str(&format!("{}: given up: {}\n", run.mode, run.given_up.join(", ")));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A run with figures that can be told apart.
    pub(in crate::report) fn run(mode: Mode, per_second: f64) -> Summary {
        let (min, p50, p90, p95) = (1.0, 5.5, 9.0, 9.5);
        Summary {
            mode,
            urls: 10,
            left: 0,
            ok: 8,
            errors: BTreeMap::from([("timeout".to_owned(), 2)]),
            requests: 13,
            retries: 3,
            throttled: 0,
            redirects: 0,
            bytes: 4_096,
            elapsed_ms: 1_234.0,
            requests_per_second: per_second,
            latency_ms: Some(Latencies { min, mean: 5.0, p50, p90, p95, p99: 9.9, max: 10.0 }),
            given_up: Vec::new(),
        }
    }

    #[test]
    fn runs_stand_side_by_side_and_are_compared_with_the_simplest() {
        let mut last = run(Mode::Async, 52.0);
        (last.left, last.latency_ms) = (4, None);
        last.given_up = vec!["a:80".to_owned()];
        let text = text(&[run(Mode::Seq, 10.4), last]);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let expected = [
            "seq async",
            "not done 0 4",
            "error timeout 2 2",
            "took 1.23 s 1.23 s",
            "times seq 1.0 5.0",
            "p99 ms 9.9 -",
            "async: given up: a:80",
        ];
        for expected in expected {
            assert!(lines.iter().any(|line| line == expected), "{expected} is not in {text}");
        }
        assert!(!super::text(&[run(Mode::Seq, 1.0)]).contains("times seq"));
    }
}
