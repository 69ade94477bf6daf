//! The layer of the configuration file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::given::{Given, look_up};
use super::key::find_section;
use super::keys::SECTIONS;
use super::limits::{self, FileLimit};
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

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct InFile {
    pub(crate) given: Vec<Given>,
    pub(crate) limits: Vec<FileLimit>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a file: YAML if its name says so, else TOML.
pub(crate) fn read(path: &Path) -> InFile {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) => {
            let problem = Problem::new(format!("can't read {}: {error}", path.display()));
            InFile { problems: vec![problem], ..InFile::default() }
        }
    }
}

pub(crate) fn parse(path: &Path, text: &str) -> InFile {
    let source = Source::new(path, text);
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let (entries, problems) = match extension.to_str() {
        Some("yaml" | "yml") => read_yaml(&source),
        _ => read_toml(&source),
    };
    let line = |problem: &Problem| problem.start().map(|at| source.position(at).0);
    let broken: Vec<_> = problems.iter().filter_map(line).collect();
    let mut reader = Reader { source: Arc::clone(&source), found: InFile::default() };
    reader.entries(None, entries);
    let mut found = reader.found;
    found.problems.extend(limits::check(&found.limits));
    // What a broken line seems to say is no problem of its own.
    found.problems.retain(|problem| line(problem).is_none_or(|line| !broken.contains(&line)));
    found.problems.extend(problems);
    found.problems.sort_by_key(Problem::start);
    found
}

struct Reader {
    source: Arc<Source>,
    found: InFile,
}

impl Reader {
    fn entries(&mut self, section: Option<&str>, entries: Vec<Entry>) {
        for Entry { name, span, node } in entries {
            let origin = self.origin(&name, &span);
            match node {
                Node::Table(entries) if section.is_none() && name == limits::SECTION => {
                    entries.into_iter().for_each(|entry| self.limit(&entry));
                }
                Node::Table(entries) if section.is_none() && find_section(&name).is_some() => {
                    self.entries(Some(&name), entries);
                }
                Node::Table(_) | Node::Tables(_) => {
                    self.found.problems.push(no_section(&name).at(&origin));
                }
                Node::Value(raw) => {
                    let given = look_up(section, &name)
                        .map_err(|problem| problem.at(&origin))
                        .and_then(|(key, reading)| Given::read(key, reading, &raw, origin));
                    match given {
                        Ok(given) => self.found.given.push(given),
                        Err(problem) => self.found.problems.push(problem),
                    }
                }
            }
        }
    }

    fn origin(&self, name: &str, span: &Range<usize>) -> Origin {
        let (source, name, span) = (Arc::clone(&self.source), name.to_owned(), span.clone());
        Origin::File { source, name, span }
    }

    /// A limit, or some of one name.
    fn limit(&mut self, entry: &Entry) {
        let heading = self.origin(&entry.name, &entry.span);
        let each: &[Vec<Entry>] = match &entry.node {
            Node::Table(entries) => std::slice::from_ref(entries),
            Node::Tables(tables) => tables,
            Node::Value(_) => {
                let text = format!("{}.{} is no table", limits::SECTION, entry.name);
                return self.found.problems.push(Problem::new(text).at(&heading));
            }
        };
        for (nth, entries) in each.iter().enumerate() {
            // The name of those in a row stands nowhere but before the first.
            let first = entries.first().filter(|_| nth > 0);
            let origin = first.map_or_else(
                || heading.clone(),
                |first| self.origin(&entry.name, &(first.span.start..first.span.start)),
            );
            let at = |field: &Entry| self.origin(&field.name, &field.span);
            match limits::read(entries, &origin, at) {
                Ok(limit) => self.found.limits.push(limit),
                Err(problem) => self.found.problems.push(problem),
            }
        }
    }
}

fn no_section(name: &str) -> Problem {
    let problem = Problem::new(format!("there is no section [{name}]"));
    let sections = SECTIONS.iter().map(|section| section.name);
    problem.did_you_mean(name, sections.chain([limits::SECTION]))
}
