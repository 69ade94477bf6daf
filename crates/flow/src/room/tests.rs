//! The room against lists of who is where.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Who is where, by number; the plainest right answer.
#[derive(Default)]
struct Lists {
    working: Vec<(u32, Place)>,
    parked: Vec<(u32, Parked)>,
    waiting: VecDeque<(u32, Ticket)>,
    returning: VecDeque<(u32, Ticket)>,
}

impl Lists {
    /// One of those in turn has a place.
    fn handed(&mut self, handed: Option<Handed<u32>>) -> Result<(), TestCaseError> {
        let Some(Handed { waiter, place }) = handed else { return Ok(()) };
        let next = self.returning.pop_front().or_else(|| self.waiting.pop_front());
        prop_assert_eq!(next.map(|(number, _)| number), Some(waiter));
        self.working.push((waiter, place));
        Ok(())
    }

    fn check(&self, room: &Room<u32>, limits: RoomLimits) -> Result<(), TestCaseError> {
        let figures = room.figures();
        prop_assert_eq!(figures.working, self.working.len());
        prop_assert_eq!(figures.waiting, self.waiting.len());
        prop_assert_eq!(figures.parked, self.parked.len() + self.returning.len());
        let queued = self.waiting.len() + self.returning.len();
        let busy = self.working.len() >= limits.workers;
        prop_assert_eq!(room.is_full(), busy && self.waiting.len() >= limits.queue_size);
        prop_assert_eq!(room.is_crowded(), busy && self.waiting.len() >= limits.queue_size / 2);
        prop_assert!(queued == 0 || self.working.len() >= limits.workers, "a place is free");
        Ok(())
    }
}

proptest! {
    #[test]
    fn nobody_waits_beside_a_free_place_and_turns_are_kept(
        steps in prop::collection::vec((0u8..12, any::<usize>(), 1usize..4, 0usize..4, 0usize..3), 1..300),
    ) {
        let mut limits = RoomLimits { workers: 2, queue_size: 3, parked_max: 2 };
        let (mut room, mut lists) = (Room::new(limits), Lists::default());
        for (number, (step, which, workers, queue_size, parked_max)) in (0u32..).zip(steps) {
            match step {
                0..=3 => {
                    let (busy, queued) = (lists.working.len() >= limits.workers, lists.waiting.len());
                    match room.enter(|| number) {
                        Ok(Entry::Working(place)) => {
                            prop_assert!(!busy);
                            lists.working.push((number, place));
                        }
                        Ok(Entry::Waiting(ticket)) => {
                            prop_assert!(busy && queued < limits.queue_size);
                            lists.waiting.push_back((number, ticket));
                        }
                        Err(full) => {
                            prop_assert!(full == RoomFull::Queue && busy && queued >= limits.queue_size);
                        }
                    }
                }
                4 | 5 if !lists.working.is_empty() => {
                    let (_, place) = lists.working.swap_remove(which % lists.working.len());
                    lists.handed(room.leave(place))?;
                }
                6 | 7 if !lists.working.is_empty() => {
                    let (number, place) = lists.working.swap_remove(which % lists.working.len());
                    let parked = lists.parked.len() + lists.returning.len();
                    match room.park(place) {
                        Ok((ticket, handed)) => {
                            prop_assert!(parked < limits.parked_max);
                            lists.parked.push((number, ticket));
                            lists.handed(handed)?;
                        }
                        Err(place) => {
                            prop_assert!(parked >= limits.parked_max);
                            lists.working.push((number, place));
                        }
                    }
                }
                8 if !lists.parked.is_empty() => {
                    let (number, parked) = lists.parked.swap_remove(which % lists.parked.len());
                    match room.resume(parked, || number) {
                        Entry::Working(place) => lists.working.push((number, place)),
                        Entry::Waiting(ticket) => lists.returning.push_back((number, ticket)),
                    }
                }
                9 if !lists.parked.is_empty() => {
                    room.depart(lists.parked.swap_remove(which % lists.parked.len()).1);
                }
                10 => {
                    let list = if which % 2 == 0 { &mut lists.waiting } else { &mut lists.returning };
                    if !list.is_empty() && let Some((_, ticket)) = list.remove(which % list.len()) {
                        prop_assert!(room.cancel(ticket).is_some() && room.cancel(ticket).is_none());
                    }
                }
                11 if which % 4 == 0 => {
                    limits = RoomLimits { workers, queue_size, parked_max };
                    for handed in room.change(limits) {
                        lists.handed(Some(handed))?;
                    }
                }
                _ => {}
            }
            lists.check(&room, limits)?;
        }
    }
}

#[test]
fn refusals_are_counted_by_reason() {
    let mut room = Room::new(RoomLimits { workers: 1, queue_size: 1, parked_max: 0 });
    let Ok(Entry::Working(place)) = room.enter(|| 1) else { panic!("it is empty") };
    let Ok(Entry::Waiting(ticket)) = room.enter(|| 2) else { panic!("one may wait") };
    assert_eq!(room.enter(|| 3).err(), Some(RoomFull::Queue));
    let place = room.park(place).unwrap_err();
    assert_eq!(room.cancel(ticket), Some(2));
    assert!(room.leave(place).is_none());
    let expected = RoomFigures {
        entered: 2,
        cancelled: 1,
        refused_queue: 1,
        refused_parked: 1,
        ..RoomFigures::default()
    };
    assert_eq!(room.figures(), expected);
    assert_eq!(RoomLimits { workers: 0, ..RoomLimits::default() }.validate(), Err(NoWorkers));
    assert_eq!(RoomLimits::default().validate(), Ok(()));
}
