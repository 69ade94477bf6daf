//! In which order messages were handed out: strict priority, turns of groups, and one after another
//! where a queue says so.

use std::collections::{BTreeMap, BTreeSet};

use super::replay::State;
use super::rule::At;

/// So many times what a group may get while another one waits, because what a key held up is in
/// another row than what nothing did, and each row keeps the bound by itself.
const ROWS: u64 = 3;

type Group = Option<&'static str>;

/// What groups got while others waited.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The most that a group of a queue ever weighed.
    weights: BTreeMap<(usize, Group), u64>,
    /// By queue, priority and group: what every other group got since it waits.
    passed: BTreeMap<(usize, u8, Group), BTreeMap<Group, u64>>,
    /// The dearest message that was handed out.
    dearest: u64,
    /// Grants that were compared with a higher priority, another group, and one before.
    pub(super) compared: (u64, u64, u64),
}

impl Turns {
    pub(super) fn weigh(&mut self, queue: usize, group: &'static str, weight: u64) {
        let before = self.weights.entry((queue, Some(group))).or_insert(1);
        *before = (*before).max(weight);
    }

    /// A message of a group was handed out while others had something that could be.
    fn pass(
        &mut self,
        (queue, priority, group): (usize, u8, Group),
        cost: u64,
        waiting: &BTreeSet<Group>,
    ) -> Result<(), String> {
        self.dearest = self.dearest.max(cost);
        let weight = self.weights.get(&(queue, group)).copied().unwrap_or(1);
        let most = ROWS * (weight * self.dearest + self.dearest);
        self.passed.retain(|(of, its, other), _| {
            (*of, *its) != (queue, priority) || waiting.contains(other) && *other != group
        });
        for other in waiting.iter().filter(|other| **other != group) {
            self.compared.1 += 1;
            let passed = self.passed.entry((queue, priority, *other)).or_default();
            let got = passed.entry(group).or_default();
            *got += cost;
            if *got > most {
                return Err(format!("{group:?} got {got} while {other:?} waited, at most {most}"));
            }
        }
        Ok(())
    }
}

impl State<'_> {
    /// Holds the place of a message that is handed out against those of others.
    pub(super) fn compare_order(&mut self, message: usize, at: At) -> Result<(), String> {
        let sent = &self.calls.messages[message].sent;
        let is_fifo = self.calls.is_fifo[sent.queue];
        if is_fifo && sent.group.is_some() {
            return self.compare_group(message, at);
        }
        if self.calls.is_tight {
            return Ok(());
        }
        // What has become free since the broker had done all that was due may not be known to it:
        // requests are served before it looks.
        let Some(quiet) = self.calls.quiet_before(at).filter(|quiet| *quiet > self.changed) else {
            self.turns.passed.clear();
            return Ok(());
        };
        let mut waiting = BTreeSet::new();
        let ready = self.ready.iter().filter(|(_, since)| **since < quiet);
        for other in ready.map(|(other, _)| *other) {
            let its = &self.calls.messages[other].sent;
            let is_alone = is_fifo && its.group.is_some();
            if other == message || its.queue != sent.queue || is_alone {
                continue;
            }
            let was_next = its.priority >= sent.priority && self.is_surely_next(other, quiet);
            if !was_next || !self.is_surely_next(other, at) {
                continue;
            }
            if its.priority > sent.priority {
                return Err(format!("{sent:?} ({message}) came at {at} before {its:?} ({other})"));
            }
            waiting.insert(its.group);
        }
        self.turns.compared.0 += 1;
        if !self.calls.is_fair[sent.queue] || is_fifo {
            return Ok(());
        }
        let of = (sent.queue, sent.priority, sent.group);
        let passed = self.turns.pass(of, sent.cost.into(), &waiting);
        passed.map_err(|wrong| format!("{sent:?} came at {at}: {wrong}"))
    }

    /// A message of a group whose messages follow each other.
    fn compare_group(&mut self, message: usize, at: At) -> Result<(), String> {
        let calls = self.calls;
        let this = &calls.messages[message];
        let of_group = |other: usize| {
            let its = &calls.messages[other].sent;
            other != message && (its.queue, its.group) == (this.sent.queue, this.sent.group)
        };
        let held = self.leases.iter().map(|lease| &calls.leases[*lease]);
        if let Some(held) = held.clone().find(|it| of_group(it.message) && it.is_held(at)) {
            return Err(format!("{:?} came at {at} beside {held:?}", this.sent));
        }
        for (other, its) in calls.messages.iter().enumerate() {
            let is_before = its.confirmed.is_some_and(|confirmed| confirmed < this.asked)
                && its.sent.delay == 0
                && this.sent.delay == 0;
            if !of_group(other) || !is_before {
                continue;
            }
            self.turns.compared.2 += 1;
            if its.acking.is_none_or(|acking| acking > at) {
                return Err(format!("{:?} came at {at} before {:?}", this.sent, its.sent));
            }
        }
        Ok(())
    }
}
