//! Holds the table of metrics in `docs/operations.md`, and every name of one that is written
//! anywhere, to the table of what there is.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::family::{Family, Kind};

const BEGIN: &str = "<!-- metrics, made from the table of metrics -->\n";
const END: &str = "<!-- end of metrics -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> String {
    let mut text = "\n| Metric | Kind | Labels | What it says |\n|---|---|---|---|\n".to_owned();
    for family in Family::ALL {
        let kind = match family.kind() {
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> =
            family.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, help) = (family.sample_name(), family.help());
        writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    text + "\n"
}

#[test]
fn the_documented_metrics_are_those_that_there_are() {
    let path = root().join("docs/operations.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, [before, BEGIN, &table(), END, after].concat()).unwrap();
        return;
    }
    let made = table();
    for (made, written) in made.lines().zip(written.lines()) {
        assert_eq!(made, written, "bring it up to date: UPDATE_DOCS=1 cargo test -p sluice-server");
    }
    assert_eq!(made.lines().count(), written.lines().count());
}

/// Words that begin as metrics do.
fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sluice_") || word.starts_with("process_"))
}

/// Log filters name crates.
fn is_crate(name: &str) -> bool {
    let crates = root().join("crates");
    name.strip_prefix("sluice_").is_some_and(|name| crates.join(name).is_dir())
}

fn is_shown(name: &str) -> bool {
    Family::ALL.iter().any(|family| {
        let shown = family.sample_name();
        name == shown
            || family.kind() == Kind::Histogram
                && ["_bucket", "_count", "_sum"].iter().any(|end| name == format!("{shown}{end}"))
    })
}

#[test]
fn alerts_and_documents_name_only_metrics_that_there_are() {
    let rules = std::fs::read_to_string(root().join("packaging/prometheus-alerts.yaml")).unwrap();
    let expressions = rules.lines().filter(|line| line.trim_start().starts_with("expr:")).count();
    assert!(expressions > 10, "{expressions}");
    let documents = ["docs/operations.md", "docs/protocol/http.md", "README.md"];
    let mut texts = vec![("packaging/prometheus-alerts.yaml", rules)];
    for name in documents {
        texts.push((name, std::fs::read_to_string(root().join(name)).unwrap()));
    }
    for (file, text) in texts {
        for name in metrics_in(&text) {
            assert!(is_crate(name) || is_shown(name), "{file} names {name}");
        }
    }
}
