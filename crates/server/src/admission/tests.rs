//! Places under cancellation, on one thread step by step and on several at random.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluice_flow::{Client, EntranceLimit, LeakyLimit, Pass, Rate, TokenLimit, Waiting};
use tokio::task::{JoinSet, yield_now};

use super::*;

fn admission(workers: usize, queue_size: usize, parked_max: usize) -> Admission {
    Admission::new(RoomLimits { workers, queue_size, parked_max })
}

/// Whether the future has a place now.
fn poll_once(entering: &mut Entering) -> Option<Permit> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match Pin::new(entering).poll(&mut context) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn a_dropped_future_gives_up_its_turn_or_the_place_on_its_way() {
    let admission = admission(1, 3, 0);
    let permit = poll_once(&mut admission.enter().unwrap()).unwrap();
    let (mut first, second) = (admission.enter().unwrap(), admission.enter().unwrap());
    let mut third = admission.enter().unwrap();
    assert_eq!(admission.enter().err(), Some(RoomFull::Queue));
    assert!(poll_once(&mut first).is_none());
    // The turn is given up.
    drop(second);
    assert_eq!(admission.figures().waiting, 2);
    // The place is on its way to the first, which goes away: the third gets it.
    drop(permit);
    drop(first);
    let permit = poll_once(&mut third).unwrap();
    assert_eq!((admission.figures().working, admission.figures().waiting), (1, 0));
    drop(permit);
    assert_eq!(admission.figures().working, 0);
}

#[test]
fn parked_requests_give_their_place_to_others_and_come_back_before_new_ones() {
    let admission = admission(1, 2, 1);
    let permit = poll_once(&mut admission.enter().unwrap()).unwrap();
    let mut waiting = admission.enter().unwrap();
    let parked = permit.park().unwrap();
    let other = poll_once(&mut waiting).unwrap();
    let other = other.park().unwrap_err();
    let mut new = admission.enter().unwrap();
    let mut resumed = parked.resume();
    assert!(poll_once(&mut resumed).is_none());
    drop(other);
    assert!(poll_once(&mut new).is_none());
    let permit = poll_once(&mut resumed).unwrap();
    // A parked one that is dropped is gone.
    drop(permit.park().unwrap());
    assert!(poll_once(&mut new).is_some());
    let figures = admission.figures();
    assert_eq!((figures.working, figures.waiting, figures.parked), (0, 0, 0));
    assert_eq!((figures.refused_queue, figures.refused_parked), (0, 1));
}

#[test]
fn more_workers_let_those_in_who_wait() {
    let admission = admission(1, 2, 0);
    let permit = poll_once(&mut admission.enter().unwrap());
    let (mut first, mut second) = (admission.enter().unwrap(), admission.enter().unwrap());
    admission.change(RoomLimits { workers: 2, queue_size: 0, parked_max: 0 });
    let granted = poll_once(&mut first);
    assert!(granted.is_some() && poll_once(&mut second).is_none());
    drop((permit, granted));
    assert!(poll_once(&mut second).is_some());
}

proptest! {
    #[test]
    fn any_order_of_polls_and_drops_leaves_every_place_free_and_nobody_forgotten(
        steps in prop::collection::vec((0u8..8, any::<usize>()), 1..200),
    ) {
        let admission = admission(2, 4, 2);
        let (mut entering, mut permits, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        for (step, which) in steps {
            match step {
                0..=2 => entering.extend(admission.enter()),
                3 if !entering.is_empty() => {
                    let at = which % entering.len();
                    if let Some(permit) = poll_once(&mut entering[at]) {
                        permits.push(permit);
                        entering.swap_remove(at);
                    }
                }
                4 if !entering.is_empty() => drop(entering.swap_remove(which % entering.len())),
                5 if !permits.is_empty() => drop(permits.swap_remove(which % permits.len())),
                6 if !permits.is_empty() => {
                    match permits.swap_remove(which % permits.len()).park() {
                        Ok(one) => parked.push(one),
                        Err(permit) => permits.push(permit),
                    }
                }
                7 if !parked.is_empty() => {
                    let one: ParkedPermit = parked.swap_remove(which % parked.len());
                    if which % 2 == 0 { entering.push(one.resume()) }
                }
                _ => {}
            }
            let figures = admission.figures();
            prop_assert!(permits.len() <= figures.working && figures.working <= 2);
            prop_assert!(figures.waiting <= 4 && parked.len() <= figures.parked && figures.parked <= 2);
        }
        // Everybody leaves as soon as it has a place; so each gets one.
        permits.clear();
        parked.clear();
        let mut rounds = 0;
        while !entering.is_empty() {
            entering.retain_mut(|one| poll_once(one).is_none());
            rounds += 1;
            prop_assert!(rounds <= 20, "{} are forgotten", entering.len());
        }
        let figures = admission.figures();
        prop_assert_eq!((figures.working, figures.waiting, figures.parked), (0, 0, 0));
    }
}

/// Bits that look like chance, the same for the same seed.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

async fn visit(admission: Admission, mut state: u64, at_work: Arc<AtomicUsize>) -> u64 {
    let mut served = 0;
    for _ in 0..200 {
        let Ok(mut entering) = admission.enter() else {
            yield_now().await;
            continue;
        };
        // Some give up, before or while the place is on its way.
        if draw(&mut state).is_multiple_of(3) {
            let given_up = tokio::select! {
                biased;
                permit = &mut entering => { drop(permit); false }
                () = yield_now() => true,
            };
            served += u64::from(!given_up);
            continue;
        }
        let mut permit = entering.await;
        assert!(at_work.fetch_add(1, Relaxed) < 3);
        yield_now().await;
        at_work.fetch_sub(1, Relaxed);
        if draw(&mut state).is_multiple_of(4) {
            match permit.park() {
                Ok(parked) => {
                    yield_now().await;
                    permit = parked.resume().await;
                }
                Err(kept) => permit = kept,
            }
        }
        drop(permit);
        served += 1;
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_no_place_is_lost_and_everybody_who_waits_is_served() {
    for round in 1..=20u64 {
        let (admission, at_work) = (admission(3, 8, 4), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for task in 1..=32 {
            let state = round * 1_000 + task;
            tasks.spawn(visit(admission.clone(), state, Arc::clone(&at_work)));
        }
        // A lost wake-up would be a task that never ends.
        let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all());
        let served: u64 = all.await.expect("nobody is forgotten").iter().sum();
        assert!(served > 0);
        let figures = admission.figures();
        assert_eq!((figures.working, figures.waiting, figures.parked), (0, 0, 0), "{figures:?}");
    }
}

/// So many a second.
fn limit(rate: u64, burst: u32, queue_max: u32) -> LeakyLimit {
    let limit = TokenLimit::new(Rate::per_second(rate).unwrap(), burst).unwrap();
    LeakyLimit::new(limit, Waiting { queue_max, wait_max: 10_000_000 })
}

/// A gate with a limit of clients, and one of all.
fn gate(client: LeakyLimit, global: Option<LeakyLimit>, start: Instant) -> Gate {
    let named = |each_client| move |limit| EntranceLimit { name: "a".into(), each_client, limit };
    let gate = Gate::open(10, start);
    let limits = [named(true)(client)].into_iter().chain(global.map(named(false)));
    gate.change(limits.collect(), start);
    gate
}

#[test]
fn clients_over_their_limit_are_told_when_to_come_again() {
    let start = Instant::now();
    let gate = gate(limit(4, 2, 0), None, start);
    for (address, second) in [("192.0.2.1", 0), ("192.0.2.2", 1)] {
        let (client, now) =
            (address.parse().map(Client::address), start + Duration::from_secs(second));
        let client = client.unwrap();
        assert_eq!(gate.ask(&client, 2, now), Ok(Pass::Go));
        let retry_after = Duration::from_millis(250);
        assert_eq!(gate.ask(&client, 1, now), Err(RateLimited { retry_after }));
        assert_eq!(gate.ask(&client, 1, now + retry_after), Ok(Pass::Go));
    }
    let client = Client::principal("key".into());
    assert_eq!(Gate::open(10, start).ask(&client, u32::MAX, start), Ok(Pass::Go));
}

#[tokio::test]
async fn a_limit_that_delays_lets_requests_through_in_turn() {
    let start = Instant::now();
    let gate = gate(limit(100, 1, 5), Some(limit(50, 1, 5)), start);
    let client = Client::address("192.0.2.1".parse().unwrap());
    for _ in 0..4 {
        assert_eq!(gate.pass(&client, 1).await, Ok(()));
    }
    // Three intervals of the slower limit.
    assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
}
