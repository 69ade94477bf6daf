//! The lanes of a queue: whose turn it is, and who waits for what.
//!
//! ```text
//! message --> lane --> main row of its priority --turn--> judged --> handed over
//!                        ^                            |
//!                        '--- line of a key <-refused-'     (a line waits as one)
//! ```
//!
//! Lanes of a priority that a key holds up stand in one *line*, which waits for that key as one and is
//! woken as one: what a wake, or a receive that finds nothing, costs does not depend on how many
//! lanes there are. Inside the main row, and inside a line, groups take turns. Where several rows
//! of a priority have something, which is rare, the rows alternate.
//!
//! This is bookkeeping alone. Who may go is asked by `limits/choose.rs`.

mod heads;
mod lane;
mod line;
mod messages;
mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::{HashMap, HashTable};
use slab::Slab;
use sluice_flow::{Handle, Owner, Reason, Refused};
use sluice_model::{Lane as Order, PRIORITY_MAX};

use self::lane::Named;
pub(crate) use self::lane::{Entry, Head, Lane, Seat, Spot};
pub(crate) use self::line::Line;
pub(crate) use self::row::{Row, Turn};
use crate::limits::Asking;
use crate::random::SeededMap;

/// No lane: a message without group and keys, of which the queue itself keeps the order.
pub(crate) const NO_LANE: u32 = u32::MAX;
/// Lanes without messages that are kept, for their next ones.
const IDLE_MAX: usize = 256;
/// Lanes that a look for the oldest message passes at most.
const LOOK_MAX: usize = 4_096;
/// Lines up to this long are dissolved when nobody receives.
const SHORT: usize = 8;

/// The lanes of one priority.
#[derive(Debug, Default)]
struct Tier {
    main: Row,
    /// Lines that may have something to hand over.
    awake: VecDeque<u32>,
    /// The main row has had its turn.
    main_is_done: bool,
}

/// The next message of a queue, before it is asked whether it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) lane: u32,
    pub(crate) seq: u64,
    pub(crate) priority: u8,
    pub(crate) cost: u32,
    /// The line that it stands in.
    pub(crate) line: Option<u32>,
    turn: Turn,
}

/// The lanes of one queue.
#[derive(Debug)]
pub(crate) struct Lanes {
    all: Slab<Lane>,
    /// By what makes them.
    by_name: HashTable<u32>,
    hasher: SeedableRandomState,
    /// Numbers of groups that have lanes, and how many.
    groups: SeededMap<Box<str>, (u32, u32)>,
    last_group: u32,
    tiers: [Tier; PRIORITY_MAX as usize + 1],
    lines: Slab<Line>,
    /// Lines that wait, by priority and the key that they wait for.
    by_key: BTreeMap<(u8, Handle), u32>,
    /// When what they wait for may be there.
    eligible: BTreeSet<(u64, u32)>,
    /// A bit for each priority that may have something to hand over, and for each of which plain
    /// messages are known.
    busy: u16,
    plain_known: u16,
    /// Lanes by priority of the messages that have neither group nor keys.
    plain: [u32; PRIORITY_MAX as usize + 1],
    /// What messages without keys ask.
    pub(crate) asked: Vec<Asking>,
    /// Messages of other lanes than plain ones that are held.
    pub(crate) held: u64,
    /// Messages of such lanes that are ready and visible.
    pub(crate) ready: u64,
    /// Lines whose head, or whether they have one, has changed.
    pub(crate) chores: Vec<u32>,
    idle: VecDeque<u32>,
    /// A look for the next message has not come to its end.
    pub(crate) is_unfinished: bool,
    /// Groups take turns.
    pub(crate) is_fair: bool,
}

impl Lanes {
    pub(crate) fn new(seed: u64, is_fair: bool) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self {
            all: Slab::new(),
            by_name: HashTable::new(),
            groups: HashMap::with_hasher(hasher.clone()),
            hasher,
            last_group: 0,
            tiers: Default::default(),
            lines: Slab::new(),
            by_key: BTreeMap::new(),
            eligible: BTreeSet::new(),
            busy: 0,
            plain_known: 0,
            plain: [NO_LANE; PRIORITY_MAX as usize + 1],
            asked: Vec::new(),
            held: 0,
            ready: 0,
            chores: Vec::new(),
            idle: VecDeque::new(),
            is_unfinished: false,
            is_fair,
        }
    }

    /// Whether the order of the queue itself says what is next.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.ready == 0 && self.asked.is_empty()
    }

    pub(crate) fn get(&self, lane: u32) -> Option<&Lane> {
        self.all.get(lane as usize)
    }

    pub(crate) fn get_mut(&mut self, lane: u32) -> Option<&mut Lane> {
        self.all.get_mut(lane as usize)
    }

    /// What a lane asks, its order and limits, and a line.
    pub(crate) fn parts(
        &mut self,
        lane: u32,
        line: Option<u32>,
    ) -> Option<(&mut Vec<Asking>, &Order, Option<&mut Line>)> {
        let Self { all, lines, asked, .. } = self;
        let it = all.get_mut(lane as usize)?;
        let asked = if it.is_plain { asked } else { &mut it.asked };
        let line = line.and_then(|line| lines.get_mut(line as usize));
        Some((asked, &it.order, line))
    }

    /// The key by which a lane was refused; none if there was no room for its keys.
    pub(crate) fn key_at<'a>(
        &'a self,
        lane: u32,
        refused: Refused,
        queue: &'a str,
    ) -> Option<(Owner, &'a str)> {
        if matches!(refused.reason, Reason::KeyCap { .. }) {
            return None;
        }
        let asking = self.asked_at(lane, refused.at)?;
        let ask = asking.ask(queue, &self.get(lane)?.order.keys);
        Some((ask.owner, ask.text))
    }

    /// One of the keys that a lane asks.
    pub(crate) fn asked_at(&self, lane: u32, at: usize) -> Option<Asking> {
        let it = self.get(lane)?;
        let asked = if it.is_plain { &self.asked } else { &it.asked };
        asked.get(at).copied()
    }

    /// Every lane that is there at or behind a number.
    pub(crate) fn next_from(&self, from: u32) -> Option<u32> {
        (from..self.all.capacity() as u32).find(|lane| self.all.contains(*lane as usize))
    }

    /// One more message belongs to the lane of those that are ordered so, which is made if it is not
    /// there. The lane keeps its number while any does.
    pub(crate) fn join(&mut self, order: &Arc<Order>, is_fifo: bool) -> u32 {
        let name = Named { order: Arc::clone(order), is_fifo };
        let hash = self.hasher.hash_one(&name);
        let is_it = |lane: &u32| self.all.get(*lane as usize).is_some_and(|it| it.name == name);
        let lane = self.by_name.find(hash, is_it).copied().unwrap_or_else(|| {
            let group = self.join_group(order.group.as_deref());
            let lane = self.all.insert(Lane::new(name, hash, group, false)) as u32;
            let Self { by_name, all, .. } = self;
            by_name.insert_unique(hash, lane, |lane| all[*lane as usize].hash);
            lane
        });
        self.all[lane as usize].members += 1;
        lane
    }

    /// A message belongs to its lane no longer. Lanes without any are kept for a while, and the longest
    /// idle one goes.
    pub(crate) fn part(&mut self, lane: u32) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        it.members -= 1;
        if it.members == 0 && !std::mem::replace(&mut it.is_idle, true) {
            self.idle.push_back(lane);
        }
        while self.idle.len() > IDLE_MAX
            && let Some(lane) = self.idle.pop_front()
        {
            let Some(it) = self.all.get_mut(lane as usize) else { continue };
            it.is_idle = false;
            if it.members == 0 {
                let it = self.all.remove(lane as usize);
                if let Ok(found) = self.by_name.find_entry(it.hash, |number| *number == lane) {
                    found.remove();
                }
                self.leave_group(it.name.order.group.as_deref());
            }
        }
    }

    fn join_group(&mut self, group: Option<&str>) -> u32 {
        let Some(group) = group.filter(|_| self.is_fair) else { return 0 };
        if let Some((number, lanes)) = self.groups.get_mut(group) {
            *lanes += 1;
            return *number;
        }
        // Wraps after four billion groups, of which those of that time are gone.
        self.last_group = self.last_group.wrapping_add(1).max(1);
        self.groups.insert(group.into(), (self.last_group, 1));
        self.last_group
    }

    fn leave_group(&mut self, group: Option<&str>) {
        let Some(group) = group.filter(|_| self.is_fair) else { return };
        if let Some((_, lanes)) = self.groups.get_mut(group) {
            *lanes -= 1;
            if *lanes == 0 {
                self.groups.remove(group);
            }
        }
    }

    /// The order and limits that messages of the lane share, if they are these.
    pub(crate) fn shared(&self, lane: u32, order: &Order) -> Option<Arc<Order>> {
        let name = &self.get(lane)?.name.order;
        (**name == *order).then(|| Arc::clone(name))
    }

    /// A message is in its lane.
    pub(crate) fn enter(&mut self, lane: u32, spot: Spot, entry: Entry, weight: u32) {
        if let Some(it) = self.all.get_mut(lane as usize) {
            let was_ready = it.messages.insert(spot, entry, it.name.is_fifo);
            self.ready += u64::from(entry.is_ready);
            self.ready -= u64::from(was_ready);
            self.refresh(lane, weight);
        }
    }

    /// A message is not in its lane any more.
    pub(crate) fn remove(&mut self, lane: u32, spot: Spot, weight: u32) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        let Some(was_ready) = it.messages.remove(&spot) else { return };
        self.ready -= u64::from(was_ready);
        self.refresh(lane, weight);
    }

    /// A message of the lane is held, or no longer.
    pub(crate) fn hold(&mut self, lane: u32, is_held: bool, weight: u32) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        match is_held {
            true => (it.held, self.held) = (it.held + 1, self.held + 1),
            false => (it.held, self.held) = (it.held - 1, self.held - 1),
        }
        if it.is_fifo() {
            // The next one may go, or may not any more.
            self.refresh(lane, weight);
        }
    }

    /// Takes the candidate out of its lane, because it is handed over.
    pub(crate) fn take(&mut self, candidate: &Candidate, weight: u32) {
        let row = match candidate.line {
            None => Some(&mut self.tiers[usize::from(candidate.priority)].main),
            Some(line) => self.lines.get_mut(line as usize).map(|line| &mut line.row),
        };
        if let Some(row) = row {
            row.charge(&candidate.turn);
        }
        let Some(it) = self.all.get_mut(candidate.lane as usize) else { return };
        let Some(head) = it.head.filter(|_| !it.is_plain) else { return };
        if it.is_fifo() {
            // It holds up the others until it is settled.
            if let Some(entry) = it.messages.placed_mut(&head.spot) {
                self.ready -= u64::from(std::mem::replace(&mut entry.is_ready, false));
            }
        } else if it.messages.remove(&head.spot) == Some(true) {
            self.ready -= 1;
        }
        self.refresh(candidate.lane, weight);
    }

    /// Puts a lane where it belongs by its first message.
    fn refresh(&mut self, lane: u32, weight: u32) {
        let Some(it) = self.all.get(lane as usize) else { return };
        if !it.is_plain {
            self.place(lane, it.first(), weight);
        }
    }

    /// Puts a lane where it belongs, now that this is its head.
    fn place(&mut self, lane: u32, head: Option<Head>, weight: u32) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        let before = std::mem::replace(&mut it.head, head);
        if before == head {
            return;
        }
        let (group, seat) = (it.group, it.seat);
        let keeps_seat = before.zip(head).is_some_and(|(before, head)| {
            let another = it.is_fifo() && before.spot != head.spot;
            before.priority == head.priority && !another
        });
        if keeps_seat {
            let (Some(from), Some(to)) = (before, head) else { return };
            match seat {
                Seat::Main => {
                    self.tiers[usize::from(to.priority)].main.shift(group, lane, from, to);
                }
                Seat::Line(line) => {
                    if let Some(line) = self.lines.get_mut(line as usize) {
                        line.row.shift(group, lane, from, to);
                    }
                    self.chores.push(line);
                }
                Seat::Out => {}
            }
            return;
        }
        if let Some(from) = before {
            self.unseat(lane, from);
        }
        if let Some(to) = head {
            self.seat(lane, Seat::Main, to, weight);
        }
    }

    /// Takes a lane from its seat.
    fn unseat(&mut self, lane: u32, head: Head) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        let group = it.group;
        match std::mem::replace(&mut it.seat, Seat::Out) {
            Seat::Out => {}
            Seat::Main => self.tiers[usize::from(head.priority)].main.remove(group, head),
            Seat::Line(line) => {
                if let Some(line) = self.lines.get_mut(line as usize) {
                    line.row.remove(group, head);
                }
                self.chores.push(line);
            }
        }
    }

    fn seat(&mut self, lane: u32, seat: Seat, head: Head, weight: u32) {
        let Some(it) = self.all.get_mut(lane as usize) else { return };
        it.seat = seat;
        let row = match seat {
            Seat::Out => return,
            Seat::Main => {
                self.busy |= 1 << head.priority;
                Some(&mut self.tiers[usize::from(head.priority)].main)
            }
            Seat::Line(line) => self.lines.get_mut(line as usize).map(|line| &mut line.row),
        };
        if let Some(row) = row {
            row.insert(it.group, weight, lane, head);
        }
    }

    /// A bit for each priority that is to be looked at for the next message.
    pub(crate) fn priorities(&self) -> u16 {
        self.busy | self.plain_known
    }

    /// The messages without group and keys of a priority are these: the first of them, if any.
    pub(crate) fn set_plain(&mut self, priority: u8, first: Option<Head>) {
        let at = usize::from(priority);
        self.plain_known &= !(1 << at);
        self.plain_known |= u16::from(first.is_some()) << at;
        if self.plain[at] == NO_LANE {
            if first.is_none() {
                return;
            }
            let order = Arc::new(Order { priority, ..Order::default() });
            let name = Named { order, is_fifo: false };
            self.plain[at] = self.all.insert(Lane::new(name, 0, 0, true)) as u32;
        }
        self.place(self.plain[at], first, 1);
    }

    /// The lane of messages without group and keys of a priority that is in a line.
    pub(crate) fn plain_line(&self, priority: u8) -> Option<u32> {
        match self.get(*self.plain.get(usize::from(priority))?)?.seat {
            Seat::Line(line) => Some(line),
            _ => None,
        }
    }

    /// The next message of a priority.
    pub(crate) fn propose(&mut self, priority: u8) -> Option<Candidate> {
        let tier = self.tiers.get_mut(usize::from(priority))?;
        if tier.main.is_empty() && tier.awake.is_empty() {
            self.busy &= !(1 << priority);
            return None;
        }
        let from_main = !tier.main.is_empty() && (tier.awake.is_empty() || !tier.main_is_done);
        let (turn, line) = if from_main {
            (tier.main.turn()?, None)
        } else {
            // Those of which nothing is left are closed at the end of the turn.
            while let Some(line) = tier.awake.front()
                && self.lines.get(*line as usize).is_none_or(|line| line.row.is_empty())
            {
                tier.awake.pop_front();
            }
            match tier.awake.front().copied() {
                Some(line) => (self.lines.get_mut(line as usize)?.row.turn()?, Some(line)),
                None => (tier.main.turn()?, None),
            }
        };
        let head = self.get(turn.lane)?.head?;
        let (seq, cost) = (head.spot.seq, head.cost);
        Some(Candidate { lane: turn.lane, seq, priority, cost, line, turn })
    }

    /// The highest priority of which lanes have something that is not known to be held up.
    pub(crate) fn highest(&self) -> Option<u8> {
        let has_some = |tier: &Tier| !tier.main.is_empty() || !tier.awake.is_empty();
        // There are ten.
        self.tiers.iter().rposition(has_some).map(|priority| priority as u8)
    }

    /// The first message that is ready of lanes with such an order and such limits.
    pub(crate) fn first_of(&self, is_meant: impl Fn(&Order) -> bool) -> Option<u64> {
        let meant = self.all.iter().filter(|(_, lane)| is_meant(&lane.name.order));
        let firsts =
            meant.filter_map(|(_, lane)| lane.messages.first_ready(lane.name.order.priority));
        firsts.map(|spot| spot.seq).min()
    }

    /// The oldest message of those that are ready; of many lanes, of some of them.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let heads = self.all.iter().take(LOOK_MAX).filter_map(|(_, lane)| lane.head);
        heads.map(|head| head.spot.seq).min()
    }

    /// The row of the candidate has had its turn.
    pub(crate) fn pass_on(&mut self, candidate: &Candidate) {
        let tier = &mut self.tiers[usize::from(candidate.priority)];
        match candidate.line {
            None => tier.main_is_done = true,
            Some(line) => {
                tier.main_is_done = false;
                if tier.awake.front() == Some(&line) {
                    tier.awake.rotate_left(1);
                }
            }
        }
    }

    /// A group has another weight.
    pub(crate) fn set_weight(&mut self, group: &str, weight: u32) {
        let Some((number, _)) = self.groups.get(group).copied() else { return };
        for tier in &mut self.tiers {
            tier.main.set_weight(number, weight);
        }
        for (_, line) in &mut self.lines {
            line.row.set_weight(number, weight);
        }
    }

    /// Every lane gets the group that it has now that groups take turns, or don't.
    pub(crate) fn regroup(&mut self, is_fair: bool, weight: impl Fn(&str) -> u32) {
        let all = self.all.iter();
        let lanes: Vec<_> = all.map(|(no, it)| (no as u32, it.seat, it.head)).collect();
        for (lane, _, head) in &lanes {
            head.iter().for_each(|head| self.unseat(*lane, *head));
        }
        self.groups.clear();
        self.is_fair = is_fair;
        for (lane, seat, head) in lanes {
            let Some(name) = self.get(lane).map(|it| it.name.clone()) else { continue };
            let group = name.order.group.as_deref();
            let number = self.join_group(group);
            if let Some(it) = self.get_mut(lane) {
                it.group = number;
            }
            if let Some(head) = head {
                self.seat(lane, seat, head, group.map_or(1, &weight));
            }
        }
    }

    /// So many messages belong to each lane; to those that are not listed, none.
    pub(crate) fn check_members(&self, members: &BTreeMap<u32, u32>) {
        for (number, lane) in &self.all {
            let expected = members.get(&(number as u32)).copied().unwrap_or(0);
            assert_eq!(lane.members, expected, "members of a lane");
        }
        let there = |lane: &u32| self.all.contains(*lane as usize);
        assert!(members.keys().all(there), "a lane with members is there");
    }

    /// What must hold between any two calls.
    pub(crate) fn check(&self) {
        let (mut ready, mut held) = (0, 0);
        for (number, lane) in &self.all {
            let row = match lane.seat {
                Seat::Out => None,
                Seat::Main => lane.head.map(|head| &self.tiers[usize::from(head.priority)].main),
                Seat::Line(line) => self.lines.get(line as usize).map(|line| &line.row),
            };
            let stands = |row: &Row| {
                lane.head.is_some_and(|head| row.holds(lane.group, number as u32, head))
            };
            assert_eq!(row.is_some_and(stands), lane.head.is_some(), "a lane at its seat");
            ready += lane.messages.count_ready() as u64;
            held += u64::from(lane.held);
            assert!(lane.messages.len() <= lane.members as usize, "members of a lane");
            assert_eq!(lane.head.is_some(), lane.seat != Seat::Out, "seat of a lane");
            assert!(lane.is_plain || lane.head == lane.first(), "head of a lane");
        }
        assert_eq!((ready, held), (self.ready, self.held), "messages in lanes");
        let plain = self.plain.iter().filter(|lane| **lane != NO_LANE).count();
        assert_eq!(self.by_name.len() + plain, self.all.len(), "lanes that are found by name");
        let seated: usize = self.tiers.iter().map(|tier| tier.main.len()).sum();
        let lined: usize = self.lines.iter().map(|(_, line)| line.row.len()).sum();
        let heads = self.all.iter().filter(|(_, lane)| lane.head.is_some()).count();
        assert_eq!(seated + lined, heads, "lanes in rows");
    }
}
