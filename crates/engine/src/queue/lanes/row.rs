//! Lanes of one priority whose turns are taken by group.

use std::collections::BTreeMap;

use sluice_flow::{Member, Ring};

use super::heads::{Heads, Lane};
use super::lane::{Head, Spot};

/// The lanes of a group, by their heads.
#[derive(Debug)]
struct Team {
    member: Member,
    /// Those whose heads' seqs are their places, which are nearly all.
    fresh: Heads,
    placed: BTreeMap<Spot, Lane>,
}

impl Team {
    fn insert(&mut self, lane: u32, head: Head) {
        let lane = (lane, head.cost);
        match head.spot.is_fresh() {
            true => self.fresh.insert(head.spot.seq, lane),
            false => drop(self.placed.insert(head.spot, lane)),
        }
    }

    fn remove(&mut self, head: Head) {
        match head.spot.is_fresh() {
            true => self.fresh.remove(head.spot.seq),
            false => drop(self.placed.remove(&head.spot)),
        }
    }

    fn shift(&mut self, lane: u32, from: Head, to: Head) {
        if from.spot.is_fresh() && to.spot.is_fresh() {
            self.fresh.shift(from.spot.seq, to.spot.seq, (lane, to.cost));
        } else {
            self.remove(from);
            self.insert(lane, to);
        }
    }

    fn holds(&self, lane: u32, head: Head) -> bool {
        let lane = (lane, head.cost);
        match head.spot.is_fresh() {
            true => self.fresh.holds(head.spot.seq, lane),
            false => self.placed.get(&head.spot) == Some(&lane),
        }
    }

    fn first(&self) -> Option<Lane> {
        let fresh = self.fresh.first();
        if self.placed.is_empty() {
            return fresh.map(|(_, lane)| lane);
        }
        let placed = self.placed.first_key_value();
        match (fresh, placed) {
            (Some((seq, lane)), Some((spot, _))) if Spot::fresh(seq) < *spot => Some(lane),
            (_, placed) => placed.map(|(_, lane)| *lane),
        }
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.placed.is_empty()
    }
}

/// Groups that take turns, each with its lanes.
#[derive(Debug, Default)]
pub(crate) struct Row {
    ring: Ring,
    teams: BTreeMap<u32, Team>,
    lanes: usize,
}

/// A lane whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) member: Member,
    pub(crate) lane: u32,
    pub(crate) cost: u32,
}

impl Row {
    /// How many lanes there are.
    pub(crate) fn len(&self) -> usize {
        self.lanes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes == 0
    }

    pub(crate) fn insert(&mut self, group: u32, weight: u32, lane: u32, head: Head) {
        let Self { ring, teams, lanes } = self;
        let team = teams.entry(group).or_insert_with(|| {
            let member = ring.join(group, weight, head.cost);
            Team { member, fresh: Heads::default(), placed: BTreeMap::new() }
        });
        team.insert(lane, head);
        *lanes += 1;
    }

    pub(crate) fn remove(&mut self, group: u32, head: Head) {
        let Some(team) = self.teams.get_mut(&group) else { return };
        team.remove(head);
        self.lanes -= 1;
        if team.is_empty() {
            let member = team.member;
            self.teams.remove(&group);
            self.ring.leave(member);
        }
    }

    /// The lane stands at another place of its group.
    pub(crate) fn shift(&mut self, group: u32, lane: u32, from: Head, to: Head) {
        if let Some(team) = self.teams.get_mut(&group) {
            team.shift(lane, from, to);
        }
    }

    /// Whether a lane stands here so.
    pub(crate) fn holds(&self, group: u32, lane: u32, head: Head) -> bool {
        let team = self.teams.get(&group);
        team.is_some_and(|team| team.holds(lane, head))
    }

    /// Whose turn it is.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        let Self { ring, teams, .. } = self;
        let mut first = None;
        let (member, _) = ring.turn(|group| {
            first = teams.get(&group).and_then(Team::first);
            first.map_or(1, |(_, cost)| cost)
        })?;
        // The last one that was asked is the one.
        let (lane, cost) = first?;
        Some(Turn { member, lane, cost })
    }

    /// The lane whose turn it was handed over a message.
    pub(crate) fn charge(&mut self, turn: &Turn) {
        self.ring.charge(turn.member, turn.cost);
    }

    /// Any one of the lanes.
    pub(crate) fn any(&self) -> Option<u32> {
        let (_, team) = self.teams.first_key_value()?;
        team.first().map(|(lane, _)| lane)
    }

    pub(crate) fn set_weight(&mut self, group: u32, weight: u32) {
        if let Some(team) = self.teams.get(&group) {
            self.ring.set_weight(team.member, weight);
        }
    }
}
