//! One page with all of a report: no script, nothing from elsewhere, light and dark, and on paper.

use std::fmt::Write;

use sluice_bench::compare::{Case, table};

use super::{Drawn, Measured, plot};

const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn html(measured: &Measured, drawn: &[Drawn]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n");
    out += "<meta charset=\"utf-8\">\n";
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    out += "<title>Sluice beside its peers</title>\n<style>\n";
    out += STYLE;
    out += "</style>\n</head>\n<body>\n<h1>Sluice beside its peers</h1>\n";
    header(measured, &mut out);
    targets(measured, &mut out);
    faults(measured, &mut out);
    out += "<h2>Workloads</h2>\n";
    for case in measured.cases() {
        workload(measured, case, drawn, &mut out);
    }
    out += "</body>\n</html>\n";
    out
}

fn header(measured: &Measured, out: &mut String) {
    let Measured { machine, parameters, versions, .. } = measured;
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let lines = [
        ("machine", format!("{} x {}", machine.processors, machine.processor)),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("file system", machine.file_system.clone()),
        ("build", format!("sluice {}, {profile} profile", env!("CARGO_PKG_VERSION"))),
        ("run", parameters.clone()),
        ("versions", versions.join("\n")),
    ];
    *out += "<dl>\n";
    for (name, value) in lines {
        // Writing to a string can't fail.
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    *out += "</dl>\n";
}

fn targets(measured: &Measured, out: &mut String) {
    *out += "<h2>Targets</h2>\n<p>Medians; ratios are those of runs side by side, with their range. \
             The peer is the best one, or the one that the target names.</p>\n<table>\n<thead><tr>";
    for name in table::HEAD {
        let _ = write!(out, "<th>{name}</th>");
    }
    *out += "</tr></thead>\n<tbody>\n";
    for row in table::rows(&measured.judged) {
        let class = match row.last().map(String::as_str) {
            Some(met) if met.starts_with("yes") => "met",
            Some(met) if met.starts_with("NO") => "missed",
            _ => "unset",
        };
        let _ = write!(out, "<tr class=\"{class}\">");
        for text in row {
            let _ = write!(out, "<td>{}</td>", escape(&text));
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table>\n";
}

fn faults(measured: &Measured, out: &mut String) {
    let mut faults = measured.report.faults().peekable();
    if faults.peek().is_none() {
        *out += "<p>No message was lost, doubled, changed or out of order.</p>\n";
        return;
    }
    *out += "<h2>What went wrong</h2>\n<ul>\n";
    for (cell, fault) in faults {
        let text = format!("{}, {}: {fault}", cell.case, cell.target);
        let _ = writeln!(out, "<li>{}</li>", escape(&text));
    }
    *out += "</ul>\n";
}

fn workload(measured: &Measured, case: Case, drawn: &[Drawn], out: &mut String) {
    let title = escape(&case.to_string());
    let _ = writeln!(out, "<section>\n<h3>{} {title}</h3>", case.workload());
    let _ = writeln!(out, "<p>{}</p>", escape(what(case)));
    for plot in drawn.iter().filter(|plot| plot.case == case) {
        let _ = writeln!(out, "<figure>{}</figure>", inlined(&plot.svg));
    }
    *out += "<table>\n<thead><tr><th>target</th><th>figures</th><th>settings</th></tr></thead>\n";
    *out += "<tbody>\n";
    for cell in measured.report.cells.iter().filter(|cell| cell.case == case) {
        let figures = cell.spreads().into_iter().map(|(figure, spread)| {
            let [median, min, max] = [spread.median, spread.min, spread.max].map(table::short);
            format!("{} {median} ({min}..{max})", figure.name())
        });
        let figures = figures.collect::<Vec<_>>().join("\n");
        let [figures, settings] = [&figures, &cell.settings].map(|text| escape(text));
        let target = escape(cell.target);
        let _ = writeln!(
            out,
            "<tr><td>{target}</td><td class=\"lines\">{figures}</td><td><code>{settings}</code></td></tr>"
        );
    }
    *out += "</tbody>\n</table>\n</section>\n";
}

/// What is done in a case.
fn what(case: Case) -> &'static str {
    match case {
        Case::Pass { .. } => {
            "One publisher, QoS 0, as fast as subscribers keep up: it is never more than a few MiB \
             ahead. Counted are deliveries."
        }
        Case::Confirm { .. } => {
            "Confirmed publishes of 1 KiB, so many connections x so many in flight, as fast as they \
             go. Closed loop: the latencies are those of a full pipe."
        }
        Case::Pace { .. } => {
            "Confirmed publishes of 1 KiB on a schedule that is fixed beforehand. Each counts from \
             the moment it was due, so a stall counts for all that it keeps waiting."
        }
        Case::Queue { .. } => {
            "Messages of 128 B are put, 256 in flight; then four consumers take and acknowledge \
             them. takes/s is the second phase."
        }
        Case::Keyed { .. } => {
            "As C by 100, but that every message has one of so many keys, each with a rate and a \
             concurrency that never bind; beside no limits, and beside messages without keys."
        }
        Case::Held => {
            "Ten keys with a message each 50 ms: how much later than it may a message arrives at a \
             receive that waits. Then nothing may go for an hour: the broker's processor time while \
             20 000 messages and 4 receives wait."
        }
        Case::Cycle { .. } => {
            "A message is put, its answer awaited, it is taken and acknowledged, then the next. The \
             ack travels with the next take, so a cycle is two round trips for everybody; a Redis \
             list has no acks."
        }
        Case::Keys { .. } => {
            "10 000 keys with values of 128 B are set or read over 50 connections, each with so many \
             requests in flight; every value that is read is one of its key."
        }
        Case::Idle => "Connections that are let in and then do nothing; resident memory of each.",
        Case::Restart => {
            "Messages of 128 B wait; SIGKILL; from the start of the process until the first one is \
             taken."
        }
        Case::Http { .. } => {
            "Messages of 24 B are posted over HTTP on 100 connections, one in flight on each, and \
             answered 202. Afterwards all that were accepted are taken and counted."
        }
    }
}

/// An SVG that takes the colours of its page.
fn inlined(svg: &str) -> String {
    let colours = [(plot::INK, "var(--ink)"), (plot::PAPER, "none"), (plot::GRID, "var(--grid)")];
    let start = svg.find("<svg").unwrap_or(0);
    colours.into_iter().fold(svg[start..].to_owned(), |svg, (colour, name)| {
        let (red, green, blue) = (colour.0, colour.1, colour.2);
        svg.replace(&format!("\"#{red:02X}{green:02X}{blue:02X}\""), &format!("\"{name}\""))
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::{draw, tests::measured};
    use super::*;

    #[test]
    fn a_page_stands_alone_and_shows_everything() {
        let measured = measured();
        let page = html(&measured, &draw(&measured).unwrap());
        for wanted in [
            "2 x A &amp; B &lt;C&gt;",
            "&lt;b&gt; &amp; &quot;quoted&quot;",
            "<td>pass 16 B</td>",
            "class=\"met\"",
            "prefers-color-scheme: dark",
            "@media print",
        ] {
            assert!(page.contains(wanted), "no {wanted}");
        }
        for unwanted in ["<script", "http://www.w3.org/1999", "src=", "href=", "<b>", "#222222"] {
            let count = page.matches(unwanted).count();
            // The name of SVG's namespace is no link.
            assert!(count == 0, "{unwanted}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), 8);
    }
}
