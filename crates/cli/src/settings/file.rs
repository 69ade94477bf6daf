//! The layer of the configuration file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::given::{Given, look_up};
use super::key::find_section;
use super::keys::SECTIONS;
use super::origin::{Origin, Source};
use super::problem::Problem;
use super::tree::{Entry, Node, read_toml, read_yaml};

/// Where a file is looked for when nobody names one.
const PLACES: [&str; 2] = ["sluice.toml", "/etc/sluice/sluice.toml"];

/// The file to read: the one that was named, else the first that is there.
pub(crate) fn choose(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => PLACES.iter().map(PathBuf::from).find(|path| path.exists()),
    }
}

/// Reads a file: YAML if its name says so, else TOML.
pub(crate) fn read(path: &Path) -> (Vec<Given>, Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) => {
            let problem = Problem::new(format!("can't read {}: {error}", path.display()));
            (Vec::new(), vec![problem])
        }
    }
}

pub(crate) fn parse(path: &Path, text: &str) -> (Vec<Given>, Vec<Problem>) {
    let source = Source::new(path, text);
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let (entries, problems) = match extension.to_str() {
        Some("yaml" | "yml") => read_yaml(&source),
        _ => read_toml(&source),
    };
    let line = |problem: &Problem| problem.start().map(|at| source.position(at).0);
    let broken: Vec<_> = problems.iter().filter_map(line).collect();
    let mut reader =
        Reader { source: Arc::clone(&source), found: Vec::new(), problems: Vec::new() };
    reader.entries(None, entries);
    // What a broken line seems to say is no problem of its own.
    reader.problems.retain(|problem| line(problem).is_none_or(|line| !broken.contains(&line)));
    reader.problems.extend(problems);
    reader.problems.sort_by_key(Problem::start);
    (reader.found, reader.problems)
}

struct Reader {
    source: Arc<Source>,
    found: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reader {
    fn entries(&mut self, section: Option<&str>, entries: Vec<Entry>) {
        for Entry { name, span, node } in entries {
            let source = Arc::clone(&self.source);
            let origin = Origin::File { source, name: name.clone(), span };
            match node {
                Node::Table(entries) if section.is_none() && find_section(&name).is_some() => {
                    self.entries(Some(&name), entries);
                }
                Node::Table(_) => self.problems.push(no_section(&name).at(&origin)),
                Node::Value(raw) => {
                    let given = look_up(section, &name)
                        .map_err(|problem| problem.at(&origin))
                        .and_then(|(key, reading)| Given::read(key, reading, &raw, origin));
                    match given {
                        Ok(given) => self.found.push(given),
                        Err(problem) => self.problems.push(problem),
                    }
                }
            }
        }
    }
}

fn no_section(name: &str) -> Problem {
    let problem = Problem::new(format!("there is no section [{name}]"));
    problem.did_you_mean(name, SECTIONS.iter().map(|section| section.name))
}
