//! What is wrong with the settings, shown with the place where it stands.

use std::fmt;
use std::sync::Arc;

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};

use sluice_model::nearest;

use super::key::{self, Key};
use super::keys::SECTIONS;
use super::limits;
use super::origin::{Origin, Source};

/// Something wrong, and the places that have to do with it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    message: String,
    help: Option<String>,
    places: Vec<Origin>,
}

impl Problem {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), help: None, places: Vec::new() }
    }

    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Asks whether one of the known names was meant, if one is near.
    pub(crate) fn did_you_mean<'a>(
        self,
        unknown: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match nearest(unknown, known) {
            Some(known) => self.help(format!("did you mean `{known}`?")),
            None => self,
        }
    }

    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.places.push(origin.clone());
        self
    }

    /// The byte where it stands in a file.
    pub(crate) fn start(&self) -> Option<usize> {
        self.places.iter().find_map(|place| match place {
            Origin::File { span, .. } => Some(span.start),
            _ => None,
        })
    }

    /// For a log: on one line, with the places in files.
    pub(crate) fn line(&self) -> String {
        let in_file = |place: &&Origin| matches!(place, Origin::File { .. });
        let places = self.places.iter().filter(in_file).map(|place| format!("{}: ", place.place()));
        format!("{}{self}", places.take(1).collect::<String>())
    }

    pub(crate) fn report(self) -> Report {
        let mut diagnostic = MietteDiagnostic::new(self.message);
        diagnostic.help = self.help;
        let source = self.places.iter().find_map(|place| match place {
            Origin::File { source, .. } => Some(Arc::clone(source)),
            _ => None,
        });
        let labels = self.places.iter().filter_map(|place| match place {
            Origin::File { span, .. } => {
                Some(LabeledSpan::new_with_span(Some("here".into()), span.clone()))
            }
            _ => None,
        });
        diagnostic.labels = Some(labels.collect());
        let report = Report::new(diagnostic);
        match source {
            Some(source) => {
                let name = source.path.display().to_string();
                report.with_source_code(NamedSource::new(name, redact(&source)))
            }
            None => report,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Whether a parser's message repeats a part of the line that a report hides.
pub(crate) fn tells_secret(line: &str, message: &str) -> bool {
    let shown = redact_line(line);
    line.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| word.len() > 2 && !shown.contains(word))
        .any(|word| message.contains(word))
}

/// The text of a file with everything hidden that could be a secret: a report shows the lines
/// around a place, and logs keep reports. Shown are headings, keys that are known to be no secrets,
/// and names near to known ones. Places stay where they are, as every byte is replaced by one.
fn redact(source: &Source) -> String {
    source.text.split_inclusive('\n').map(redact_line).collect()
}

fn redact_line(line: &str) -> String {
    let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let start = line.len() - line.trim_start_matches(|c: char| " \t\"'[".contains(c)).len();
    let name_end = line[start..].find(|letter| !is_name(letter)).map_or(line.len(), |n| start + n);
    let name = line[start..name_end].rsplit('.').next().unwrap_or_default();
    let rest = line[name_end..].trim_start_matches(['"', '\'']).trim_start();
    let holds_secret = key::all().any(|key| key.is_secret() && line.contains(key.name));
    let is_near = || {
        let known: Vec<String> = key::all().flat_map(Key::names).map(|(name, _)| name).collect();
        let sections = SECTIONS.iter().map(|section| section.name);
        nearest(name, known.iter().map(String::as_str).chain(sections)).is_some()
    };
    // Patterns of keys are not shown: whoever mistook the section may have a secret there.
    let is_of_limit = || limits::FIELDS.contains(&name) && name != "key" && !holds_secret;
    let shown_to = match rest.chars().next() {
        Some('=' | ':') if key::find(name).is_some() && !holds_secret => line.len(),
        Some('=' | ':') if is_of_limit() => line.len(),
        Some(']') if line.trim_start().starts_with(['[', '"']) && is_limit(line) => line.len(),
        // Up to the sign. An item of a list may have one as well, and then it is no name.
        Some('=' | ':') if is_near() => line.len() - rest.len() + 1,
        Some(']') if is_near() => line.len(),
        _ => 0,
    };
    let mut out = line[..shown_to].to_owned();
    for letter in line[shown_to..].chars() {
        match letter.is_ascii_whitespace() || "[]{}'\",#".contains(letter) {
            true => out.push(letter),
            false => out.extend(std::iter::repeat_n('*', letter.len_utf8())),
        }
    }
    out
}

/// Whether it is the heading of a limit.
fn is_limit(line: &str) -> bool {
    let heading = line.trim().trim_matches(['[', ']']);
    heading.split_once('.').is_some_and(|(section, name)| {
        section == limits::SECTION && name.len() <= sluice_model::LIMIT_NAME_BYTES_MAX + 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn what_could_be_a_secret_is_hidden_from_reports() {
        let cases = [
            ("port = 5555\n",                           "port = 5555\n"),
            ("  idle_timeout_ms: 3\n",                  "  idle_timeout_ms: 3\n"),
            ("[storage]\n",                             "[storage]\n"),
            ("[storge]\n",                              "[storge]\n"),
            ("[hunter2]\n",                             "[*******]\n"),
            ("storage.data_dir = \"x\"\n",              "storage.data_dir = \"x\"\n"),
            ("allowed_api_keys = [\"k1\"]",             "allowed_api_keys = [\"**\"]"),
            ("security.allowed_api_keys = [\"k1\"]",    "security.allowed_api_keys = [\"**\"]"),
            ("security = { allowed_api_keys = \"k\" }", "security = { **************** * \"*\" }"),
            ("port = 1 # allowed_api_keys: k1",         "port = * # ***************** **"),
            ("alowed_keys: [k1]",                       "alowed_keys: [**]"),
            ("colour: [k1]",                            "******* [**]"),
            ("  \"aHVudGVyMg==\",",                     "  \"************\","),
            ("  aHVudGVyMg==, b",                       "  ************, *"),
            ("  hunter2: b",                            "  ******** *"),
            ("  \"k1\", \"k2\"]",                       "  \"**\", \"**\"]"),
            ("  - k1\u{e9}\n",                          "  * ****\n"),
        ];
        for (line, expected) in cases {
            assert_eq!(redact_line(line), expected);
            assert_eq!(redact_line(line).len(), line.len());
        }
    }
}
