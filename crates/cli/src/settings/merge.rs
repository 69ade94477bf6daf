//! The layers put together.

use std::collections::BTreeMap;

use super::Settings;
use super::given::Given;
use super::key::{self, Key};
use super::origin::{Layer, Origin};
use super::problem::Problem;
use super::value::Value;

/// Where each key's value comes from; a key that is not there has its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(BTreeMap<&'static str, Vec<Origin>>);

impl Origins {
    /// The places that the value was put together from.
    pub(crate) fn of(&self, key: &Key) -> &[Origin] {
        self.0.get(key.name).map_or(&[], Vec::as_slice)
    }

    /// The strongest layer that had a say.
    pub(crate) fn layer(&self, key: &Key) -> Layer {
        self.of(key).iter().map(Origin::layer).max().unwrap_or(Layer::Default)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Puts layers over each other, the weakest first. Within one, two different values for one thing
/// are a problem.
pub(crate) fn merge(layers: [Vec<Given>; 3]) -> (Settings, Origins, Vec<Problem>) {
    let (mut settings, mut origins) = (Settings::default(), Origins::default());
    let mut problems = Vec::new();
    for layer in layers {
        for (name, (value, from)) in unite(layer, &mut problems) {
            let Some((key, _)) = key::find(name) else { continue };
            if let Err(reason) = (key.set)(&mut settings, &value) {
                problems.push(Problem::new(format!("{name}: {reason}")));
                continue;
            }
            let known = origins.0.entry(name).or_default();
            if !value.is_partial() {
                known.clear();
            }
            known.extend(from);
        }
    }
    settings.derive(&origins);
    (settings, origins, problems)
}

type United = BTreeMap<&'static str, (Value, Vec<Origin>)>;

/// What one layer says of each key, under whichever names.
fn unite(layer: Vec<Given>, problems: &mut Vec<Problem>) -> United {
    let mut united = United::new();
    for Given { key, value, origin } in layer {
        let Some((known, from)) = united.get_mut(key.name) else {
            united.insert(key.name, (value, vec![origin]));
            continue;
        };
        match known.unite(&value) {
            Some(both) => {
                *known = both;
                from.push(origin);
            }
            None => problems.push(contradiction(from, &origin)),
        }
    }
    united
}

fn contradiction(known: &[Origin], other: &Origin) -> Problem {
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let message =
        format!("{} and {other} give two different values for one thing", names.join(" and "));
    known.iter().fold(Problem::new(message).at(other), |problem, origin| problem.at(origin))
}
