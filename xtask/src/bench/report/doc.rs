//! The table of a document, from the figures of a report, so that nobody types a number.

use anyhow::{Context, bail};
use serde_json::Value;

/// Lines of a document between which a table is.
pub(crate) struct Marks {
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
}

/// A document with the table of a report between its marks, in place of what was there.
pub(in super::super) fn fill(
    document: &str,
    marks: &Marks,
    figures: &Value,
) -> anyhow::Result<String> {
    let Marks { begin, end } = marks;
    let (before, rest) = document.split_once(begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no {end}"))?;
    Ok(format!("{before}{begin}{}{end}{after}", section(figures)?))
}

fn section(figures: &Value) -> anyhow::Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let machine = &figures["machine"];
    let mut out = format!(
        "\n{} x {}, Linux {}, {}; sluice {}; {}.\n\n",
        machine["processors"],
        text(&machine["processor"]),
        text(&machine["kernel"]),
        text(&machine["file_system"]),
        text(&figures["version"]),
        text(&figures["parameters"]),
    );
    let head = cells(&figures["table"]["head"])?;
    out += &line(&head);
    out += &line(&vec!["---".to_owned(); head.len()]);
    for row in figures["table"]["rows"].as_array().context("the report has no rows")? {
        let row = cells(row)?;
        if row.len() != head.len() {
            bail!("a row of {} in a table of {}", row.len(), head.len());
        }
        out += &line(&row);
    }
    out += "\n";
    for version in figures["versions"].as_array().into_iter().flatten() {
        out += &format!("- {}\n", text(version));
    }
    Ok(out + "\n")
}

fn cells(row: &Value) -> anyhow::Result<Vec<String>> {
    let row = row.as_array().context("the report has no table")?;
    let text = |cell: &Value| cell.as_str().map(str::to_owned).context("a cell that is no text");
    row.iter().map(text).collect()
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::measured;
    use super::*;
    use crate::bench::MARKS;

    const BEGIN: &str = MARKS.begin;
    const END: &str = MARKS.end;

    #[test]
    fn a_document_gets_the_figures_of_a_report_and_keeps_the_rest() {
        let figures = measured().to_json();
        let document = format!("before\n{BEGIN}old\n{END}after\n");
        let filled = fill(&document, &MARKS, &figures).unwrap();
        assert!(filled.starts_with("before\n") && filled.ends_with("after\n"));
        assert!(!filled.contains("old"));
        assert!(filled.contains("| A | pass 16 B | msgs/s | 1000 | NATS 10.2 | 97.6"), "{filled}");
        assert!(filled.contains("\n- NATS: 2.9\n"));
        // The same figures again change nothing.
        assert_eq!(fill(&filled, &MARKS, &figures).unwrap(), filled);
    }

    #[test]
    fn a_document_without_marks_and_a_file_without_a_table_are_refused() {
        let figures = measured().to_json();
        assert!(fill("nothing\n", &MARKS, &figures).is_err());
        assert!(fill(&format!("{BEGIN}{END}"), &MARKS, &Value::Null).is_err());
    }

    #[test]
    fn the_projects_document_has_its_marks() {
        let path = crate::run::root().join("docs/performance.md");
        let document = std::fs::read_to_string(path).unwrap();
        fill(&document, &MARKS, &measured().to_json()).unwrap();
    }
}
