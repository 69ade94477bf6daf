//! A value that a layer gives a key, and how names are taken to keys.

use super::Settings;
use super::key::{self, Key};
use super::keys::SECTIONS;
use super::kind::Reading;
use super::origin::Origin;
use super::problem::Problem;
use super::value::{Raw, Value};

/// A value that a layer gives a key.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Given {
    /// Reads the value, or says what is wrong with it.
    pub(crate) fn read(
        key: &'static Key,
        reading: Reading,
        raw: &Raw,
        origin: Origin,
    ) -> Result<Self, Problem> {
        let outcome = key.kind.read(raw, reading).and_then(|value| {
            // Whether the field can hold it shows only when it is tried.
            (key.set)(&mut Settings::default(), &value)?;
            Ok(value)
        });
        match outcome {
            Ok(value) => Ok(Self { key, value, origin }),
            Err(reason) => Err(Problem::new(format!("{}: {reason}", origin.name())).at(&origin)),
        }
    }
}

/// The key that a name stands for, under a heading or none.
pub(crate) fn look_up(
    section: Option<&str>,
    name: &str,
) -> Result<(&'static Key, Reading), Problem> {
    match (key::find(name), section) {
        (Some((key, reading)), None) => Ok((key, reading)),
        (Some((key, reading)), Some(section)) if key.section == section => Ok((key, reading)),
        (Some((key, _)), Some(section)) => {
            let problem = Problem::new(format!("`{name}` is no key of [{section}]"));
            Err(problem.help(format!("it belongs to [{}]", key.section)))
        }
        (None, _) => {
            let names: Vec<String> =
                key::all().flat_map(Key::names).map(|(name, _)| name).collect();
            let sections = SECTIONS.iter().map(|section| section.name);
            let known = names.iter().map(String::as_str).chain(sections);
            Err(Problem::new(format!("unknown key `{name}`")).did_you_mean(name, known))
        }
    }
}
