//! Token and leaky buckets against exact fractions.

use proptest::prelude::*;

use super::*;
use crate::leaky::{LeakyLimit, Waiting};

/// Rates of the tests are `n / 12` a second; a twelve-millionth of a token is the unit of levels.
const UNIT: i128 = 12_000_000;
const RATES: [u64; 7] = [1, 5, 12, 84, 156, 4_001, 12_000_000];

fn rate(n: u64) -> Rate {
    Rate::fraction(n, 12, 1_000).unwrap()
}

fn limit(n: u64, burst: u32) -> TokenLimit {
    TokenLimit::new(rate(n), burst).unwrap()
}

/// The plain bucket: a level that rises with time up to the burst, as an exact fraction.
struct Reference {
    n: i128,
    burst: i128,
    level: i128,
    at: u64,
}

impl Reference {
    fn advance(&mut self, now: u64) {
        let risen = i128::from(now - self.at) * self.n;
        (self.level, self.at) = ((self.level + risen).min(self.burst * UNIT), now);
    }

    fn allows(&self, cost: u32) -> bool {
        self.level >= i128::from(cost).min(self.burst) * UNIT
    }

    fn change(&mut self, n: u64, burst: u32) {
        (self.n, self.burst) = (i128::from(n), i128::from(burst));
        self.level = self.level.min(self.burst * UNIT);
    }
}

/// What was taken and how the limit changed, to look at every interval.
#[derive(Default)]
struct History {
    /// Time, cost, burst then.
    taken: Vec<(u64, u32, u32)>,
    /// From when on which rate holds.
    rates: Vec<(u64, u64)>,
}

impl History {
    /// Units that come in from `start` to `end`.
    fn inflow(&self, start: u64, end: u64) -> i128 {
        let ends = self.rates.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        let parts = self.rates.iter().zip(ends).map(|(&(from, n), to)| {
            i128::from(end.min(to).saturating_sub(start.max(from))) * i128::from(n)
        });
        parts.sum()
    }

    /// Panics where any interval that begins and ends with a take holds too much; others hold no
    /// more than the one within them. `slack` is in microseconds.
    fn check(&self, slack: u64) {
        // What was refunded costs nothing.
        let taken: Vec<_> = self.taken.iter().filter(|taken| taken.1 > 0).collect();
        for (first, &&(start, _, burst)) in taken.iter().enumerate() {
            let mut tokens = 0;
            for &&(end, cost, burst_then) in &taken[first..] {
                tokens += i128::from(cost);
                let depth = i128::from(burst) + i128::from(cost.saturating_sub(burst_then));
                let most = depth * UNIT + self.inflow(start, end + slack);
                assert!(tokens * UNIT <= most, "{tokens} tokens from {start} to {end} us");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take { wait: u64, cost: u32 },
    TakeWhenEligible { cost: u32 },
    Refund { wait: u64, which: usize },
    Change { n: u64, burst: u32 },
    Forget,
    Back { by: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![Just(0u64), 0u64..2_000, 0u64..3_000_000];
    let step = prop_oneof![
        5 => (wait.clone(), 0u32..5).prop_map(|(wait, cost)| Step::Take { wait, cost }),
        5 => (1u32..5).prop_map(|cost| Step::TakeWhenEligible { cost }),
        1 => (wait, any::<usize>()).prop_map(|(wait, which)| Step::Refund { wait, which }),
        1 => (0..RATES.len(), 1u32..6).prop_map(|(at, burst)| Step::Change { n: RATES[at], burst }),
        1 => Just(Step::Forget),
        1 => (0u64..5_000_000).prop_map(|by| Step::Back { by }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn no_interval_holds_more_than_the_limit_whatever_changes(
        n in 0..RATES.len(), burst in 1u32..6, steps in steps(),
    ) {
        let (mut limit, mut bucket, mut burst) = (limit(RATES[n], burst), Bucket::default(), burst);
        let mut history = History { rates: vec![(0, RATES[n])], ..History::default() };
        let (mut now, mut latest, mut charges) = (1_000_000u64, 0, Vec::new());
        for step in steps {
            let mut cost = 0;
            match step {
                Step::Take { wait, cost: asked } => (now, cost) = (now + wait, asked),
                Step::TakeWhenEligible { cost: asked } => {
                    cost = asked;
                    if let Err(limited) = limit.check(bucket, cost, now) {
                        prop_assert!(limit.check(bucket, cost, limited.eligible_at - 1).is_err());
                        prop_assert!(limited.eligible_at > now);
                        now = limited.eligible_at;
                        prop_assert!(limit.check(bucket, cost, now).is_ok());
                    }
                }
                Step::Refund { wait, which } if !charges.is_empty() => {
                    now += wait;
                    let (charge, at) = charges.swap_remove(which % charges.len());
                    limit.refund(&mut bucket, charge, now);
                    let taken: &mut (u64, u32, u32) = &mut history.taken[at];
                    taken.1 = 0;
                }
                Step::Change { n, burst: changed } => {
                    limit.change(rate(n), changed, now).unwrap().carry(&mut bucket);
                    history.rates.push((now.max(latest), n));
                    burst = changed;
                }
                Step::Forget if limit.is_idle(bucket, now) => bucket = Bucket::default(),
                Step::Back { by } => now = now.saturating_sub(by),
                Step::Refund { .. } | Step::Forget => {}
            }
            latest = latest.max(now);
            let taken = limit.take(&mut bucket, cost, now);
            if cost > 0 && let Ok(charge) = taken {
                charges.push((charge, history.taken.len()));
                history.taken.push((latest, cost, burst));
            }
        }
        history.check(0);
    }

    #[test]
    fn a_bucket_allows_what_the_exact_one_does_at_the_latest_a_microsecond_later(
        n in 0..RATES.len(), burst in 1u32..6, steps in steps(),
    ) {
        let (mut limit, mut bucket) = (limit(RATES[n], burst), Bucket::default());
        let burst = i128::from(burst);
        let mut exact = Reference { n: i128::from(RATES[n]), burst, level: burst * UNIT, at: 0 };
        // Each change may round once more, by a part of a microsecond before and after it; what comes in
        // then at a high rate takes a low one longer. In units.
        let (mut now, mut n, mut lost) = (0u64, RATES[n], 0);
        for step in steps {
            let cost = match step {
                Step::Take { wait, cost } => {
                    now += wait;
                    cost
                }
                Step::TakeWhenEligible { cost } => {
                    if let Err(limited) = limit.check(bucket, cost, now) {
                        now = limited.eligible_at;
                    }
                    cost
                }
                Step::Change { n: next, burst } => {
                    exact.advance(now);
                    exact.change(next, burst);
                    limit.change(rate(next), burst, now).unwrap().carry(&mut bucket);
                    lost += n + next;
                    n = next;
                    continue;
                }
                _ => continue,
            };
            exact.advance(now);
            prop_assert!(i128::from(limit.available(bucket, now)) * UNIT <= exact.level.max(0));
            match limit.take(&mut bucket, cost, now) {
                Ok(_) => {
                    prop_assert!(cost == 0 || exact.allows(cost), "{cost} at {now}");
                    exact.level -= i128::from(cost) * UNIT;
                }
                Err(_) if exact.allows(cost) => {
                    let late = 1 + lost.div_ceil(n);
                    prop_assert!(limit.check(bucket, cost, now + late).is_ok(), "{cost} at {now}");
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn time_that_goes_back_is_the_latest_time_seen(
        steps in prop::collection::vec((0u64..3_000_000, 0u32..4), 1..60),
    ) {
        let (mut jumping, mut clamped) = (limit(12, 3), limit(12, 3));
        let (mut one, mut other, mut latest) = (Bucket::default(), Bucket::default(), 0);
        for (now, cost) in steps {
            latest = latest.max(now);
            prop_assert_eq!(jumping.take(&mut one, cost, now), clamped.take(&mut other, cost, latest));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn no_input_panics(
        steps in prop::collection::vec((any::<u64>(), any::<u32>(), 0u8..5, any::<u32>()), 1..40),
        numerator in 1u64..4_000_000, per_ms in any::<u64>(), burst in any::<u32>(),
    ) {
        let Ok(rate) = Rate::fraction(numerator, 1, per_ms % 100_000_000 + 1) else { return Ok(()) };
        let Ok(mut limit) = TokenLimit::new(rate, burst) else { return Ok(()) };
        let (mut bucket, mut charge) = (Bucket::default(), None);
        for (now, cost, step, burst) in steps {
            match step {
                0 => limit.start_empty(now),
                1 => if let Ok(change) = limit.change(rate, burst, now) { change.carry_behind_waiting(&mut bucket) },
                2 => if let Some(charge) = charge { limit.refund(&mut bucket, charge, now) },
                3 => { LeakyLimit::new(limit.clone(), Waiting { queue_max: burst, wait_max: now }).depart(&mut bucket, cost, now).ok(); }
                _ => charge = limit.take(&mut bucket, cost, now).ok(),
            }
            limit.available(bucket, now);
            limit.is_idle(bucket, now);
        }
    }

    #[test]
    fn those_who_wait_leave_in_turn_within_the_limit_and_no_more_wait_than_may(
        n in 0..RATES.len() - 1, burst in 1u32..5, queue_max in 0u32..5,
        steps in prop::collection::vec((0u64..3_000_000, 0u8..12, 0..RATES.len() - 1), 1..80),
    ) {
        let mut waiting = Waiting { queue_max, wait_max: 2_000_000 };
        let mut limit = LeakyLimit::new(limit(RATES[n], burst), waiting);
        let (mut bucket, mut burst, mut now) = (Bucket::default(), burst, 0u64);
        let mut history = History { rates: vec![(0, RATES[n])], ..History::default() };
        for (wait, step, n) in steps {
            // Half of those who ask come at once.
            now += if step % 2 == 0 { 0 } else { wait };
            let last = history.taken.last().map_or(0, |taken| taken.0);
            if step == 11 {
                burst = u32::try_from(n).unwrap() + 1;
                waiting.queue_max = burst;
                limit.change(rate(RATES[n]), burst, waiting, now).unwrap().carry_behind_waiting(&mut bucket);
                // The last to go may be late by less than a microsecond, at the old rate.
                history.rates.push((now.max(last) + 1, RATES[n]));
            }
            let ahead = history.taken.iter().filter(|taken| taken.0 > now).count();
            match limit.depart(&mut bucket, 1, now) {
                Ok(departure) => {
                    prop_assert!(departure.at >= now.max(last) && departure.at <= now + waiting.wait_max + 1);
                    // After a change those of the old limit may be more than the new one lets wait.
                    let waits = history.rates.len() == 1 && departure.at > now;
                    prop_assert!(!waits || ahead < waiting.queue_max as usize);
                    history.taken.push((departure.at, 1, burst));
                }
                Err(limited) => {
                    prop_assert!(limited.eligible_at > now);
                    prop_assert!(limit.clone().depart(&mut bucket.clone(), 1, limited.eligible_at - 1).is_err());
                    prop_assert!(limit.clone().depart(&mut bucket.clone(), 1, limited.eligible_at).is_ok());
                }
            }
        }
        history.check(1);
    }
}

#[test]
#[rustfmt::skip]
fn odd_rates_dont_drift_in_a_thousand_million_tokens() {
    // Numerator, denominator, period in ms.
    let rates = [(7, 1, 1_000), (333_333, 1_000, 1_000), (3_999_999, 1, 1_000), (29, 1, 60_000), (999_983, 7, 60_000)];
    for (numerator, denominator, per_ms) in rates {
        let rate = Rate::fraction(numerator, denominator, per_ms).unwrap();
        let (mut limit, mut bucket) = (TokenLimit::new(rate, 10).unwrap(), Bucket::default());
        let (mut now, mut tokens) = (0, 0u128);
        // Steps of one token, and jumps whose last one owes up to the thousand millionth.
        let costs = std::iter::repeat_n(1, 100_000).chain(std::iter::repeat_n(9_999_901, 100));
        for cost in costs.chain([1]) {
            if let Err(limited) = limit.check(bucket, cost, now) {
                now = limited.eligible_at;
            }
            limit.take(&mut bucket, cost, now).unwrap();
            tokens += u128::from(cost);
            // Full again when all that was ever taken has come in, to the tick: no step rounded,
            // save that jumps begin at a full bucket, on a microsecond.
            let exact = (tokens * u128::from(denominator) * u128::from(per_ms) * 1_000).div_ceil(u128::from(numerator));
            let off = u128::from(rate.micros(u128::from(bucket.0))).abs_diff(exact);
            assert!(if cost == 1 && tokens <= 100_000 { off == 0 } else { off <= 101 }, "{rate:?} {off}");
        }
        assert!(tokens >= 1_000_000_000);
    }
}

#[test]
fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
    let (mut limit, mut bucket) = (limit(60, 2), Bucket::default());
    assert!(limit.take(&mut bucket, 1, 1_000).is_ok() && limit.take(&mut bucket, 1, 1_000).is_ok());
    assert_eq!(limit.take(&mut bucket, 1, 1_000), Err(Limited { eligible_at: 201_000 }));
    assert_eq!(limit.available(bucket, 201_000), 1);
    let charge = limit.take(&mut bucket, 1, 201_000).unwrap();
    limit.refund(&mut bucket, charge, 201_000);
    assert_eq!(limit.available(bucket, 201_000), 1);
    // A cost above the burst waits for a full bucket and then owes.
    assert_eq!(limit.take(&mut bucket, 5, 201_000), Err(Limited { eligible_at: 401_000 }));
    assert!(limit.take(&mut bucket, 5, 401_000).is_ok());
    assert_eq!(limit.take(&mut bucket, 1, 401_000), Err(Limited { eligible_at: 1_201_000 }));
}

#[test]
fn a_change_hands_out_nothing_and_going_up_and_down_neither() {
    let (mut limit, mut bucket) = (limit(12, 1), Bucket::default());
    for now in [10, 20, 30] {
        limit.change(rate(12), 10, now).unwrap().carry(&mut bucket);
        assert_eq!(limit.available(bucket, now), 1);
        assert_eq!(limit.available(Bucket::default(), now), 1);
        limit.change(rate(12), 1, now).unwrap().carry(&mut bucket);
    }
    // Each second brings one of the ten that fit.
    limit.change(rate(12), 10, 30).unwrap().carry(&mut bucket);
    assert_eq!(limit.available(bucket, 3_000_030), 4);
    assert_eq!(limit.available(Bucket::default(), 9_000_030), 10);
    // What was charged stays charged.
    limit.take(&mut bucket, 4, 3_000_030).unwrap();
    limit.change(rate(120), 20, 3_000_030).unwrap().carry(&mut bucket);
    assert_eq!(limit.available(bucket, 3_000_030), 0);
    assert_eq!(limit.available(bucket, 3_500_030), 5);
    // A refused change changes nothing.
    assert!(limit.change(rate(12), 0, 3_500_030).is_err());
    assert_eq!(limit.available(bucket, 3_500_030), 5);
}

#[test]
fn after_a_restart_buckets_start_empty() {
    let (mut limit, bucket) = (limit(12, 5), Bucket::default());
    limit.start_empty(1_000_000);
    assert_eq!(limit.check(bucket, 1, 1_000_000), Err(Limited { eligible_at: 2_000_000 }));
    assert_eq!(limit.available(bucket, 5_999_999), 4);
    assert!(limit.is_idle(bucket, 1_000_000));
}

#[test]
fn a_moment_between_two_ticks_counts_as_the_later_one() {
    // 3 999 999 ticks in a millisecond: a microsecond is none of them.
    let rate = Rate::per_second(3).unwrap();
    let (mut limit, mut bucket) = (TokenLimit::new(rate, 1).unwrap(), Bucket::default());
    limit.take(&mut bucket, 1, 1).unwrap();
    assert_eq!(u128::from(bucket.0), 4_000 + rate.ticks_for(1));
}

#[test]
fn what_was_charged_before_a_change_is_not_refunded_after_it() {
    let (mut limit, mut bucket) = (limit(12, 2), Bucket::default());
    let charge = limit.take(&mut bucket, 2, 10).unwrap();
    limit.change(rate(12), 2, 10).unwrap().carry(&mut bucket);
    limit.refund(&mut bucket, charge, 10);
    assert_eq!(limit.available(bucket, 10), 0);
}

#[test]
fn what_ends_after_the_clock_is_refused_for_good() {
    let (mut limit, mut bucket) = (limit(12, 5), Bucket::default());
    assert_eq!(limit.take(&mut bucket, 1, u64::MAX), Err(Limited { eligible_at: NEVER }));
    assert_eq!(size_of::<Bucket>(), 8);
}
