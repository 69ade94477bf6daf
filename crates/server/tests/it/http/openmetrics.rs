//! A strict reader of OpenMetrics 1.0 text: what breaks a rule fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, as `name{label="value"}`, labels in their order by name.
#[derive(Debug)]
pub(crate) struct Page {
    samples: BTreeMap<String, f64>,
    /// Metrics with their types.
    pub(crate) types: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page.
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the page ends with its end");
        let mut page = Self { samples: BTreeMap::new(), types: BTreeMap::new() };
        let mut family = Family::default();
        let mut seen = BTreeSet::new();
        for line in body.split_terminator('\n') {
            assert!(
                !line.is_empty() && !line.contains('\r') && line == line.trim_end(),
                "{line:?}"
            );
            match line.strip_prefix("# ") {
                Some(about) => {
                    let (word, rest) = about.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                    let (name, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                    if name != family.name {
                        assert!(seen.insert(name.to_owned()), "{name} comes twice");
                        family.end();
                        family = Family { name: name.to_owned(), ..Family::default() };
                    }
                    assert!(family.samples == 0, "{line} comes behind samples");
                    family.learn(word, rest);
                    page.types.insert(family.name.clone(), family.kind.clone());
                }
                None => page.take(line, &mut family),
            }
        }
        family.end();
        page
    }

    fn take(&mut self, line: &str, family: &mut Family) {
        let (name, labels, value) = sample(line);
        family.check(&name, &labels, value);
        let shown = shown(&name, &labels);
        assert!(self.samples.insert(shown.clone(), value).is_none(), "{shown} comes twice");
    }

    /// The value of a sample.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.samples))
    }

    /// Samples of this name with their labels.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let begins = move |sample: &str| {
            sample.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let all = self.samples.iter().filter(move |(sample, _)| begins(sample));
        all.map(|(sample, value)| (sample.as_str(), *value))
    }

    /// Samples that only go up.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        let counts = |sample: &str| {
            let name = sample.split('{').next().unwrap_or_default();
            ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
        };
        let all = self.samples.iter().filter(move |(sample, _)| counts(sample));
        all.map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// The metric whose lines come now.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    words: Vec<String>,
    samples: usize,
    /// The last bucket of a histogram, and what it counted.
    bucket: Option<(f64, f64)>,
    /// What a histogram says that it counted.
    count: Option<f64>,
}

impl Family {
    fn learn(&mut self, word: &str, rest: &str) {
        let name = &self.name;
        assert!(!self.words.iter().any(|known| known == word), "{word} of {name} comes twice");
        match word {
            "HELP" => assert!(!rest.is_empty(), "{name} has no help"),
            "TYPE" => {
                let known = ["gauge", "counter", "histogram", "info"];
                assert!(known.contains(&rest), "{name} is a {rest}");
                assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}");
                self.kind = rest.to_owned();
            }
            "UNIT" => {
                assert!(["bytes", "seconds"].contains(&rest), "{name} is in {rest}");
                assert!(name.ends_with(&format!("_{rest}")), "{name} is in {rest}");
            }
            _ => panic!("{word} of {name}"),
        }
        self.words.push(word.to_owned());
    }

    fn check(&mut self, sample: &str, labels: &[(String, String)], value: f64) {
        let suffix = sample.strip_prefix(&self.name);
        let suffix = suffix.unwrap_or_else(|| panic!("{sample} among samples of {}", self.name));
        let allowed: &[&str] = match self.kind.as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "info" => &["_info"],
            _ => &["_bucket", "_count", "_sum"],
        };
        assert!(allowed.contains(&suffix), "{sample} of a {}", self.kind);
        assert!(self.kind == "gauge" || value >= 0.0, "{sample} is {value}");
        match suffix {
            "_bucket" => {
                let bound = labels.iter().find(|(name, _)| name == "le").unwrap().1.as_str();
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                if let Some((last, count)) = self.bucket {
                    assert!(last < bound && count <= value, "{sample} of {bound}");
                }
                self.bucket = Some((bound, value));
            }
            "_count" => {
                self.count = Some(value);
            }
            _ => {}
        }
        self.samples += 1;
    }

    fn end(&self) {
        let about = ["HELP", "TYPE"];
        let whole = about.iter().all(|word| self.words.iter().any(|known| known == word));
        assert!(self.name.is_empty() || whole, "{} has {:?}", self.name, self.words);
        if self.kind == "histogram" {
            let all = self.count.map(|count| (f64::INFINITY, count));
            assert!(all.is_some() && self.bucket == all, "{} {:?}", self.name, self.bucket);
        }
    }
}

fn shown(name: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let mut labels: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

/// The name, the labels and the value of a sample's line.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = line.find(|c| !is_name(c)).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(!label.is_empty() && label.chars().all(is_name), "{line}");
            let (value, behind) = quoted(behind);
            assert!(!labels.iter().any(|(known, _)| known == label), "{line}");
            labels.push((label.to_owned(), value));
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "{line}");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
    assert!(value.is_finite(), "{line}");
    (name.to_owned(), labels, value)
}

/// A value up to its closing quote, and what is behind that.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                escaped => panic!("{escaped:?} is escaped"),
            },
            c => value.push(c),
        }
    }
    panic!("no end of {text:?}")
}
