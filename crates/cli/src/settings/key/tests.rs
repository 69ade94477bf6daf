use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::settings::Origins;

#[test]
fn no_two_keys_share_a_name() {
    let mut seen: HashSet<String> =
        SECTIONS.iter().map(|section| section.name.to_owned()).collect();
    for (name, _) in all().flat_map(Key::names) {
        assert!(seen.insert(name.clone()), "{name}");
    }
}

#[test]
fn every_key_takes_its_own_default_and_changes_nothing_by_it() {
    for key in all() {
        let mut settings = Settings::default();
        let value = (key.get)(&settings);
        assert_eq!((key.set)(&mut settings, &value), Ok(()), "{}", key.name);
        assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()), "{}", key.name);
    }
}

/// Another value than the default.
fn other(key: &Key, default: &Value) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    match default {
        Value::Switch(switch) => Value::Switch(!switch),
        Value::Number(number) => Value::Number(number + 1),
        Value::Fraction(fraction) => Value::Fraction(fraction + 0.5),
        Value::Time(time) => Value::Time(*time + std::time::Duration::from_secs(1)),
        Value::Endpoint { .. } => Value::Endpoint { host: "192.0.2.1".parse().ok(), port: Some(1) },
        Value::Secrets(_) => Value::Secrets(vec!["secret".into()]),
        Value::Text(word) => match key.kind {
            Kind::Word(words) => text(words.iter().find(|other| *other != word).unwrap()),
            Kind::Policy => text("none"),
            Kind::Http => text("192.0.2.1:1"),
            _ => text("other"),
        },
    }
}

/// The fields of the configs, by their way in.
fn fields(settings: &Settings) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut way: Vec<String> = Vec::new();
    for line in format!("{settings:#?}").lines() {
        way.truncate((line.len() - line.trim_start().len()) / 4);
        if let Some((name, value)) = line.trim().split_once(": ") {
            way.push(name.to_owned());
            if value.ends_with(',') {
                fields.insert(way.join("."), value.to_owned());
            }
        } else {
            way.push(String::new());
        }
    }
    fields
}

#[test]
fn every_field_of_the_configs_is_settable() {
    let default = fields(&Settings::default());
    let mut untouched = default.clone();
    for key in all() {
        let mut settings = Settings::default();
        let value = other(key, &(key.get)(&settings));
        assert_eq!((key.set)(&mut settings, &value), Ok(()), "{}", key.name);
        settings.derive(&Origins::default());
        assert_eq!((key.get)(&settings), value, "{}", key.name);
        let changed = fields(&settings);
        untouched.retain(|field, value| changed.get(field) == Some(value));
    }
    // A clock is accepted for one start, by a flag; keys come from the key file; what a record may
    // hold follows from what segments and messages may; limits have a table of their own; the admin door, snapshots and the keys that
    // can be made from where the data is.
    let left: Vec<_> = untouched.into_keys().collect();
    let derived = [".local.engine.stored_max", ".local.wal.record_max"];
    let of_http = [".server.http.key_store", ".server.http.snapshots"];
    let of_server = [".server.admin", of_http[0], of_http[1], ".server.keys"];
    assert_eq!(left, [&[".limits", ".local.accept_clock"][..], &derived, &of_server].concat());
    assert!(default.len() > 50, "{default:?}");
}
