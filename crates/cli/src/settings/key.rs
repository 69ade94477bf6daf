//! What a key is, and how one is found by the names that it has.

use super::Settings;
use super::keys::SECTIONS;
use super::kind::{Kind, Reading};
use super::value::Value;

/// A heading under which keys may stand in a file.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A setting: all that the parser, the documents and the flags know of it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// The lines of its doc comment.
    pub(crate) doc: &'static [&'static str],
    pub(crate) kind: Kind,
    /// Reads it from the configs of the crates.
    pub(crate) get: fn(&Settings) -> Value,
    /// Writes it to every config that has it.
    pub(crate) set: fn(&mut Settings, &Value) -> Result<(), String>,
    pub(crate) traits: Traits,
}

/// What only some keys have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// `serve` has a flag of the key's name, whose value is shown as this; a switch has none.
    pub(crate) flag: Option<&'static str>,
    /// The flag's name where it is not the key's.
    pub(crate) flag_name: Option<&'static str>,
    /// Another flag that does the same.
    pub(crate) flag_alias: Option<&'static str>,
    /// Other names of it, in files and as `SLUICE_<NAME>`.
    pub(crate) also: &'static [(&'static str, Reading)],
    /// Variables of other programs that it is also taken from.
    pub(crate) variables: &'static [(&'static str, Reading)],
    /// A running broker takes a new value.
    pub(crate) live: bool,
}

impl Traits {
    pub(crate) const NONE: Self = Self {
        flag: None,
        flag_name: None,
        flag_alias: None,
        also: &[],
        variables: &[],
        live: false,
    };

    pub(crate) const fn flag(mut self, value: &'static str) -> Self {
        self.flag = Some(value);
        self
    }

    pub(crate) const fn named(mut self, name: &'static str) -> Self {
        self.flag_name = Some(name);
        self
    }

    pub(crate) const fn alias(mut self, name: &'static str) -> Self {
        self.flag_alias = Some(name);
        self
    }

    pub(crate) const fn also(mut self, names: &'static [(&'static str, Reading)]) -> Self {
        self.also = names;
        self
    }

    pub(crate) const fn variables(mut self, names: &'static [(&'static str, Reading)]) -> Self {
        self.variables = names;
        self
    }

    pub(crate) const fn live(mut self) -> Self {
        self.live = true;
        self
    }
}

impl Key {
    /// Every name that a file may give it, with how the value is said there.
    pub(crate) fn names(&self) -> impl Iterator<Item = (String, Reading)> {
        let millis = (self.kind == Kind::Time).then(|| (self.millis(), Reading::Millis));
        let also = self.traits.also.iter().map(|(name, reading)| ((*name).to_owned(), *reading));
        std::iter::once((self.name.to_owned(), Reading::Same)).chain(millis).chain(also)
    }

    /// The name under which a duration is a plain number.
    fn millis(&self) -> String {
        format!("{}_ms", self.name)
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.kind == Kind::Secrets
    }

    /// Its value in `settings`, for people.
    pub(crate) fn show(&self, settings: &Settings) -> String {
        self.kind.show(&(self.get)(settings))
    }

    /// Its doc comment on one line.
    pub(crate) fn doc(&self) -> String {
        self.doc.concat().trim().to_owned()
    }

    pub(crate) fn flag_name(&self) -> String {
        self.traits.flag_name.map_or_else(|| self.name.replace('_', "-"), ToOwned::to_owned)
    }
}

impl PartialEq for Key {
    /// Names are unique.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every key, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key that has the name, and how its value is said under it.
pub(crate) fn find(name: &str) -> Option<(&'static Key, Reading)> {
    all().find_map(|key| {
        let (_, reading) = key.names().find(|(known, _)| known == name)?;
        Some((key, reading))
    })
}

/// The section that has the name.
pub(crate) fn find_section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

#[cfg(test)]
mod tests;
