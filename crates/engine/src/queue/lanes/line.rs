//! Lines: lanes of one priority that wait for one key together.
//!
//! ```text
//! opened --refused--> waits --woken--> awake --refused--> waits
//!                                        |  '--nobody receives--> awake, or dissolved if short
//!                                        '--nothing left--> closed
//! ```

use sluice_flow::{Handle, Owner, Waiter};

use super::lane::Seat;
use super::{Lanes, SHORT};
use crate::queue::lanes::row::Row;

/// Lanes that wait for a key.
#[derive(Debug)]
pub(crate) struct Line {
    /// As limits know it; its lane is the number of this line among all queues.
    pub(crate) waiter: Waiter,
    pub(crate) priority: u8,
    pub(super) row: Row,
    /// The key that it waits for, or waited for last; none for room for keys.
    key: Option<(Owner, Box<str>)>,
    /// Where that key is, while it waits: then no other key can be there.
    handle: Handle,
    /// What its first message cost when it was refused.
    cost: u32,
    eligible: Option<u64>,
    pub(crate) is_awake: bool,
}

impl Line {
    /// Whether that is what it waits for, or waited for last.
    pub(crate) fn is_for(&self, key: Option<(Owner, &str)>) -> bool {
        self.key.as_ref().map(|(owner, text)| (*owner, &**text)) == key
    }
}

impl Lanes {
    /// Opens a line that waits for nothing yet.
    pub(crate) fn open_line(&mut self, waiter: Waiter, priority: u8) -> u32 {
        let line = Line {
            waiter,
            priority,
            row: Row::default(),
            key: None,
            handle: Handle::default(),
            cost: 0,
            eligible: None,
            is_awake: false,
        };
        self.lines.insert(line) as u32
    }

    pub(crate) fn line_mut(&mut self, line: u32) -> Option<&mut Line> {
        self.lines.get_mut(line as usize)
    }

    pub(crate) fn line(&self, line: u32) -> Option<&Line> {
        self.lines.get(line as usize)
    }

    /// Every line.
    pub(crate) fn line_numbers(&self) -> Vec<u32> {
        self.lines.iter().map(|(line, _)| line as u32).collect()
    }

    /// The line that waits for a key.
    pub(crate) fn line_at(&self, priority: u8, handle: Handle) -> Option<u32> {
        self.by_key.get(&(priority, handle)).copied()
    }

    /// A lane that was refused stands in a line from now on.
    pub(crate) fn line_up(&mut self, lane: u32, line: u32, weight: u32) {
        if let Some(head) = self.get(lane).and_then(|lane| lane.head) {
            self.unseat(lane, head);
            self.seat(lane, Seat::Line(line), head, weight);
        }
    }

    /// The line waits for a key, which its first message, of that cost, was refused by.
    pub(crate) fn park_line(
        &mut self,
        number: u32,
        key: Option<(Owner, &str)>,
        handle: Handle,
        (cost, eligible): (u32, Option<u64>),
    ) {
        self.forget_line(number);
        let Some(line) = self.lines.get_mut(number as usize) else { return };
        if !line.is_for(key) {
            line.key = key.map(|(owner, text)| (owner, text.into()));
        }
        (line.handle, line.cost) = (handle, cost);
        line.is_awake = false;
        self.by_key.entry((line.priority, handle)).or_insert(number);
        self.set_eligible(number, eligible);
    }

    /// The line may have something to hand over.
    pub(crate) fn wake_line(&mut self, number: u32) {
        let Some(line) = self.lines.get(number as usize).filter(|line| !line.is_awake) else {
            return;
        };
        let priority = usize::from(line.priority);
        self.forget_line(number);
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.is_awake = true;
            self.busy |= 1 << priority;
            self.tiers[priority].awake.push_back(number);
        }
    }

    /// Takes a line from where lines are found.
    fn forget_line(&mut self, number: u32) {
        self.set_eligible(number, None);
        let Some(line) = self.lines.get_mut(number as usize) else { return };
        let place = (line.priority, line.handle);
        if self.by_key.get(&place) == Some(&number) {
            self.by_key.remove(&place);
        }
        let awake = &mut self.tiers[usize::from(place.0)].awake;
        match awake.front() {
            Some(front) if *front == number => drop(awake.pop_front()),
            _ if line.is_awake => awake.retain(|other| *other != number),
            _ => {}
        }
    }

    /// Whether there is nothing left in a line.
    pub(crate) fn is_over(&self, number: u32) -> bool {
        self.lines.get(number as usize).is_some_and(|line| line.row.is_empty())
    }

    /// Whether the first message of a line that waits costs something else than it did.
    pub(crate) fn is_stale(&mut self, number: u32) -> bool {
        let Some(line) = self.lines.get_mut(number as usize).filter(|line| !line.is_awake) else {
            return false;
        };
        line.row.turn().is_some_and(|turn| turn.cost != line.cost)
    }

    /// Closes a line of which nothing is left, and gives its waiter back.
    pub(crate) fn close_line(&mut self, number: u32) -> Option<Waiter> {
        self.forget_line(number);
        self.lines.try_remove(number as usize).map(|line| line.waiter)
    }

    /// Whether a line is so short that its lanes may as well stand by themselves.
    pub(crate) fn is_short(&self, number: u32) -> bool {
        self.lines.get(number as usize).is_some_and(|line| line.row.len() <= SHORT)
    }

    /// Takes the lanes of a line back among the others.
    pub(crate) fn dissolve(&mut self, number: u32, weight_of: impl Fn(&str) -> u32) {
        while let Some(lane) = self.lines.get(number as usize).and_then(|line| line.row.any()) {
            let Some(it) = self.get(lane) else { return };
            let weight = it.order.group.as_deref().map_or(1, &weight_of);
            let Some(head) = it.head else { return };
            self.unseat(lane, head);
            self.seat(lane, Seat::Main, head, weight);
        }
    }

    /// When the first of those that wait may go, in microseconds, as far as time alone decides.
    pub(crate) fn eligible(&self) -> Option<u64> {
        self.eligible.first().map(|(at, _)| *at)
    }

    /// Whether any lane waits in a line.
    pub(crate) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// A line that should have gone by now, as it was noted: others were before it.
    pub(crate) fn overdue(&self, now: u64) -> Option<u32> {
        self.eligible.first().filter(|(at, _)| *at <= now).map(|(_, line)| *line)
    }

    /// A line that waits may go at that time, if not sooner.
    pub(crate) fn bring_forward(&mut self, number: u32, at: u64) {
        let line = self.lines.get(number as usize);
        let is_later = |line: &Line| line.eligible.is_none_or(|noted| noted > at);
        if line.is_some_and(|line| !line.is_awake && is_later(line)) {
            self.set_eligible(number, Some(at));
        }
    }

    /// Notes when a line may go, if that is known.
    pub(crate) fn set_eligible(&mut self, number: u32, eligible: Option<u64>) {
        let Some(line) = self.lines.get_mut(number as usize) else { return };
        if let Some(before) = std::mem::replace(&mut line.eligible, eligible) {
            self.eligible.remove(&(before, number));
        }
        if let Some(eligible) = eligible {
            self.eligible.insert((eligible, number));
        }
    }
}
