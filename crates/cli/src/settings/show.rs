//! The settings as they are, with where they come from. Secrets are counted, never shown.

use serde_json::{Value as Json, json};
use sluice_client::Limit;
use sluice_client::json::LimitShown;

use super::key::{self, Key};
use super::keys::SECTIONS;
use super::kind::Kind;
use super::origin::Origin;
use super::value::Value;
use super::{FileLimit, Loaded};

/// Where comments on values begin.
const COLUMN: usize = 40;

/// As a file that would give the same.
pub(crate) fn text(loaded: &Loaded, with_origin: bool) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        text += &format!("{}[{}]\n", if text.is_empty() { "" } else { "\n" }, section.name);
        for key in section.keys {
            let value = (key.get)(&loaded.settings);
            let line = match value {
                Value::Secrets(ref secrets) if !secrets.is_empty() => {
                    format!("# {}: {}", key.name, key.kind.show(&value))
                }
                _ => format!("{} = {}", key.name, key.kind.toml(&value)),
            };
            match with_origin {
                true => text += &format!("{line:<COLUMN$} # {}\n", origin(loaded, key)),
                false => text += &format!("{line}\n"),
            }
        }
    }
    for FileLimit { limit, origin } in &loaded.settings.limits {
        text += &format!("\n[[limits.{:?}]]", limit.name());
        text += &if with_origin { format!(" # {origin}\n") } else { "\n".to_owned() };
        for (name, value) in fields(limit) {
            text += &format!("{name} = {value}\n");
        }
    }
    text
}

/// What a limit says, as JSON and TOML write it alike.
fn fields(limit: &Limit) -> Vec<(String, Json)> {
    match json!(LimitShown::from(limit)) {
        Json::Object(fields) => fields.into_iter().filter(|(name, _)| name != "name").collect(),
        _ => Vec::new(),
    }
}

fn origin(loaded: &Loaded, key: &Key) -> String {
    let places: Vec<String> = loaded.origins.of(key).iter().map(ToString::to_string).collect();
    match places.as_slice() {
        [] => "default".to_owned(),
        places => places.join(" and "),
    }
}

/// For machines.
pub(crate) fn json(loaded: &Loaded) -> Json {
    let settings = key::all().map(|key| {
        let value = (key.get)(&loaded.settings);
        json!({
            "section": key.section,
            "key": key.name,
            "value": as_json(key.kind, &value),
            "secret": key.is_secret(),
            "live": key.traits.live,
            "origin": loaded.origins.layer(key).name(),
            "places": loaded.origins.of(key).iter().map(place).collect::<Vec<_>>(),
        })
    });
    json!({
        "file": loaded.file.as_ref().map(|path| path.display().to_string()),
        "warnings": loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
        "limits": loaded.settings.limits.iter().map(limit_json).collect::<Vec<_>>(),
    })
}

fn limit_json(FileLimit { limit, origin }: &FileLimit) -> Json {
    let mut shown = json!(LimitShown::from(limit));
    shown["place"] = place(origin);
    shown
}

fn as_json(kind: Kind, value: &Value) -> Json {
    match value {
        Value::Switch(switch) => json!(switch),
        Value::Number(number) if kind == Kind::Count => json!(number),
        Value::Fraction(fraction) => json!(fraction),
        _ => json!(kind.show(value)),
    }
}

fn place(origin: &Origin) -> Json {
    match origin {
        Origin::File { source, name, span } => {
            let (line, column) = source.position(span.start);
            let path = source.path.display().to_string();
            json!({ "path": path, "line": line, "column": column, "name": name })
        }
        Origin::Variable(name) => json!({ "variable": name }),
        Origin::Flag(name) => json!({ "flag": name }),
    }
}
