//! Holds the table of settings in `docs/operations.md` to the table of keys.

use std::fmt::Write;
use std::path::Path;

use super::Settings;
use super::key::Key;
use super::keys::SECTIONS;

const BEGIN: &str = "<!-- settings, made from the table of keys -->\n";
const END: &str = "<!-- end of settings -->\n";

fn table() -> String {
    let settings = Settings::default();
    let mut text = String::new();
    for section in SECTIONS {
        let (title, name) = (section.title, section.name);
        write!(text, "\n### {title}: `[{name}]`\n\n").unwrap();
        text += "| Key | Default | What it does |\n|---|---|---|\n";
        for key in section.keys {
            let default = key.show(&settings);
            writeln!(text, "| {} | `{default}` | {} |", names(key), key.doc()).unwrap();
        }
    }
    text + "\n"
}

/// The key, its other names, and its flag.
fn names(key: &Key) -> String {
    let mut names = format!("`{}`", key.name);
    let also: Vec<String> = key.traits.also.iter().map(|(name, _)| format!("`{name}`")).collect();
    if !also.is_empty() {
        write!(names, ", or {}", also.join(", ")).unwrap();
    }
    if key.traits.flag.is_some() {
        write!(names, "; `--{}`", key.flag_name()).unwrap();
    }
    names
}

#[test]
fn the_documented_settings_are_those_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let document = [before, BEGIN, &table(), END, after].concat();
        std::fs::write(&path, document).unwrap();
        return;
    }
    let made = table();
    for (made, written) in made.lines().zip(written.lines()) {
        assert_eq!(made, written, "bring it up to date: UPDATE_DOCS=1 cargo test -p sluice-cli");
    }
    assert_eq!(made.lines().count(), written.lines().count());
}
