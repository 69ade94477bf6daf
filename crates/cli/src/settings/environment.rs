//! The layer of environment variables: `SLUICE_<KEY>`, `SLUICE_<SECTION>__<KEY>`, and a few names
//! of other programs.
//!
//! A container gets variables that nobody wrote for it: an orchestrator that has a service named
//! `sluice` sets `SLUICE_PORT=tcp://10.0.0.1:5555` and the like. So what can't be understood by its
//! name, or is such a link, is a warning and not an error.

use sluice_model::nearest;

use super::given::{Given, look_up};
use super::key::{self, Key};
use super::kind::Reading;
use super::origin::Origin;
use super::problem::Problem;
use super::value::Raw;

const PREFIX: &str = "SLUICE_";
/// Variables of the command line, which are no settings of the broker.
const OTHERS: [&str; 3] = ["SLUICE_CONFIG", "SLUICE_SERVER", "SLUICE_API_KEY"];

/// What was found in the environment.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) given: Vec<Given>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads variables. An empty one counts as one that is not there.
pub(crate) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Found {
    let mut variables: Vec<_> = variables.into_iter().collect();
    // The system's order is nobody's intention.
    variables.sort();
    let mut found = Found::default();
    for (name, value) in variables {
        if value.is_empty() || OTHERS.contains(&name.as_str()) {
            continue;
        }
        let key = match name.strip_prefix(PREFIX) {
            Some(rest) => look_up_variable(rest),
            None => match foreign(&name) {
                Some(known) => Ok(known),
                None => continue,
            },
        };
        let origin = Origin::Variable(name.clone());
        match key {
            _ if is_link(&value) => found.warnings.push(injected(&name)),
            Ok((key, reading)) => match Given::read(key, reading, &Raw::Text(value), origin) {
                Ok(given) => found.given.push(given),
                Err(problem) => found.problems.push(problem),
            },
            Err(_) if is_name_of_link(&name) => found.warnings.push(injected(&name)),
            Err(problem) => found.warnings.push(problem),
        }
    }
    found
}

type Known = (&'static Key, Reading);

fn look_up_variable(name: &str) -> Result<Known, Problem> {
    let lower = name.to_ascii_lowercase();
    let (section, key) = match lower.split_once("__") {
        Some((section, key)) => (Some(section), key),
        None => (None, lower.as_str()),
    };
    look_up(section, key).map_err(|_| {
        let problem =
            Problem::new(format!("variable {PREFIX}{name} is no setting; it has no effect"));
        let names: Vec<String> = key::all().flat_map(Key::names).map(|(name, _)| name).collect();
        match nearest(key, names.iter().map(String::as_str)) {
            Some(known) => {
                problem.help(format!("did you mean `{PREFIX}{}`?", known.to_ascii_uppercase()))
            }
            None => problem,
        }
    })
}

/// A variable that programs of old are configured by.
fn foreign(name: &str) -> Option<Known> {
    key::all().find_map(|key| {
        let (_, reading) = key.traits.variables.iter().find(|(known, _)| *known == name)?;
        Some((key, *reading))
    })
}

/// What Kubernetes and Docker set the variable of a service's port to.
fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// The variables that come along: `SLUICE_SERVICE_HOST`, `SLUICE_PORT_5555_TCP_ADDR` and the like.
fn is_name_of_link(name: &str) -> bool {
    let port = name.split_once("_PORT_").and_then(|(_, rest)| rest.split('_').next());
    let is_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    is_port || name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

fn injected(name: &str) -> Problem {
    Problem::new(format!("variable {name} is a link that an orchestrator set; it has no effect"))
        .help("Kubernetes leaves such links out with `enableServiceLinks: false`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Found {
        read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    #[rustfmt::skip]
    fn variables_name_keys_alone_or_with_their_section() {
        let cases = [
            ("SLUICE_MAX_BYTES",           "2G", "max_bytes",    "2GiB"),
            ("SLUICE_QUEUES__MAX_BYTES",   "2G", "max_bytes",    "2GiB"),
            ("QUEUE_MAX_BYTES",            "2G", "default_max_bytes", "2GiB"),
            ("QUEUE_MAX_MSGS",             "7",  "default_max_messages", "7"),
            ("SLUICE_IDLE_TIMEOUT",        "5m", "idle_timeout", "5m"),
            ("SLUICE_IDLE_TIMEOUT_MS",     "50", "idle_timeout", "50ms"),
            ("RATELIMMQ_HOST",            "::1", "tcp_addr",     "::1"),
            ("RATELIMMQ_PORT",             "80", "tcp_addr",     "80"),
            ("SLUICE_PORT",                "80", "tcp_addr",     "80"),
            ("SLUICE_ALLOWED_API_KEYS",  "a, b", "allowed_api_keys", "2 (not shown)"),
        ];
        for (name, value, key, expected) in cases {
            let found = found(&[(name, value)]);
            let [given] = found.given.as_slice() else { panic!("{name}: {found:?}") };
            assert_eq!((given.key.name, given.key.kind.show(&given.value).as_str()), (key, expected));
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_nobody_wrote_for_the_broker_is_a_warning() {
        let cases = [
            ("SLUICE_PORT",               "tcp://10.0.0.1:5555", "enableServiceLinks"),
            ("RATELIMMQ_PORT",            "tcp://10.0.0.1:80",   "enableServiceLinks"),
            ("SLUICE_PORT_5555_TCP_PORT", "5555",                "enableServiceLinks"),
            ("SLUICE_SERVICE_HOST",       "10.0.0.1",            "enableServiceLinks"),
            ("SLUICE_SERVICE_PORT_TCP",   "5555",                "enableServiceLinks"),
            ("SLUICE_MAX_RETRYS",         "5",                   "did you mean `SLUICE_MAX_RETRIES`?"),
            ("SLUICE_SERVER__MAX_BYTES",  "5",                   "did you mean `SLUICE_MAX_BYTES`?"),
        ];
        for (name, value, expected) in cases {
            let found = found(&[(name, value)]);
            assert!(found.given.is_empty() && found.problems.is_empty(), "{found:?}");
            let warning = found.warnings[0].to_string();
            assert!(warning.contains(name) && warning.contains(expected), "{warning}");
        }
    }

    #[test]
    fn a_known_variable_with_a_bad_value_is_an_error_that_names_it() {
        let found = found(&[("SLUICE_MAX_BYTES", "12q"), ("SLUICE_ACCEPT_RATE", "9999999999")]);
        let problems: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
        assert!(problems[0].contains("SLUICE_ACCEPT_RATE") && problems[0].contains("above"));
        assert!(problems[1].contains("SLUICE_MAX_BYTES") && problems[1].contains("size"));
    }

    #[test]
    fn what_is_no_setting_of_the_broker_is_left_alone() {
        let names = ["SLUICE_CONFIG", "SLUICE_SERVER", "SLUICE_API_KEY", "PATH"];
        let others = found(&names.map(|name| (name, "x")));
        let empty = found(&[("SLUICE_PORT", "")]);
        for found in [others, empty] {
            assert!(found.given.is_empty() && found.warnings.is_empty(), "{found:?}");
        }
    }
}
