//! Lanes of one priority whose turns are taken by group.

use std::collections::BTreeMap;

use sluice_flow::{Member, Ring};

use super::lane::{Head, Spot};

/// The lanes of a group, by their heads, each with what its head costs.
#[derive(Debug)]
struct Team {
    member: Member,
    lanes: BTreeMap<(Spot, u32), u32>,
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
            Team { member, lanes: BTreeMap::new() }
        });
        if team.lanes.insert((head.spot, lane), head.cost).is_none() {
            *lanes += 1;
        }
    }

    pub(crate) fn remove(&mut self, group: u32, lane: u32, head: Head) {
        let Some(team) = self.teams.get_mut(&group) else { return };
        if team.lanes.remove(&(head.spot, lane)).is_some() {
            self.lanes -= 1;
        }
        if team.lanes.is_empty() {
            let member = team.member;
            self.teams.remove(&group);
            self.ring.leave(member);
        }
    }

    /// The lane stands at another place of its group.
    pub(crate) fn shift(&mut self, group: u32, lane: u32, from: Head, to: Head) {
        if let Some(team) = self.teams.get_mut(&group) {
            team.lanes.remove(&(from.spot, lane));
            team.lanes.insert((to.spot, lane), to.cost);
        }
    }

    /// Whether a lane stands here so.
    pub(crate) fn holds(&self, group: u32, lane: u32, head: Head) -> bool {
        let team = self.teams.get(&group);
        team.is_some_and(|team| team.lanes.get(&(head.spot, lane)) == Some(&head.cost))
    }

    /// Whose turn it is.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        let Self { ring, teams, .. } = self;
        let cost_of = |group| {
            let team: Option<&Team> = teams.get(&group);
            team.and_then(|team| team.lanes.first_key_value()).map_or(1, |(_, cost)| *cost)
        };
        let (member, group) = ring.turn(cost_of)?;
        let ((_, lane), cost) = teams.get(&group)?.lanes.first_key_value()?;
        Some(Turn { member, lane: *lane, cost: *cost })
    }

    /// The lane whose turn it was handed over a message.
    pub(crate) fn charge(&mut self, turn: &Turn) {
        self.ring.charge(turn.member, turn.cost);
    }

    /// Any one of the lanes.
    pub(crate) fn any(&self) -> Option<u32> {
        let (_, team) = self.teams.first_key_value()?;
        team.lanes.first_key_value().map(|((_, lane), _)| *lane)
    }

    pub(crate) fn set_weight(&mut self, group: u32, weight: u32) {
        if let Some(team) = self.teams.get(&group) {
            self.ring.set_weight(team.member, weight);
        }
    }
}
