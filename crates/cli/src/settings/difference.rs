//! What changes between the settings that a broker runs with and new ones.

use std::fmt;

use super::Settings;
use super::key::{self, Key};

/// A setting that has another value now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) key: &'static Key,
    from: String,
    to: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
        match key.is_secret() {
            true => f.write_str(key.name),
            false => write!(f, "{} from {from} to {to}", key.name),
        }
    }
}

/// Changes by what they need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// A running broker takes them.
    pub(crate) live: Vec<Change>,
    /// They wait for the next start.
    pub(crate) restart: Vec<Change>,
}

impl Settings {
    /// What changes from these settings to `new` ones.
    pub(crate) fn difference(&self, new: &Self) -> Difference {
        let changed = key::all().filter(|key| (key.get)(self) != (key.get)(new));
        let change = |key: &'static Key| Change { key, from: key.show(self), to: key.show(new) };
        let (live, restart) = changed.map(change).partition(|change| change.key.traits.live);
        Difference { live, restart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.name).collect()
    }

    #[test]
    fn changes_are_split_into_those_that_apply_at_once_and_those_that_wait() {
        let old = Settings::default();
        assert_eq!(old.difference(&old), Difference::default());
        let mut new = old.clone();
        new.log_level = "debug".into();
        new.server.accept_rate = 7;
        new.server.admission.client.rate = 5;
        new.server.admission.clients_max = 5;
        new.server.allowed_api_keys = vec!["hunter2".into()];
        let difference = old.difference(&new);
        assert_eq!(names(&difference.live), ["client_rate", "log_level"]);
        let restart = ["allowed_api_keys", "clients_max", "accept_rate"];
        assert_eq!(names(&difference.restart), restart);
        assert_eq!(difference.live[1].to_string(), "log_level from info to debug");
        assert_eq!(difference.restart[0].to_string(), "allowed_api_keys");
        assert!(!format!("{difference:?}").contains("hunter2"));
    }

    #[test]
    fn a_key_that_replaces_another_is_a_change() {
        let with = |secret: &str| {
            let mut settings = Settings::default();
            settings.server.allowed_api_keys = vec![secret.into()];
            settings
        };
        assert_eq!(with("one").difference(&with("one")), Difference::default());
        assert_eq!(with("one").difference(&with("two")).restart.len(), 1);
    }
}
