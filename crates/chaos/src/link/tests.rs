//! Connections whose bytes and times the test says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// What came of a side's bytes, and whether it was finished or cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    bytes: Vec<u8>,
    finished: bool,
    cut: bool,
}

/// All that is to be done at that time.
fn done(link: &mut Link, now: Duration, heard: &mut [Heard; 2]) {
    for (index, side) in Side::BOTH.into_iter().enumerate() {
        while let Some(action) = link.next(side, now) {
            match action {
                Action::Pass(bytes) => heard[index].bytes.extend_from_slice(&bytes),
                Action::Finish => heard[index].finished = true,
                Action::Cut { .. } => heard.iter_mut().for_each(|one| one.cut = true),
            }
        }
    }
}

/// Goes on until nothing is due any more.
fn until_quiet(link: &mut Link, mut now: Duration, heard: &mut [Heard; 2]) -> Duration {
    done(link, now, heard);
    while let Some(at) = link.next_time(now) {
        now = at;
        done(link, now, heard);
    }
    now
}

/// What both sides say, one piece after the other, at one time.
fn played(plan: &Plan, number: u64, said: &[(Side, Vec<u8>)]) -> ([Heard; 2], Link) {
    let (mut link, mut heard) = (Link::new(plan, number), <[Heard; 2]>::default());
    let mut now = Duration::ZERO;
    for (from, bytes) in said {
        link.received(*from, bytes.clone().into(), now);
        now = until_quiet(&mut link, now, &mut heard);
    }
    (heard, link)
}

fn all(side: Side, said: &[(Side, Vec<u8>)]) -> Vec<u8> {
    said.iter().filter(|(from, _)| *from == side).flat_map(|(_, bytes)| bytes.clone()).collect()
}

fn said() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
    let side = prop::sample::select(Side::BOTH.to_vec());
    vec((side, vec(any::<u8>(), 1..200)), 0..40)
}

fn plans() -> impl Strategy<Value = Plan> {
    let bound = || prop::option::of(1_u64..4_000);
    let delay = prop::option::of((0_u64..5).prop_map(|min| (MS * min as u32, MS * 7)));
    let throttle = prop::option::of(1_000_u64..1_000_000);
    (any::<u64>(), bound(), bound(), bound(), delay, throttle).prop_map(
        |(seed, cut, half_close, drop_answers, delay, throttle)| {
            let faulty = None;
            Plan { seed, delay, throttle, cut, half_close, drop_answers, faulty }
        },
    )
}

proptest! {
    #[test]
    fn what_passes_is_the_beginning_of_what_was_said(plan in plans(), said in said()) {
        let (heard, link) = played(&plan, 3, &said);
        for (index, side) in Side::BOTH.into_iter().enumerate() {
            prop_assert!(all(side.other(), &said).starts_with(&heard[index].bytes));
        }
        let passed = (heard[0].bytes.len() + heard[1].bytes.len()) as u64;
        let tally = link.tally();
        prop_assert_eq!(tally.to_broker + tally.to_clients, passed);
        let total: usize = said.iter().map(|(_, bytes)| bytes.len()).sum();
        match plan.fault(3) {
            Some(Fault { after, .. }) if after <= total as u64 => {
                prop_assert!(passed >= after);
                prop_assert_eq!(tally.cut + tally.half_closed + tally.answers_dropped > 0, true);
            }
            _ => prop_assert_eq!(passed, total as u64),
        }
    }

    #[test]
    fn the_same_seed_does_the_same(plan in plans(), said in said(), number in 0_u64..9) {
        prop_assert_eq!(played(&plan, number, &said).0, played(&plan, number, &said).0);
    }

    #[test]
    fn a_connection_is_over_when_both_sides_have_ended(plan in plans(), said in said()) {
        let (mut heard, mut link) = played(&plan, 0, &said);
        for side in Side::BOTH {
            link.ended(side);
        }
        until_quiet(&mut link, MS * 100_000, &mut heard);
        prop_assert!(link.is_over());
        prop_assert!(heard.iter().all(|one| one.finished || one.cut), "{:?}", heard);
    }
}

#[test]
fn a_cut_comes_after_exactly_as_many_bytes_in_whatever_pieces_they_come() {
    let plan = Plan { cut: Some(1_000), ..Plan::default() };
    for number in 0..20 {
        let after = plan.fault(number).unwrap().after;
        for size in [1, 7, 1_500] {
            let pieces = 1_500 / size;
            let said: Vec<_> = (0..pieces).map(|_| (Side::Client, vec![0; size])).collect();
            let (heard, link) = played(&plan, number, &said);
            assert_eq!(heard[1].bytes.len() as u64, after);
            assert!(heard[1].cut && link.is_over());
        }
    }
}

#[test]
fn dropped_answers_end_in_a_cut_and_the_broker_hears_all_until_then() {
    let plan = Plan { drop_answers: Some(100), ..Plan::default() };
    let (mut link, mut heard) = (Link::new(&plan, 0), <[Heard; 2]>::default());
    link.received(Side::Client, vec![1; 500].into(), Duration::ZERO);
    until_quiet(&mut link, Duration::ZERO, &mut heard);
    // Nothing is lost yet, so nothing is due.
    assert_eq!((heard[1].bytes.len(), link.next_time(Duration::ZERO)), (500, None));
    link.received(Side::Broker, vec![2; 30].into(), MS);
    let at = link.next_time(MS).expect("a cut is due");
    done(&mut link, at - Duration::from_nanos(1), &mut heard);
    assert!(!link.is_over());
    done(&mut link, at, &mut heard);
    assert!(link.is_over() && heard[0].cut && heard[0].bytes.is_empty());
    assert_eq!((link.tally().bytes_dropped, link.tally().answers_dropped), (30, 1));
}

#[test]
fn one_direction_is_ended_and_the_other_goes_on() {
    let plan = Plan { half_close: Some(10), ..Plan::default() };
    let ends = |number: &u64| plan.fault(*number).unwrap().harm == Harm::HalfClose(Side::Client);
    let number = (0..100).find(ends).unwrap();
    let said =
        [(Side::Client, vec![1; 10]), (Side::Client, vec![1; 5]), (Side::Broker, vec![2; 9])];
    let (mut heard, mut link) = played(&plan, number, &said);
    assert!(heard[1].finished && heard[1].bytes.len() <= 10);
    assert_eq!((heard[0].bytes.len(), heard[0].finished), (9, false));
    link.ended(Side::Broker);
    until_quiet(&mut link, MS, &mut heard);
    assert!(heard[0].finished && link.is_over());
}

#[test]
fn pieces_are_held_back_and_keep_their_order() {
    let plan = Plan { delay: Some((MS * 5, MS * 9)), ..Plan::default() };
    let (mut link, mut heard) = (Link::new(&plan, 0), <[Heard; 2]>::default());
    for byte in 0..50 {
        link.received(Side::Client, vec![byte].into(), MS * u32::from(byte));
    }
    done(&mut link, Duration::from_micros(4_999), &mut heard);
    assert!(heard[1].bytes.is_empty());
    let end = until_quiet(&mut link, MS * 5, &mut heard);
    assert_eq!(heard[1].bytes, (0..50).collect::<Vec<u8>>());
    assert!(end >= MS * 54 && end <= MS * 58, "{end:?}");
    assert_eq!(link.tally().delayed, 50);
}

#[test]
fn a_throttled_direction_keeps_its_rate() {
    let plan = Plan { throttle: Some(10_000), ..Plan::default() };
    let (mut link, mut heard) = (Link::new(&plan, 0), <[Heard; 2]>::default());
    link.received(Side::Client, vec![0; 5_000].into(), Duration::ZERO);
    let end = until_quiet(&mut link, Duration::ZERO, &mut heard);
    assert_eq!(heard[1].bytes.len(), 5_000);
    assert!(end >= MS * 450 && end <= MS * 500, "{end:?}");
    assert!(link.tally().throttled > 10);
}

#[test]
fn no_more_is_read_than_can_be_held() {
    let plan = Plan { delay: Some((MS, MS)), ..Plan::default() };
    let mut link = Link::new(&plan, 0);
    while link.wants(Side::Client) {
        link.received(Side::Client, vec![0; 64 << 10].into(), Duration::ZERO);
    }
    assert!(link.wants(Side::Broker));
    done(&mut link, MS, &mut <[Heard; 2]>::default());
    assert!(link.wants(Side::Client));
}
