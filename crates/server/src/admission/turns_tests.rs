//! Turns step by step, with a room that lets nobody in where turns are not to come early.

use std::future::poll_fn;

use sluice_flow::RoomLimits;

use super::*;

fn turns(at_once: usize, slice_min: u64, room: RoomLimits) -> (Arc<Turns>, Admission) {
    let admission = Admission::new(room);
    let limits = TurnLimits { at_once, slice_each: 0, slice_min, lap_max: 0 };
    (Turns::with(limits, admission.clone()), admission)
}

/// Longer than any test.
const LONG: u64 = 3_600_000_000;

fn me() -> Client {
    Client::address([127, 0, 0, 1].into())
}

/// So many connections.
fn some<const COUNT: usize>(turns: &Arc<Turns>) -> [MyTurn; COUNT] {
    std::array::from_fn(|_| MyTurn::new(Arc::clone(turns)))
}

/// Whether it is its turn now.
fn has_turn(mine: &mut MyTurn) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    mine.poll(me, &mut context).is_ready()
}

async fn turn(mine: &mut MyTurn) {
    poll_fn(|context| mine.poll(me, context)).await;
}

/// Time in which somebody would be called who may be.
async fn many_rounds() {
    for _ in 0..10_000 {
        yield_now().await;
    }
}

/// A room in which nobody else may come in.
async fn crowded(workers: usize) -> (Arc<Turns>, super::super::Permit) {
    let room = RoomLimits { workers, queue_size: 0, parked_max: 0 };
    let (turns, admission) = turns(1, LONG, room);
    (turns, admission.enter().unwrap().await)
}

#[tokio::test]
async fn a_turn_that_is_not_used_goes_on_and_one_that_is_stays_while_others_wait() {
    let (turns, _permit) = crowded(1).await;
    let [mut first, mut second, mut third] = some::<3>(&turns);
    assert!(has_turn(&mut first));
    assert!(!has_turn(&mut second) && !has_turn(&mut third));
    first.rest();
    turn(&mut second).await;
    second.use_it();
    second.rest();
    assert!(has_turn(&mut second));
    many_rounds().await;
    assert!(!has_turn(&mut third));
    // Nobody else waits, so there is nobody to keep it from.
    drop(third);
    assert_eq!(turns.waiting(), 0);
    second.rest();
    assert!(has_turn(&mut first));
}

#[tokio::test]
async fn more_are_called_where_the_processor_has_nothing_to_do_but_not_into_a_crowd() {
    let (turns, permit) = crowded(1).await;
    let [mut first, mut second] = some::<2>(&turns);
    assert!(has_turn(&mut first) && !has_turn(&mut second));
    many_rounds().await;
    assert!(!has_turn(&mut second));
    drop(permit);
    turn(&mut second).await;
    assert_eq!(turns.waiting(), 0);
}

#[tokio::test]
async fn who_goes_away_is_called_no_more_and_loses_nobody_a_turn() {
    let (turns, _permit) = crowded(1).await;
    let [mut first, mut second, mut third] = some::<3>(&turns);
    assert!(has_turn(&mut first));
    assert!(!has_turn(&mut second) && !has_turn(&mut third));
    first.rest();
    // The turn is on its way to the second.
    turns.go_round(0);
    drop(second);
    turn(&mut third).await;
    assert_eq!(turns.waiting(), 0);
}

#[tokio::test]
async fn who_goes_away_gives_back_its_turn() {
    let (turns, _permit) = crowded(1).await;
    let [mut first, mut second] = some::<2>(&turns);
    assert!(has_turn(&mut first) && !has_turn(&mut second));
    first.use_it();
    drop(first);
    turns.go_round(0);
    assert!(has_turn(&mut second));
}

#[tokio::test]
async fn whoever_asks_without_end_gets_one_turn_after_another() {
    let (turns, _permit) = {
        let room = RoomLimits { workers: 1, queue_size: 0, parked_max: 0 };
        let (turns, admission) = turns(2, 100, room);
        (turns, admission.enter().unwrap().await)
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let turns = Arc::clone(&turns);
        tasks.spawn(async move {
            let mut mine = MyTurn::new(turns);
            for _ in 0..50 {
                turn(&mut mine).await;
                mine.use_it();
                yield_now().await;
                mine.rest();
            }
        });
    }
    tokio::time::timeout(Duration::from_secs(20), tasks.join_all()).await.unwrap();
    assert_eq!(turns.waiting(), 0);
}

#[tokio::test]
async fn at_the_end_everybody_has_a_turn() {
    let (turns, _permit) = crowded(1).await;
    let mut all = some::<5>(&turns);
    let now = all.iter_mut().filter_map(|mine| has_turn(mine).then_some(())).count();
    assert_eq!((now, turns.waiting()), (1, 4));
    turns.end();
    assert_eq!(turns.waiting(), 0);
    assert!(all.iter_mut().all(has_turn));
    assert!(has_turn(&mut MyTurn::new(Arc::clone(&turns))));
}
