//! Limits that stand in the file: `[limits.NAME]`, or `[[limits.NAME]]` for some with different
//! matches.
//!
//! Their fields are those of `limit.put` in JSON, and they are read by the same code.

use serde_json::{Map, Value as Json, json};
use sluice_client::json::limit_request;
use sluice_client::{Limit, LimitMatch};
use sluice_model::{LimitRequest, LimitSet};

use super::origin::Origin;
use super::problem::Problem;
use super::tree::{Entry, Node};
use super::value::Raw;

/// What the section is called.
pub(crate) const SECTION: &str = "limits";
/// The fields of a limit, beside its name.
pub(crate) const FIELDS: [&str; 10] = [
    "scope",
    "queue",
    "key",
    "rate",
    "per_ms",
    "burst",
    "window",
    "concurrency",
    "mode",
    "max_wait_ms",
];

/// A limit and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct FileLimit {
    pub(crate) limit: Limit,
    pub(crate) origin: Origin,
}

/// Reads a limit of the name.
pub(crate) fn read(
    entries: &[Entry],
    origin: &Origin,
    at: impl Fn(&Entry) -> Origin,
) -> Result<FileLimit, Problem> {
    let name = origin.name();
    let body = Json::Object(object(entries)).to_string();
    match limit_request("limit.put", &[("name", name)], body.as_bytes()) {
        Ok(LimitRequest::Put(limit)) => Ok(FileLimit { limit: *limit, origin: origin.clone() }),
        Ok(_) => Err(Problem::new("this is no limit").at(origin)),
        Err(refusal) => {
            // The field that is named first is the one that is wrong.
            let place = entries
                .iter()
                .filter_map(|entry| Some((word_in(&refusal.message, &entry.name)?, entry)))
                .min_by_key(|(found, _)| *found)
                .map_or_else(|| origin.clone(), |(_, entry)| at(entry));
            Err(Problem::new(format!("{SECTION}.{name}: {}", refusal.message)).at(&place))
        }
    }
}

/// Where a name stands in a text as a word.
fn word_in(text: &str, name: &str) -> Option<usize> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let (before, after) = (text[..*at].chars().next_back(), text[at + name.len()..].chars());
        !before.is_some_and(is_part) && !after.take(1).any(is_part)
    })
}

fn object(entries: &[Entry]) -> Map<String, Json> {
    entries.iter().map(|entry| (entry.name.clone(), value(&entry.node))).collect()
}

fn value(node: &Node) -> Json {
    match node {
        Node::Value(raw) => raw_value(raw),
        Node::Table(entries) => Json::Object(object(entries)),
        Node::Tables(tables) => {
            tables.iter().map(|entries| Json::Object(object(entries))).collect()
        }
    }
}

fn raw_value(raw: &Raw) -> Json {
    match raw {
        Raw::Switch(switch) => json!(switch),
        Raw::Number(number) => i64::try_from(*number).map_or(Json::Null, |number| json!(number)),
        Raw::Fraction(fraction) => json!(fraction),
        Raw::Text(text) => json!(text),
        Raw::List(items) => items.iter().map(raw_value).collect(),
        Raw::Other(_) => Json::Null,
    }
}

/// What is wrong with limits that are each good.
pub(crate) fn check(limits: &[FileLimit]) -> Vec<Problem> {
    let (mut set, mut problems) = (LimitSet::default(), Vec::new());
    for FileLimit { limit, origin } in limits {
        let name = limit.name();
        match set.set(limit.clone(), ()) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let LimitMatch { queue, key } = limit.matches();
                let key = key.as_ref().map(|key| format!(" and key {key}")).unwrap_or_default();
                let text = format!("{SECTION}.{name}: queue {queue}{key} is there twice");
                problems.push(Problem::new(text).at(origin));
            }
            Err(error) => {
                problems.push(Problem::new(format!("{SECTION}.{name}: {error}")).at(origin));
            }
        }
    }
    problems
}
