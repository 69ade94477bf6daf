//! The deliveries of one connection: which lease a delivery tag stands for.
//!
//! ```text
//! held --SETTLE--> settling --done, lost--> gone
//!   ^                 |
//!   '--refused for now'
//! ```
//!
//! Tags grow by one, so a tag's place is found by counting. What is gone at the front is forgotten;
//! when many that are gone lie behind one that is held, the held ones move to a map.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluice_model::{LeaseId, Timestamp};

use super::ended::Ended;

/// Places that are gone or held, for each that may be held, before the held ones move.
const PLACES_PER_HELD: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Settling,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    lease: LeaseId,
    deadline: Timestamp,
    state: State,
}

/// Tags that follow one another: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u32,
}

/// The deliveries of one connection.
#[derive(Debug)]
pub(super) struct Window {
    /// The tag of the first place.
    first: u64,
    places: VecDeque<Place>,
    /// Older ones that are not gone.
    old: BTreeMap<u64, Place>,
    held: usize,
    ended: Ended,
    /// No lease ends by itself before this.
    ends_from: Timestamp,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            first: 1,
            places: VecDeque::new(),
            old: BTreeMap::new(),
            held: 0,
            ended: Ended::default(),
            ends_from: Timestamp::from_millis(u64::MAX),
        }
    }
}

impl Window {
    /// The tag that the next delivery gets.
    pub(super) fn next_tag(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// How many are held.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// How many more may be held where at most `max` may, when those whose time has run out are
    /// forgotten. Who asks for more is to keep to it.
    pub(super) fn room(&mut self, max: usize, now: Timestamp) -> usize {
        if self.held >= max && self.ends_from <= now {
            self.forget_ended(now);
        }
        max.saturating_sub(self.held)
    }

    /// A time by which none of those that are held now may have ended, and from which one may have.
    pub(super) fn ends_after(&self) -> Timestamp {
        self.ends_from.after(Duration::from_millis(1))
    }

    /// Adds a delivery, whose tag is [`Window::next_tag`], to those of which at most `max` are held.
    #[inline]
    pub(super) fn push(&mut self, max: usize, lease: LeaseId, deadline: Timestamp) {
        if self.places.len() >= max.saturating_mul(PLACES_PER_HELD) {
            self.move_held();
        }
        self.places.push_back(Place { lease, deadline, state: State::Held });
        self.ends_from = self.ends_from.min(deadline);
        self.held += 1;
    }

    /// Appends the leases of those tags that are held, and which they are; to be settled, or to go
    /// on until `deadline` at least.
    pub(super) fn take(
        &mut self,
        (first, last): (u64, u64),
        extended: Option<Timestamp>,
        leases: &mut Vec<LeaseId>,
        runs: &mut Vec<Run>,
    ) {
        for (tag, place) in self.old.range_mut(first..=last) {
            take_one(*tag, place, extended, &mut self.held, leases, runs);
        }
        let (from, to) = (first.max(self.first), last.min(self.next_tag().wrapping_sub(1)));
        if from > to {
            return;
        }
        let range = (from - self.first) as usize..=(to - self.first) as usize;
        for (tag, place) in (from..).zip(self.places.range_mut(range)) {
            take_one(tag, place, extended, &mut self.held, leases, runs);
        }
    }

    /// Takes those of these tags that were forgotten because their time had run out.
    pub(super) fn take_ended(&mut self, (first, last): (u64, u64), taken: &mut Vec<Run>) {
        self.ended.take(first, last, taken);
    }

    /// Forgets deliveries that were to be settled: they are, or their leases are lost.
    pub(super) fn settled(&mut self, run: Run) {
        for tag in run.first..run.first + u64::from(run.count) {
            if let Some(place) = self.place(tag)
                && place.state == State::Settling
            {
                place.state = State::Gone;
                self.old.remove(&tag);
            }
        }
        while self.places.pop_front_if(|place| place.state == State::Gone).is_some() {
            self.first += 1;
        }
    }

    /// A delivery is held again: it could not be settled for now.
    pub(super) fn unsettled(&mut self, tag: u64) {
        if let Some(place) = self.place(tag)
            && place.state == State::Settling
        {
            place.state = State::Held;
            self.held += 1;
        }
    }

    /// The lease of a delivery that is held is lost.
    pub(super) fn lost(&mut self, tag: u64) {
        if let Some(place) = self.place(tag)
            && place.state == State::Held
        {
            place.state = State::Settling;
            self.held -= 1;
        }
        self.settled(Run { first: tag, count: 1 });
    }

    fn place(&mut self, tag: u64) -> Option<&mut Place> {
        match tag.checked_sub(self.first) {
            Some(at) => self.places.get_mut(usize::try_from(at).ok()?),
            None => self.old.get_mut(&tag),
        }
    }

    fn forget_ended(&mut self, now: Timestamp) {
        self.ends_from = Timestamp::from_millis(u64::MAX);
        let (held, ends_from) = (&mut self.held, &mut self.ends_from);
        let ended = &mut self.ended;
        let mut forget = |tag: u64, place: &mut Place| {
            if place.state == State::Held && place.deadline < now {
                place.state = State::Gone;
                *held -= 1;
                ended.add(tag);
            } else if place.state == State::Held {
                *ends_from = place.deadline.min(*ends_from);
            }
            place.state != State::Gone
        };
        self.old.retain(|tag, place| forget(*tag, place));
        (self.first..).zip(&mut self.places).for_each(|(tag, place)| {
            forget(tag, place);
        });
        self.settled(Run { first: self.first, count: 0 });
    }

    fn move_held(&mut self) {
        for place in self.places.drain(..) {
            if place.state != State::Gone {
                self.old.insert(self.first, place);
            }
            self.first += 1;
        }
    }
}

#[inline]
fn take_one(
    tag: u64,
    place: &mut Place,
    extended: Option<Timestamp>,
    held: &mut usize,
    leases: &mut Vec<LeaseId>,
    runs: &mut Vec<Run>,
) {
    if place.state != State::Held {
        return;
    }
    match extended {
        Some(deadline) => place.deadline = place.deadline.max(deadline),
        None => {
            place.state = State::Settling;
            *held -= 1;
        }
    }
    leases.push(place.lease);
    match runs.last_mut() {
        Some(run) if run.first + u64::from(run.count) == tag => run.count += 1,
        _ => runs.push(Run { first: tag, count: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::{Generation, QueueNo, Seq};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn lease(counter: u64) -> LeaseId {
        let generation = Generation { start: 1, counter };
        LeaseId { queue: QueueNo(1), seq: Seq(counter), generation, secret: counter }
    }

    fn filled(max: usize, count: u64) -> Window {
        let mut window = Window::default();
        for tag in 1..=count {
            assert_eq!(window.next_tag(), tag);
            window.push(max, lease(tag), Timestamp::from_millis(tag));
        }
        window
    }

    fn taken(window: &mut Window, first: u64, last: u64) -> Vec<u64> {
        let (mut leases, mut runs) = (Vec::new(), Vec::new());
        window.take((first, last), None, &mut leases, &mut runs);
        assert_eq!(runs.iter().map(|run| run.count as usize).sum::<usize>(), leases.len());
        let tags = runs.iter().flat_map(|run| run.first..run.first + u64::from(run.count));
        let tags: Vec<u64> = tags.collect();
        assert_eq!(tags, leases.iter().map(|lease| lease.seq.0).collect::<Vec<_>>());
        tags
    }

    #[test]
    fn a_range_finds_each_lease_once_around_the_holes() {
        let mut window = filled(100, 10);
        assert_eq!(taken(&mut window, 4, 5), [4, 5]);
        assert_eq!(taken(&mut window, 0, u64::MAX), [1, 2, 3, 6, 7, 8, 9, 10]);
        assert!(taken(&mut window, 1, 10).is_empty());
        assert_eq!(window.held(), 0);
        window.settled(Run { first: 1, count: 10 });
        assert_eq!((window.first, window.places.len()), (11, 0));
        assert!(taken(&mut window, 1, 10).is_empty());
    }

    #[test]
    fn what_could_not_be_settled_for_now_is_held_again() {
        let mut window = filled(100, 3);
        taken(&mut window, 1, 3);
        window.unsettled(2);
        window.settled(Run { first: 1, count: 3 });
        assert_eq!((window.first, window.held()), (2, 1));
        assert_eq!(taken(&mut window, 1, 3), [2]);
    }

    #[test]
    fn one_that_is_never_settled_does_not_make_the_window_grow() {
        let mut window = filled(10, 1);
        for tag in 2..1_000 {
            window.push(10, lease(tag), NOW);
            assert_eq!(taken(&mut window, tag, tag), [tag]);
            window.settled(Run { first: tag, count: 1 });
            assert!(window.places.len() <= 20 && window.old.len() <= 1, "{tag}");
        }
        assert_eq!(taken(&mut window, 1, 5_000), [1]);
        window.settled(Run { first: 1, count: 1 });
        assert!(window.old.is_empty());
    }

    #[test]
    fn when_it_is_full_those_whose_time_has_run_out_are_forgotten() {
        let mut window = filled(4, 4);
        assert_eq!(window.room(4, Timestamp::from_millis(1)), 0);
        assert_eq!(window.room(4, Timestamp::from_millis(3)), 2);
        assert_eq!(taken(&mut window, 1, 4), [3, 4]);
        assert_eq!(window.room(4, NOW), 4);
        let mut ended = Vec::new();
        window.take_ended((1, 4), &mut ended);
        window.take_ended((1, 4), &mut ended);
        assert_eq!(ended, [Run { first: 1, count: 2 }], "who settles them is told once");
    }

    #[test]
    fn a_lost_lease_is_not_held() {
        let mut window = filled(4, 2);
        window.lost(1);
        window.lost(1);
        assert_eq!((window.held(), window.first), (1, 2));
    }
}
