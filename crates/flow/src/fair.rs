//! Whose turn it is among groups: deficit round robin.
//!
//! ```text
//! join --> ring: turn after turn --> may lease up to its deficit --> charge --> leave
//! ```
//!
//! After Shreedhar and Varghese, "Efficient Fair Queueing using Deficit Round Robin", 1995. A member
//! whose turn comes is given quantum times weight, and leases while its deficit covers the cost; what
//! is left stays for its next turn. The quantum is the largest cost that the ring has seen since it was
//! empty, so a turn always leads to a lease and each decision takes the same time however many there
//! are. While every message costs 1, members of weight 1 simply alternate.
//!
//! A member that has been in the ring sees no other one leased more than that one's weight times the
//! quantum, plus the largest cost, before its own turn comes. A member that leaves keeps no deficit.

const NONE: u32 = u32::MAX;

/// A member's number in its [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u32);

#[derive(Clone, Copy, Debug)]
struct Seat {
    /// What the caller calls it.
    group: u32,
    weight: u32,
    deficit: u64,
    before: u32,
    /// The next in the ring, or of the free seats.
    next: u32,
}

/// The groups of one priority that have something to lease.
#[derive(Debug)]
pub struct Ring {
    seats: Vec<Seat>,
    free: u32,
    /// Whose turn it is.
    current: u32,
    /// It has been given what its turn brings.
    begun: bool,
    quantum: u32,
    len: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { seats: Vec::new(), free: NONE, current: NONE, begun: false, quantum: 1, len: 0 }
    }
}

impl Ring {
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a turn brings to a member of weight 1.
    pub fn quantum(&self) -> u32 {
        self.quantum
    }

    /// Puts a group behind all others. A `weight` of 0 counts as 1; `cost` is that of its first
    /// message.
    pub fn join(&mut self, group: u32, weight: u32, cost: u32) -> Member {
        self.quantum = self.quantum.max(cost);
        let (before, next) = match self.current {
            NONE => (NONE, NONE),
            current => (self.seats[current as usize].before, current),
        };
        let seat = Seat { group, weight: weight.max(1), deficit: 0, before, next };
        let at = self.sit(seat);
        if self.current == NONE {
            let alone = &mut self.seats[at as usize];
            (alone.before, alone.next) = (at, at);
            (self.current, self.begun) = (at, false);
        } else {
            self.seats[before as usize].next = at;
            self.seats[next as usize].before = at;
        }
        self.len += 1;
        Member(at)
    }

    /// Takes a member out: it has nothing more to lease, or all of it is refused.
    pub fn leave(&mut self, Member(at): Member) {
        let Seat { before, next, .. } = self.seats[at as usize];
        self.seats[before as usize].next = next;
        self.seats[next as usize].before = before;
        if self.current == at {
            self.current = if next == at { NONE } else { next };
            self.begun = false;
        }
        self.seats[at as usize].next = std::mem::replace(&mut self.free, at);
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// Whose turn it is; `cost` says what the first message of a group costs. Asks once or twice.
    pub fn turn(&mut self, mut cost: impl FnMut(u32) -> u32) -> Option<(Member, u32)> {
        while self.current != NONE {
            let seat = &mut self.seats[self.current as usize];
            let wanted = cost(seat.group);
            self.quantum = self.quantum.max(wanted);
            if !self.begun {
                self.begun = true;
                seat.deficit += u64::from(self.quantum) * u64::from(seat.weight);
            }
            if seat.deficit >= u64::from(wanted) {
                return Some((Member(self.current), seat.group));
            }
            self.current = seat.next;
            self.begun = false;
        }
        None
    }

    /// The member whose turn it is leased a message of that cost.
    pub fn charge(&mut self, Member(at): Member, cost: u32) {
        let seat = &mut self.seats[at as usize];
        seat.deficit = seat.deficit.saturating_sub(u64::from(cost));
    }

    /// Changes what a turn brings to a member, from its next turn on.
    pub fn set_weight(&mut self, Member(at): Member, weight: u32) {
        self.seats[at as usize].weight = weight.max(1);
    }

    fn sit(&mut self, seat: Seat) -> u32 {
        if self.free == NONE {
            self.seats.push(seat);
            return (self.seats.len() - 1) as u32;
        }
        let at = self.free;
        self.free = std::mem::replace(&mut self.seats[at as usize], seat).next;
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// A group with its messages, and what others were leased since it has been waiting in the ring.
    #[derive(Default)]
    struct Group {
        member: Option<Member>,
        costs: VecDeque<u32>,
        others: BTreeMap<u32, u64>,
    }

    fn lease(ring: &mut Ring, groups: &mut [Group], weights: &[u32]) -> Option<u32> {
        let (member, group) = ring.turn(|group| groups[group as usize].costs[0])?;
        let cost = groups[group as usize].costs.pop_front().unwrap();
        ring.charge(member, cost);
        if groups[group as usize].costs.is_empty() {
            ring.leave(member);
            groups[group as usize].member = None;
        }
        groups[group as usize].others.clear();
        for (number, other) in groups.iter_mut().enumerate() {
            if other.member.is_some() && number != group as usize {
                let leased = other.others.entry(group).or_default();
                *leased += u64::from(cost);
                // The bound of the specification, with the largest quantum and cost of the test.
                let most = u64::from(weights[group as usize]) * 7 + 7;
                assert!(*leased <= most, "{leased} leased to {group} before {number} has its turn");
            }
        }
        Some(group)
    }

    proptest! {
        #[test]
        fn nobody_is_leased_more_than_a_quantum_and_a_cost_before_another_one(
            weights in prop::collection::vec(1u32..4, 6),
            steps in prop::collection::vec((0u32..6, 1u32..8, 0u8..4), 1..400),
        ) {
            let (mut ring, mut left) = (Ring::default(), 0usize);
            let mut groups: Vec<Group> = (0..6).map(|_| Group::default()).collect();
            for (group, cost, step) in steps {
                let number = group as usize;
                match step {
                    0..2 => {
                        groups[number].costs.push_back(cost);
                        if groups[number].member.is_none() {
                            groups[number].member = Some(ring.join(group, weights[number], cost));
                        }
                        left += 1;
                    }
                    2 => left -= usize::from(lease(&mut ring, &mut groups, &weights).is_some()),
                    // All lanes of the group are parked; it comes back with the next message.
                    _ => if let Some(member) = groups[number].member.take() {
                        ring.leave(member);
                        groups[number].others.clear();
                        left -= groups[number].costs.drain(..).count();
                    },
                }
                prop_assert_eq!(ring.len(), groups.iter().filter(|group| group.member.is_some()).count());
            }
            while lease(&mut ring, &mut groups, &weights).is_some() {
                left -= 1;
            }
            prop_assert!(left == 0 && ring.is_empty() && ring.seats.is_empty());
        }
    }

    fn order(costs: &[(u32, u32)], count: usize) -> Vec<u32> {
        let mut ring = Ring::default();
        for (group, (weight, cost)) in costs.iter().enumerate() {
            ring.join(group as u32, *weight, *cost);
        }
        let next = |_| {
            let (member, group) = ring.turn(|group| costs[group as usize].1).unwrap();
            ring.charge(member, costs[group as usize].1);
            group
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn equal_groups_alternate_weights_and_costs_count() {
        assert_eq!(order(&[(1, 1), (1, 1), (1, 1)], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(order(&[(2, 1), (1, 1)], 6), [0, 0, 1, 0, 0, 1]);
        assert_eq!(order(&[(1, 3), (1, 1)], 8), [0, 1, 1, 1, 0, 1, 1, 1]);
    }

    #[test]
    fn a_decision_asks_no_group_more_than_once_however_dear_its_messages_are() {
        let mut ring = Ring::default();
        for group in 0..1_000 {
            ring.join(group, 1, if group == 0 { 1_000 } else { 1 });
        }
        let (mut asked, mut leases) = (0, 0);
        for _ in 0..100_000 {
            let cost = |group| if group == 0 { 1_000 } else { 1 };
            let turn = ring.turn(|group| {
                asked += 1;
                cost(group)
            });
            let (member, group) = turn.unwrap();
            ring.charge(member, cost(group));
            leases += 1;
        }
        assert!(asked <= 2 * leases, "{asked} for {leases}");
    }
}
