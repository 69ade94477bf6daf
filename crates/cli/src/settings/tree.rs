//! A file as a tree of values with their places, whichever language it is written in.

use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::{Origin, Source};
use super::problem::{Problem, tells_secret};
use super::value::Raw;

/// A name with what it stands for.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Node {
    Value(Raw),
    Table(Vec<Entry>),
    /// Tables in a row, of which there is at least one.
    Tables(Vec<Vec<Entry>>),
}

/// Reads TOML. After a mistake it goes on, so that one run finds all of them.
pub(crate) fn read_toml(source: &Arc<Source>) -> (Vec<Entry>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message().lines().next().unwrap_or("")))
        .collect();
    errors.sort_by_key(|(at, _)| at.start);
    // What follows on the same line is about the same mistake.
    errors.dedup_by_key(|(at, _)| source.position(at.start).0);
    let problems = errors.into_iter().map(|(at, message)| syntax(source, message, at));
    (toml_entries(table.get_ref()), problems.collect())
}

fn toml_entries(table: &DeTable<'_>) -> Vec<Entry> {
    let entries = table.iter().map(|(name, value)| Entry {
        name: name.get_ref().to_string(),
        span: name.span(),
        node: match value.get_ref() {
            DeValue::Table(table) => Node::Table(toml_entries(table)),
            DeValue::Array(items) if !items.is_empty() && items.iter().all(is_table) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                Node::Tables(tables.map(toml_entries).collect())
            }
            value => Node::Value(toml_value(value)),
        },
    });
    let mut entries: Vec<Entry> = entries.collect();
    // The table is ordered by name; people look for problems in the order of the file.
    entries.sort_by_key(|entry| entry.span.start);
    entries
}

fn is_table(item: &toml::Spanned<DeValue<'_>>) -> bool {
    item.get_ref().is_table()
}

fn toml_value(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Boolean(switch) => Raw::Switch(*switch),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number that is too large"), Raw::Number),
        DeValue::Float(fraction) => {
            fraction.as_str().parse().map_or(Raw::Other("no number"), Raw::Fraction)
        }
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| toml_value(item.get_ref())).collect())
        }
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Reads YAML, up to the first mistake in its syntax.
pub(crate) fn read_yaml(source: &Arc<Source>) -> (Vec<Entry>, Vec<Problem>) {
    // A file of comments alone is a file without settings.
    let is_empty = source.text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    if is_empty {
        return (Vec::new(), Vec::new());
    }
    // `off` is a log level: of words only true and false are taken for switches here.
    let options = serde_saphyr::options! { strict_booleans: true, reject_unsupported_tags: true };
    match serde_saphyr::from_str_with_options::<Yaml>(&source.text, options) {
        Ok(Yaml::Table(entries)) => (yaml_entries(entries), Vec::new()),
        Ok(Yaml::Value(_) | Yaml::Tables(_)) => {
            (Vec::new(), vec![syntax(source, "the file is no table of settings", 0..0)])
        }
        Err(error) => {
            // Errors of syntax know no bytes.
            let at = error.location().map_or(0, |at| source.offset(at.line(), at.column()));
            let text = error.without_snippet().to_string();
            // The place follows by itself.
            let text = text.split(" at line ").next().unwrap_or_default();
            (Vec::new(), vec![syntax(source, text, at..at)])
        }
    }
}

fn yaml_entries(entries: YamlTable) -> Vec<Entry> {
    entries.into_iter().map(yaml_entry).collect()
}

fn yaml_entry((name, value): (Spanned<String>, Yaml)) -> Entry {
    Entry {
        span: span_of(&name.referenced),
        name: name.value,
        node: match value {
            Yaml::Value(raw) => Node::Value(raw),
            Yaml::Table(entries) => Node::Table(yaml_entries(entries)),
            Yaml::Tables(tables) => Node::Tables(tables.into_iter().map(yaml_entries).collect()),
        },
    }
}

fn span_of(location: &serde_saphyr::Location) -> Range<usize> {
    let span = location.span();
    let at = |bytes: Option<u64>| usize::try_from(bytes.unwrap_or(0)).unwrap_or(0);
    let start = at(span.byte_offset());
    start..start + at(span.byte_len())
}

/// What a YAML file may hold, as far as settings go.
enum Yaml {
    Value(Raw),
    Table(YamlTable),
    /// In a row, at least one.
    Tables(Vec<YamlTable>),
}

type YamlTable = Vec<(Spanned<String>, Yaml)>;

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a setting")
    }

    fn visit_bool<E>(self, switch: bool) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Switch(switch)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Number(number.into())))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Number(number)))
    }

    fn visit_f64<E>(self, fraction: f64) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Fraction(fraction)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Text(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Value(Raw::Other("nothing")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
        let (mut items, mut tables) = (Vec::new(), Vec::new());
        while let Some(item) = seq.next_element()? {
            match item {
                Yaml::Value(raw) => items.push(raw),
                Yaml::Table(table) => tables.push(table),
                Yaml::Tables(_) => items.push(Raw::Other("a list of tables")),
            }
        }
        if items.is_empty() && !tables.is_empty() {
            return Ok(Yaml::Tables(tables));
        }
        items.extend(tables.iter().map(|_| Raw::Other("a table")));
        Ok(Yaml::Value(Raw::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Yaml::Table(entries))
    }
}

fn syntax(source: &Arc<Source>, message: &str, span: Range<usize>) -> Problem {
    let (line, _) = source.position(span.start);
    let line = source.text.split('\n').nth(line - 1).unwrap_or_default();
    let message = match tells_secret(line, message) {
        true => "this can't be read; texts with signs in them need quotes",
        false => message,
    };
    let origin = Origin::File { source: Arc::clone(source), name: String::new(), span };
    Problem::new(message).at(&origin)
}
