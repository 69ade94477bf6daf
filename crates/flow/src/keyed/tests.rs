//! Limits by key against a model that forgets nothing and asks everybody.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::rate::Rate;
use crate::token::{Bucket, TokenLimit};
use crate::window::WindowLimit;

const SECOND: u64 = 1_000_000;
const KEYS: [&str; 3] = ["a", "b", "a key that is longer than others"];
const LIMITS: usize = 3;
const HOUR: u64 = 3_600 * SECOND;

fn rate(n: u64, burst: u32) -> Option<(Rate, u32)> {
    Some((Rate::per_second(n).unwrap(), burst))
}

fn terms() -> impl Strategy<Value = Terms> {
    let rate = prop_oneof![Just(None), Just(rate(1, 1)), Just(rate(5, 3)), Just(rate(12, 2))];
    let window = prop_oneof![3 => Just(None), 1 => (1u32..4, 1u64..900).prop_map(Some)];
    let window = window.prop_map(|w| w.map(|(max, length)| WindowLimit::new(max, length).unwrap()));
    let concurrency = prop_oneof![Just(None), (1u32..4).prop_map(Some)];
    (rate, window, concurrency).prop_map(|(rate, window, concurrency)| Terms {
        rate,
        window,
        concurrency,
    })
}

/// A limit and a key of the test, by their places.
type Pair = (usize, usize);

#[derive(Debug)]
struct Lane {
    waiter: Waiter,
    pairs: Vec<Pair>,
    /// What its messages cost.
    messages: VecDeque<u32>,
}

/// What the model knows of a pair, for ever.
#[derive(Default)]
struct Known {
    bucket: Bucket,
    starts: Vec<u64>,
    /// Those that a longer window may know, or not.
    old_starts: Vec<u64>,
    holders: u32,
    feedback: Feedback,
}

struct World {
    keyed: Keyed,
    numbers: Vec<LimitNo>,
    terms: Vec<Terms>,
    tokens: Vec<Option<TokenLimit>>,
    known: BTreeMap<Pair, Known>,
    lanes: Vec<Lane>,
    held: Vec<Vec<Pair>>,
    now: u64,
    woken: Vec<u32>,
}

fn asks(numbers: &[LimitNo], pairs: &[Pair]) -> Vec<Ask<'static>> {
    let ask = |&(limit, key): &Pair| Ask::new(Owner::limit(numbers[limit]), KEYS[key]);
    pairs.iter().map(ask).collect()
}

/// Leases a message if it may go, as the engine does; otherwise its lane waits.
fn lease(
    keyed: &mut Keyed,
    waiter: &mut Waiter,
    asks: &mut [Ask<'_>],
    cost: u32,
    now: u64,
    woken: &mut Vec<u32>,
) -> Result<(), Refused> {
    if let Err(refused) = keyed.may(waiter, asks, cost, now, woken) {
        return Err(keyed.wait(waiter, asks, refused, cost, now, woken));
    }
    keyed.take(asks, cost, now, woken);
    keyed.leave(waiter, now, woken);
    Ok(())
}

impl World {
    fn new(terms: Vec<Terms>, lanes: Vec<(u8, Vec<Pair>)>, live_keys_max: u32) -> Self {
        let config = KeyedConfig { live_keys_max, ..KeyedConfig::default() };
        let mut keyed = Keyed::new(config);
        let numbers = terms.iter().map(|terms| keyed.add(terms).unwrap()).collect();
        let new = |terms: &Terms| terms.rate.map(|(r, burst)| TokenLimit::new(r, burst).unwrap());
        let lane = |(number, (priority, mut pairs)): (usize, (u8, Vec<Pair>))| {
            pairs.sort_unstable();
            pairs.dedup();
            Lane { waiter: Waiter::new(number as u32, priority), pairs, messages: VecDeque::new() }
        };
        Self {
            keyed,
            numbers,
            tokens: terms.iter().map(new).collect(),
            terms,
            known: BTreeMap::new(),
            lanes: lanes.into_iter().enumerate().map(lane).collect(),
            held: Vec::new(),
            now: SECOND,
            woken: Vec::new(),
        }
    }

    /// What the model says of one more message of the pair, at `now`; `surely` if all starts count that
    /// may be known.
    fn allows(&self, pair: Pair, cost: u32, now: u64, surely: bool) -> bool {
        let fresh = Known::default();
        let known = self.known.get(&pair).unwrap_or(&fresh);
        let terms = &self.terms[pair.0];
        let gentle = known.feedback.gentle && now < known.feedback.kept_until;
        let max = if gentle { 1 } else { u32::MAX }.min(terms.concurrency.unwrap_or(u32::MAX));
        let in_window = terms.window.is_none_or(|window| {
            let old = known.old_starts.iter().filter(|_| surely);
            let inside = |at: &&u64| **at >= now.saturating_sub(window.length());
            known.starts.iter().chain(old).filter(inside).count() < window_max(window)
        });
        let bucket = self.bucket(pair, now);
        let tokens = self.tokens[pair.0].as_ref();
        now >= known.feedback.paused_until
            && known.holders < max
            && in_window
            && tokens.is_none_or(|tokens| tokens.check(bucket, cost, now).is_ok())
    }

    fn bucket(&self, pair: Pair, now: u64) -> Bucket {
        let Some(known) = self.known.get(&pair) else { return Bucket::default() };
        let mut bucket = known.bucket;
        if known.feedback.empties && now >= known.feedback.paused_until {
            let tokens = self.tokens[pair.0].as_ref();
            tokens.inspect(|tokens| tokens.drain(&mut bucket, known.feedback.paused_until));
        }
        bucket
    }

    fn lane_allows(&self, lane: &Lane, now: u64) -> bool {
        let Some(cost) = lane.messages.front() else { return false };
        lane.pairs.iter().all(|pair| self.allows(*pair, *cost, now, true))
    }

    /// Has a lane lease all that it can.
    fn try_lane(&mut self, number: usize) {
        loop {
            let lane = &mut self.lanes[number];
            let Some(cost) = lane.messages.front().copied() else {
                self.keyed.leave(&mut lane.waiter, self.now, &mut self.woken);
                return;
            };
            let mut asks = asks(&self.numbers, &lane.pairs);
            let (pairs, now) = (lane.pairs.clone(), self.now);
            let leased =
                lease(&mut self.keyed, &mut lane.waiter, &mut asks, cost, now, &mut self.woken);
            if leased.is_err() {
                assert!(lane.waiter.place.is_some());
                return;
            }
            lane.messages.pop_front();
            for pair in &pairs {
                assert!(
                    self.allows(*pair, cost, now, false),
                    "{pair:?} does not allow it at {now}"
                );
                let mut bucket = self.bucket(*pair, now);
                if let Some(tokens) = &mut self.tokens[pair.0] {
                    tokens.take(&mut bucket, cost, now).unwrap();
                }
                let known = self.known.entry(*pair).or_default();
                known.feedback.empties &= now < known.feedback.paused_until;
                (known.bucket, known.holders) = (bucket, known.holders + 1);
                known.starts.push(now);
            }
            self.held.push(pairs);
        }
    }

    /// A turn of the engine: whoever may try does, `odd` ones before those that were woken.
    fn turn(&mut self, odd: usize) {
        for number in (0..self.lanes.len()).filter(|number| number % 2 == odd % 2) {
            if self.lanes[number].waiter.place.is_none() && !self.lanes[number].messages.is_empty()
            {
                self.try_lane(number);
            }
        }
        loop {
            while !self.woken.is_empty() {
                let lane = self.woken.remove(0);
                self.try_lane(lane as usize);
            }
            let runnable = |lane: &Lane| lane.waiter.place.is_none() && !lane.messages.is_empty();
            match self.lanes.iter().position(runnable) {
                Some(number) => self.try_lane(number),
                None => break,
            }
        }
        self.keyed.check();
        assert!(self.keyed.is_quiet());
    }

    /// Lets time pass to `now`, and whoever is woken try.
    fn pass(&mut self, now: u64) {
        self.now = self.now.max(now);
        while self.keyed.next_at().is_some_and(|at| at <= self.now) {
            self.keyed.advance(self.now, 3, &mut self.woken);
            self.turn(0);
        }
    }

    /// No lane waits that could go.
    fn nobody_waits_in_vain(&self, now: u64) {
        for lane in &self.lanes {
            assert!(!self.lane_allows(lane, now), "{lane:?} waits at {now} and could go");
        }
    }

    fn end(&mut self, held: usize, ended: Ended) {
        if self.held.is_empty() {
            return;
        }
        let pairs = self.held.swap_remove(held % self.held.len());
        let mut asks = asks(&self.numbers, &pairs);
        for pair in pairs {
            let now = self.now;
            let bucket = self.bucket(pair, now);
            let known = self.known.get_mut(&pair).unwrap();
            known.holders -= 1;
            if ended == Ended::Acked {
                known.bucket = bucket;
                known.feedback.empties &= now < known.feedback.paused_until;
                known.feedback.ack(now);
            }
        }
        self.keyed.release(&mut asks, 1, ended, self.now, &mut self.woken);
    }

    fn throttle(&mut self, held: usize, retry_after: Option<u64>) {
        if self.held.is_empty() {
            return;
        }
        let at = held % self.held.len();
        let pairs = self.held[at].clone();
        for pair in pairs.iter().take(1) {
            let bucket = self.bucket(*pair, self.now);
            let known = self.known.get_mut(pair).unwrap();
            known.bucket = bucket;
            known.feedback.throttle(retry_after, HOUR, self.now);
        }
        let mut asks = asks(&self.numbers, &pairs[..1.min(pairs.len())]);
        self.keyed.throttle(&mut asks, retry_after, self.now, &mut self.woken);
        self.end(at, Ended::Otherwise);
    }

    fn change(&mut self, limit: usize, terms: Terms) {
        let (now, no) = (self.now, self.numbers[limit]);
        self.keyed.change(no, &terms, now, &mut self.woken).unwrap();
        let pairs: Vec<Pair> = self.known.keys().copied().filter(|pair| pair.0 == limit).collect();
        for pair in pairs {
            // What came since a pause ended did so at the old rate.
            let bucket = self.bucket(pair, now);
            let known = self.known.get_mut(&pair).unwrap();
            known.bucket = bucket;
            known.feedback.empties &= now < known.feedback.paused_until;
        }
        let buckets = self.known.iter_mut().filter(|(pair, _)| pair.0 == limit);
        match (&mut self.tokens[limit], terms.rate) {
            (Some(tokens), Some((rate, burst))) => {
                if (tokens.rate(), tokens.burst()) != (rate, burst) {
                    let change = tokens.change(rate, burst, now).unwrap();
                    buckets.for_each(|(_, known)| change.carry(&mut known.bucket));
                }
            }
            (tokens, new) => {
                *tokens = new.map(|(rate, burst)| TokenLimit::new(rate, burst).unwrap());
                tokens.iter_mut().for_each(|tokens| tokens.start_empty(now));
                buckets.for_each(|(_, known)| known.bucket = Bucket::default());
            }
        }
        // A longer window, or a new one, knows only the starts that were kept.
        for (_, known) in self.known.iter_mut().filter(|(pair, _)| pair.0 == limit) {
            let length = self.terms[limit].window.map(WindowLimit::length);
            let inside = |at: &u64| length.is_some_and(|length| *at >= now.saturating_sub(length));
            known.old_starts.extend(known.starts.iter().filter(|at| !inside(at)));
            known.starts.retain(inside);
        }
        self.terms[limit] = terms;
    }

    /// Lets everything go that is there, and sees that nothing is left behind.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            while !self.held.is_empty() {
                self.end(0, Ended::Acked);
            }
            self.turn(0);
            if self.held.is_empty() {
                match self.keyed.next_at() {
                    Some(at) => self.pass(at),
                    None => break,
                }
            }
        }
        assert!(self.lanes.iter().all(|lane| lane.messages.is_empty()), "{:?}", self.lanes);
        self.pass(self.now + 2_000 * HOUR);
        assert_eq!((self.keyed.table.len(), self.keyed.waiters.len()), (0, 0));
        assert_eq!(self.keyed.next_at(), None);
    }
}

fn window_max(window: WindowLimit) -> usize {
    let mut starts = crate::Starts::default();
    (0..).take_while(|_| window.take(&mut starts, 1, 5).is_ok()).count()
}

fn lanes() -> impl Strategy<Value = Vec<(u8, Vec<Pair>)>> {
    let pairs = prop::collection::vec((0..LIMITS, 0..KEYS.len()), 0..4);
    prop::collection::vec((4u8..7, pairs), 6)
}

#[derive(Clone, Debug)]
enum Step {
    Publish { lane: usize, cost: u32 },
    Wait { by: u64 },
    WaitForNext,
    End { held: usize, acked: bool },
    Throttle { held: usize, retry_after: Option<u64> },
    Change { limit: usize, terms: Terms },
}

fn steps(costs: std::ops::Range<u32>) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..6, costs).prop_map(|(lane, cost)| Step::Publish { lane, cost }),
        2 => prop_oneof![0u64..2_000, 0..3 * SECOND].prop_map(|by| Step::Wait { by }),
        3 => Just(Step::WaitForNext),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(held, acked)| Step::End { held, acked }),
        1 => (any::<usize>(), prop::option::of(0..5 * SECOND))
            .prop_map(|(held, retry_after)| Step::Throttle { held, retry_after }),
        1 => (0..LIMITS, terms()).prop_map(|(limit, terms)| Step::Change { limit, terms }),
    ];
    prop::collection::vec(step, 1..120)
}

/// What a run is about.
#[derive(Clone, Copy)]
struct Run {
    throttles: bool,
    changes: bool,
    /// Lanes go exactly when the model says; not so where others are before them with dearer messages,
    /// or there is no room.
    exact: bool,
}

fn play(world: &mut World, steps: Vec<Step>, run: Run) {
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Publish { lane, cost } => world.lanes[lane].messages.push_back(cost),
            Step::Wait { by } => world.pass(world.now + by),
            Step::WaitForNext => {
                let next = world.keyed.next_at().unwrap_or(world.now);
                if run.exact && next > world.now {
                    world.nobody_waits_in_vain(next - 1);
                }
                world.pass(next);
            }
            Step::End { held, acked } => {
                world.end(held, if acked { Ended::Acked } else { Ended::Otherwise });
            }
            Step::Throttle { held, retry_after } if run.throttles => {
                world.throttle(held, retry_after);
            }
            Step::Change { limit, terms } if run.changes => world.change(limit, terms),
            Step::Throttle { .. } | Step::Change { .. } => {}
        }
        world.turn(number);
        if world.keyed.next_at() == Some(0) {
            world.pass(0);
        }
        if run.exact {
            world.nobody_waits_in_vain(world.now);
        }
    }
    world.drain();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn lanes_go_exactly_when_every_limit_allows_it(
        terms in prop::collection::vec(terms(), LIMITS), lanes in lanes(), steps in steps(1..2),
    ) {
        let mut world = World::new(terms, lanes, 1_000);
        play(&mut world, steps, Run { throttles: true, changes: false, exact: true });
    }

    #[test]
    fn limits_that_change_hold_at_once_and_nobody_is_forgotten(
        terms in prop::collection::vec(terms(), LIMITS), lanes in lanes(), steps in steps(1..2),
    ) {
        let mut world = World::new(terms, lanes, 1_000);
        play(&mut world, steps, Run { throttles: false, changes: true, exact: true });
    }

    #[test]
    fn messages_of_any_cost_go_in_the_end_and_none_too_early(
        terms in prop::collection::vec(terms(), LIMITS), lanes in lanes(), steps in steps(1..6),
    ) {
        let mut world = World::new(terms, lanes, 1_000);
        play(&mut world, steps, Run { throttles: true, changes: false, exact: false });
    }

    #[test]
    fn few_live_keys_make_lanes_wait_and_all_of_them_go(
        terms in prop::collection::vec(terms(), LIMITS), lanes in lanes(), steps in steps(1..2), max in 3u32..6,
    ) {
        let mut world = World::new(terms, lanes, max);
        play(&mut world, steps, Run { throttles: false, changes: false, exact: false });
    }
}

/// A world with one limit, and lanes of these priorities under its first key.
fn one_limit(terms: Terms, priorities: &[u8]) -> World {
    let lanes = priorities.iter().map(|priority| (*priority, vec![(0, 0)])).collect();
    World::new(vec![terms], lanes, 1_000)
}

fn publish(world: &mut World, lanes: &[usize]) {
    for lane in lanes {
        world.lanes[*lane].messages.push_back(1);
    }
}

#[test]
fn a_freed_slot_wakes_one_lane_by_priority_and_then_in_turn() {
    let mut world = one_limit(Terms { concurrency: Some(1), ..Terms::default() }, &[5, 5, 7, 5]);
    publish(&mut world, &[0, 0, 1, 2, 3]);
    world.turn(0);
    assert_eq!((world.held.len(), world.keyed.waiters.len()), (1, 4));
    // Lane 0 went first and came back before 2, which is odd, and behind it nobody was.
    for left in [[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]] {
        world.end(0, Ended::Otherwise);
        assert_eq!(world.woken.len(), 1, "one lane for one slot");
        world.turn(0);
        let messages: Vec<usize> = world.lanes.iter().map(|lane| lane.messages.len()).collect();
        assert_eq!(messages, left);
    }
    assert!(world.keyed.waiters.len() == 0);
}

#[test]
fn a_wake_that_another_limit_refuses_is_passed_on() {
    let closed = Terms { concurrency: Some(0), ..Terms::default() };
    let one = Terms { concurrency: Some(1), ..Terms::default() };
    let lanes = vec![(5, vec![(0, 0)]), (5, vec![(0, 0), (1, 0)]), (5, vec![(0, 0)])];
    let mut world = World::new(vec![one, closed], lanes, 1_000);
    publish(&mut world, &[0]);
    world.turn(0);
    publish(&mut world, &[1]);
    world.turn(1);
    publish(&mut world, &[2]);
    world.turn(0);
    world.end(0, Ended::Otherwise);
    assert_eq!(world.woken, [1]);
    world.turn(0);
    // Lane 1 waits for the closed limit now, and lane 2 has what it was woken for.
    assert_eq!((world.held.len(), world.lanes[2].messages.len()), (1, 0));
    let mut ask = asks(&world.numbers, &[(1, 0)]);
    assert_eq!(world.keyed.view(&ask[0]).map(|view| view.waiting), Some(1));
    let refused = Refused { at: 0, reason: Reason::Concurrency { holders: 0, max: 0 } };
    assert_eq!(world.keyed.why(&ask, 1, world.now), [refused]);
    // A lane that is gone passes on what it waited for as well.
    let lane = &mut world.lanes[1];
    world.keyed.leave(&mut lane.waiter, world.now, &mut world.woken);
    assert_eq!(world.keyed.view(&ask[0]), None);
    assert!(!world.keyed.resume(&mut ask[0], world.now, &mut world.woken));
}

#[test]
fn a_throttled_key_opens_empty_and_with_one_at_a_time_until_one_is_acked() {
    let terms = Terms { rate: rate(10, 5), ..Terms::default() };
    let mut world = one_limit(terms, &[5]);
    publish(&mut world, &[0; 12]);
    world.turn(0);
    assert_eq!(world.held.len(), 5);
    world.throttle(0, Some(3 * SECOND));
    while !world.held.is_empty() {
        world.end(0, Ended::Otherwise);
    }
    let opens = world.now + 3 * SECOND;
    world.pass(opens - 1);
    assert!(world.held.is_empty());
    world.pass(opens);
    assert!(world.held.is_empty(), "the bucket is empty when it opens");
    world.pass(opens + SECOND / 10);
    assert_eq!(world.held.len(), 1);
    world.pass(opens + SECOND);
    assert_eq!(world.held.len(), 1, "one at a time");
    world.end(0, Ended::Acked);
    world.turn(0);
    // Nine tenths of a second brought more than fits.
    assert_eq!(world.held.len(), 5);
}

#[test]
fn a_change_after_a_pause_brings_no_tokens_that_had_not_come_since_it_ended() {
    let mut world = one_limit(Terms { rate: rate(1, 1), ..Terms::default() }, &[1]);
    let (mut ask, start) = (asks(&world.numbers, &[(0, 0)]), world.now);
    world.keyed.throttle(&mut ask, Some(SECOND), start, &mut world.woken);
    // Half a token has come since the pause ended, and the other half comes ten times as fast.
    let now = start + SECOND + SECOND / 2;
    let faster = Terms { rate: rate(10, 1), ..Terms::default() };
    world.keyed.change(world.numbers[0], &faster, now, &mut world.woken).unwrap();
    let eligible_at = now + SECOND / 20;
    let refused = [Refused { at: 0, reason: Reason::Rate { eligible_at } }];
    assert_eq!(world.keyed.why(&ask, 1, now), refused);
    assert_eq!(world.keyed.why(&ask, 1, eligible_at), []);
}

#[test]
fn a_pause_by_hand_holds_until_it_is_resumed_and_survives_a_restart() {
    let mut world = one_limit(Terms { concurrency: Some(9), ..Terms::default() }, &[5]);
    let mut ask = asks(&world.numbers, &[(0, 0)]).remove(0);
    let pause = Pause { until: crate::NEVER, by: "ops".into(), reason: "deploy".into() };
    world.keyed.pause(&mut ask, pause.clone(), world.now, &mut world.woken);
    publish(&mut world, &[0]);
    world.turn(0);
    world.pass(world.now + HOUR);
    assert!(world.held.is_empty() && world.keyed.next_at().is_none());

    let mut states = Vec::new();
    assert_eq!(world.keyed.states(0, 10, &mut states), None);
    let mut restarted = Keyed::new(KeyedConfig::default());
    restarted.add(&world.terms[0]).unwrap();
    states.into_iter().for_each(|state| restarted.restore(state, world.now));
    assert_eq!(restarted.view(&ask).unwrap().pause, Some(pause));
    let refused = [Refused { at: 0, reason: Reason::Paused { until: crate::NEVER } }];
    assert_eq!(restarted.why(&[ask], 1, world.now), refused);

    assert!(world.keyed.resume(&mut ask, world.now, &mut world.woken));
    world.turn(0);
    assert_eq!(world.held.len(), 1);
}

#[test]
fn a_key_whose_pause_ended_early_is_forgotten_when_nothing_is_known_of_it() {
    for rate in [None, rate(10, 5)] {
        let mut world = one_limit(Terms { rate, concurrency: Some(1), ..Terms::default() }, &[5]);
        let mut ask = asks(&world.numbers, &[(0, 0)]).remove(0);
        let pause = Pause { until: world.now + HOUR, by: "ops".into(), reason: "deploy".into() };
        world.keyed.pause(&mut ask, pause, world.now, &mut world.woken);
        publish(&mut world, &[0]);
        world.turn(0);
        assert!(world.keyed.resume(&mut ask, world.now, &mut world.woken));
        world.turn(0);
        assert_eq!((world.held.len(), world.keyed.table.len()), (1, 1));
        world.end(0, Ended::Acked);
        world.pass(world.now + SECOND);
        assert_eq!(world.keyed.table.len(), 0, "{rate:?}");
    }
}

#[test]
fn after_a_restart_windows_and_leases_are_those_of_the_records_and_buckets_are_empty() {
    let window = Some(WindowLimit::new(3, 10_000).unwrap());
    let terms = Terms { rate: rate(1, 5), window, concurrency: Some(3) };
    let mut keyed = Keyed::new(KeyedConfig::default());
    let owner = Owner::limit(keyed.add(&terms).unwrap());
    let (mut woken, mut waiter) = (Vec::new(), Waiter::new(0, 5));
    for at in [SECOND, 2 * SECOND] {
        keyed.replay(&mut [Ask::new(owner, "k")], at);
    }
    keyed.restart(5 * SECOND);
    let mut ask = [Ask::new(owner, "k")];
    let why = |keyed: &Keyed, now| keyed.why(&[Ask::new(owner, "k")], 1, now);
    let rate = Reason::Rate { eligible_at: 6 * SECOND };
    assert_eq!(why(&keyed, 5 * SECOND), [Refused { at: 0, reason: rate }]);
    lease(&mut keyed, &mut waiter, &mut ask, 1, 6 * SECOND, &mut woken).unwrap();
    let held = Reason::Concurrency { holders: 3, max: 3 };
    assert_eq!(why(&keyed, 8 * SECOND), [Refused { at: 0, reason: held }]);
    keyed.release(&mut ask, 3, Ended::Otherwise, 8 * SECOND, &mut woken);
    let left = Reason::Window { eligible_at: 11 * SECOND + 1 };
    assert_eq!(why(&keyed, 8 * SECOND), [Refused { at: 0, reason: left }]);
    assert_eq!(why(&keyed, 11 * SECOND + 1), []);
}

#[test]
fn a_limit_that_is_removed_lets_its_lanes_go_and_its_number_is_free_again() {
    let mut world = one_limit(Terms { concurrency: Some(0), ..Terms::default() }, &[5, 5, 5]);
    publish(&mut world, &[0, 1, 2]);
    world.turn(0);
    world.turn(1);
    assert_eq!(world.keyed.waiters.len(), 3);
    world.keyed.remove(world.numbers[0]);
    world.terms[0].concurrency = None;
    world.pass(0);
    assert_eq!((world.held.len(), world.keyed.waiters.len()), (3, 0));
    // What is held of it is nobody's business any more.
    while !world.held.is_empty() {
        world.end(0, Ended::Acked);
    }
    assert_eq!(world.keyed.table.len(), 0);
    assert_eq!(world.keyed.add(&Terms::default()), Ok(world.numbers[0]));
}

#[test]
fn how_long_lanes_wait_for_a_limit_is_counted_under_it() {
    let mut world = one_limit(Terms { concurrency: Some(0), ..Terms::default() }, &[5, 5]);
    publish(&mut world, &[0]);
    world.turn(0);
    world.pass(2 * SECOND);
    publish(&mut world, &[1]);
    world.turn(0);
    world.pass(5 * SECOND);
    let figures = world.keyed.figures(world.numbers[0], world.now);
    assert_eq!((figures.lanes, figures.waited, figures.keys), (2, 7 * SECOND, 1));
    let open = Terms { concurrency: Some(9), ..Terms::default() };
    world.terms[0] = open.clone();
    world.keyed.change(world.numbers[0], &open, world.now, &mut world.woken).unwrap();
    world.pass(6 * SECOND);
    world.pass(9 * SECOND);
    let figures = world.keyed.figures(world.numbers[0], world.now);
    assert!(figures.lanes == 0 && figures.waited <= 9 * SECOND, "{figures:?}");
}

#[test]
fn the_terms_that_the_model_lets_by_can_all_be_kept() {
    for text in
        ["4000000/s burst 4000000", "3999.999/ms", "0.001/30000s", "1/366d", "0.007/11m burst 3"]
    {
        let terms: sluice_model::LimitTerms = text.parse().unwrap();
        let (term, burst) = (terms.rate.unwrap(), terms.burst());
        let rate = Rate::fraction(term.thousandths(), 1_000, term.per_ms()).unwrap();
        assert!(TokenLimit::new(rate, burst).is_ok(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_the_model_checked_can_be_kept(
        n in 1u64..4_000_000_000, whole in any::<bool>(), per in 1u64..366 * 86_400_000, burst in 1u32..5_000_000,
    ) {
        let thousandths = if whole { n / 1_000 * 1_000 } else { n % 4_000_000 };
        let Ok(term) = sluice_model::RateTerm::new(thousandths, per) else { return Ok(()) };
        let rate = Rate::fraction(term.thousandths(), 1_000, term.per_ms());
        prop_assert!(rate.is_ok(), "{term}");
        let key = sluice_model::LimitMatch { queue: sluice_model::QueuePattern::all(), key: None };
        let terms = sluice_model::LimitTerms { rate: Some(term), burst: Some(burst), ..Default::default() };
        let checked = sluice_model::Limit::new("x", sluice_model::LimitScope::Queue, key, terms);
        prop_assert_eq!(checked.is_ok(), TokenLimit::new(rate.unwrap(), burst).is_ok());
    }
}
