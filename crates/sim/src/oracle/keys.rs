//! What is known of keys, and whether it can be.
//!
//! Every change has a number, and whoever is told of one is told what is safe: a change that was
//! told once is a fact for good, through every crash. With all facts known, each answer is held
//! against the states between the last change that was known when it was asked for and the last
//! that there was when it came: that is linearizability per key, with the order given.

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::Condition;

use crate::keeper::{COUNT, NAMES, What, below};

/// What a change did to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Put(String),
    Deleted,
    Expired,
}

/// What somebody was told.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The change that they made.
    Made(u64),
    /// The key's last change.
    There(u64),
    /// The key is not there.
    Absent,
    /// The condition did not hold.
    Conflict,
}

#[derive(Debug)]
struct Answered {
    what: What,
    key: &'static str,
    seen: Seen,
    /// Changes that the answer was between.
    floor: u64,
    ceiling: u64,
}

/// The changes that one watch told, without a gap from the first number on.
#[derive(Debug)]
struct Told {
    prefix: &'static str,
    from: u64,
    changes: BTreeSet<u64>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    facts: BTreeMap<u64, (&'static str, Done)>,
    /// Values that somebody asked to set, and whether they expire.
    values: BTreeMap<String, bool>,
    /// Of these, refused: they are nowhere.
    refused: BTreeSet<String>,
    amounts: BTreeSet<i64>,
    answers: Vec<Answered>,
    told: Vec<Told>,
    /// Answers that were held against the states they can have come from.
    pub(crate) checked: u64,
}

impl Keys {
    /// The last change that anybody knows of.
    pub(crate) fn last(&self) -> u64 {
        self.facts.last_key_value().map_or(0, |(revision, _)| *revision)
    }

    /// What was asked, and the facts, without what anybody was told: that is held against them elsewhere.
    pub(crate) fn asked_so_far(&self) -> Self {
        Self {
            facts: self.facts.clone(),
            values: self.values.clone(),
            refused: self.refused.clone(),
            amounts: self.amounts.clone(),
            ..Self::default()
        }
    }

    /// What is behind that change never was.
    pub(crate) fn forget_behind(&mut self, last: u64) {
        self.facts.split_off(&(last + 1));
    }

    /// How many changes are known.
    pub(crate) fn known(&self) -> u64 {
        self.facts.len() as u64
    }

    /// Notes what is asked.
    pub(crate) fn asked(&mut self, what: &What) {
        match what {
            What::Set { value, ttl, .. } => drop(self.values.insert(value.clone(), ttl.is_some())),
            What::Add(amount) => drop(self.amounts.insert(*amount)),
            _ => {}
        }
    }

    /// Notes that what was asked was surely not done.
    pub(crate) fn refused(&mut self, what: &What) {
        if let What::Set { value, .. } = what {
            self.refused.insert(value.clone());
        }
    }

    /// Somebody was told of a change.
    pub(crate) fn learn(&mut self, revision: u64, name: &str, done: Done) -> Result<(), String> {
        let key = NAMES.into_iter().find(|key| *key == name).ok_or("a key that nobody set")?;
        let fact = (key, done);
        match self.facts.get(&revision) {
            Some(known) if *known != fact => {
                Err(format!("change {revision} is {fact:?}, it was {known:?}"))
            }
            Some(_) => Ok(()),
            None => {
                self.facts.insert(revision, fact);
                Ok(())
            }
        }
    }

    /// A request was answered, while the last change was that of `ceiling`.
    pub(crate) fn answered(
        &mut self,
        what: &What,
        key: &'static str,
        seen: Seen,
        floor: u64,
        ceiling: u64,
    ) -> Result<(), String> {
        if let Seen::Made(revision) = seen
            && revision <= floor
        {
            return Err(format!("{what:?} is change {revision}, change {floor} was told before"));
        }
        self.answers.push(Answered { what: what.clone(), key, seen, floor, ceiling });
        Ok(())
    }

    /// A watch begins to tell changes from that number on; gives the number of what it tells.
    pub(crate) fn watch(&mut self, prefix: &'static str, from: u64) -> usize {
        self.told.push(Told { prefix, from, changes: BTreeSet::new() });
        self.told.len() - 1
    }

    /// A watch tells a change.
    pub(crate) fn tell(&mut self, told: usize, revision: u64) -> Result<(), String> {
        let told = self.told.get_mut(told).ok_or("a change of no watch")?;
        let after = told.changes.last().map_or(told.from, |last| last + 1);
        if revision < after {
            return Err(format!("a watch told change {revision}, {after} was the next"));
        }
        told.changes.insert(revision);
        Ok(())
    }

    /// A watch says that changes before that number are missing; gives the number of what it tells
    /// from then on.
    pub(crate) fn gap(&mut self, told: usize, resumed_at: u64) -> usize {
        let prefix = self.told.get(told).map_or("", |told| told.prefix);
        self.watch(prefix, resumed_at)
    }

    /// Holds everything against everything, once all of `1..=last` is known if `whole`.
    pub(crate) fn check(&mut self, last: u64, whole: bool) -> Result<(), String> {
        if self.last() > last {
            return Err(format!("change {} was told and is lost, {last} is the last", self.last()));
        }
        self.check_watches()?;
        self.check_values()?;
        if !whole {
            return Ok(());
        }
        if let Some(missing) = (1..=last).find(|revision| !self.facts.contains_key(revision)) {
            return Err(format!("change {missing} is in no history"));
        }
        self.check_sums()?;
        let answers = std::mem::take(&mut self.answers);
        answers.iter().try_for_each(|answer| self.check_answer(answer))?;
        self.checked += answers.len() as u64;
        Ok(())
    }

    fn check_watches(&self) -> Result<(), String> {
        for Told { prefix, from, changes } in &self.told {
            let keys = below(prefix);
            let Some(last) = changes.last() else { continue };
            for (revision, (name, _)) in self.facts.range(from..=last) {
                if keys.hold(name) != changes.contains(revision) {
                    return Err(format!("a watch of {prefix:?} and change {revision} of {name}"));
                }
            }
        }
        Ok(())
    }

    /// Every value was asked for, and is there once.
    fn check_values(&self) -> Result<(), String> {
        let mut found = BTreeSet::new();
        for (revision, (name, done)) in &self.facts {
            let Done::Put(value) = done else { continue };
            if *name == COUNT {
                continue;
            }
            let known = self.values.contains_key(value) && !self.refused.contains(value);
            if !known || !found.insert(value) {
                return Err(format!("nobody set {name} to {value} at {revision}, or it was twice"));
            }
        }
        Ok(())
    }

    /// Every addition was asked for, and was made once.
    fn check_sums(&self) -> Result<(), String> {
        let (mut sum, mut made) = (0, BTreeSet::new());
        for (revision, (name, done)) in &self.facts {
            if *name != COUNT {
                continue;
            }
            let Done::Put(value) = done else { return Err(format!("{name} is {done:?}")) };
            let next: i64 = value.parse().map_err(|_| format!("{name} is {value}"))?;
            if !self.amounts.contains(&(next - sum)) || !made.insert(next - sum) {
                return Err(format!("{name} went from {sum} to {next} at {revision}"));
            }
            sum = next;
        }
        Ok(())
    }

    /// The last change of a key up to that number; none if it is not there then.
    fn state(&self, key: &str, at: u64) -> Option<u64> {
        let of_key = |(_, (name, _)): &(&u64, &(&str, Done))| *name == key;
        let (revision, (_, done)) = self.facts.range(..=at).rev().find(of_key)?;
        matches!(done, Done::Put(_)).then_some(*revision)
    }

    fn check_answer(&self, answer: &Answered) -> Result<(), String> {
        let Answered { what, key, seen, floor, ceiling } = answer;
        let holds = match seen {
            Seen::Made(revision) => self.made(what, key, *revision),
            Seen::There(revision) => self.some(answer, |state| state == Some(*revision)),
            Seen::Absent => self.some(answer, |state| state.is_none()),
            Seen::Conflict => self.some(answer, |state| match condition(what) {
                Condition::Always => false,
                Condition::Absent => state.is_some(),
                Condition::Revision(wanted) => state != Some(wanted.0),
            }),
        };
        match holds {
            true => Ok(()),
            false => Err(format!("{what:?} was told {seen:?} between {floor} and {ceiling}")),
        }
    }

    /// Whether a key was so at some time between request and answer.
    fn some(&self, answer: &Answered, so: impl Fn(Option<u64>) -> bool) -> bool {
        (answer.floor..=answer.ceiling).any(|at| so(self.state(answer.key, at)))
    }

    /// Whether a change is what was asked, and was allowed.
    fn made(&self, what: &What, key: &str, revision: u64) -> bool {
        let before = self.state(key, revision - 1);
        let Some((name, done)) = self.facts.get(&revision) else { return false };
        let allowed = match condition(what) {
            Condition::Always => true,
            Condition::Absent => before.is_none(),
            Condition::Revision(wanted) => before == Some(wanted.0),
        };
        let is_it = match (what, done) {
            (What::Set { value, .. }, Done::Put(put)) => put == value,
            (What::Delete { .. }, Done::Deleted) => before.is_some(),
            (What::Add(amount), Done::Put(sum)) => {
                let number = |revision| match self.facts.get(&revision) {
                    Some((_, Done::Put(value))) => value.parse::<i64>().ok(),
                    _ => None,
                };
                let before = before.map_or(Some(0), number);
                before.map(|before| before + amount) == sum.parse().ok()
            }
            _ => false,
        };
        *name == key && allowed && is_it
    }
}

fn condition(what: &What) -> Condition {
    match what {
        What::Set { condition, .. } | What::Delete { condition, .. } => *condition,
        _ => Condition::Always,
    }
}
