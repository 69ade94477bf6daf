//! The consumers of one connection, and which of them may be pushed to.
//!
//! ```text
//! idle --credit--> hungry --asked--> fed --answered, credit left--> hungry
//!                    ^                '--answered, none left--> idle
//!                    '--resumed-- paused <--nothing to be had for now--
//! ```
//!
//! Those that are paused go on with the next frame of the client, which may have made room, or when
//! their time has come. One that is fed has one receive that waits in the broker. Only a consumer
//! that is idle, hungry or paused is ever asked for, so it never gets more than its credit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluice_model::{Qos, Source, Timestamp};
use sluice_protocol::binary::v2::CREDIT_MAX;

/// Most consumers of one connection.
pub(super) const CONSUMERS_MAX: usize = 4_096;
/// At most so many deliveries under leases are asked for at once.
const ASKED_MAX: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    Idle,
    /// Stands in the list of those.
    Hungry,
    /// A receive waits.
    Fed,
    /// Waits until a delivery is settled, or for a time.
    Paused,
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    /// The id of the frame that made it.
    pub(super) id: u64,
    pub(super) from: Source,
    pub(super) qos: Qos,
    pub(super) push: bool,
    pub(super) credit: u32,
    pub(super) lease: Option<Duration>,
    pub(super) appetite: Appetite,
    /// It was cancelled: what the last receive brings is pushed, and nothing more.
    pub(super) ends: bool,
}

/// The consumers of one connection.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    all: BTreeMap<u64, Consumer>,
    last: u64,
    hungry: VecDeque<u64>,
    paused: Vec<u64>,
    /// When those may try again though the client says nothing.
    resume_at: Option<Timestamp>,
}

impl Consumers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a consumer and says which number it has.
    pub(super) fn add(&mut self, consumer: Consumer) -> u64 {
        self.last += 1;
        self.all.insert(self.last, consumer);
        self.feed(self.last);
        self.last
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Consumer> {
        self.all.get_mut(&number)
    }

    /// One that was not cancelled.
    pub(super) fn living(&self, number: u64) -> Option<&Consumer> {
        self.all.get(&number).filter(|consumer| !consumer.ends)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Consumer> {
        self.all.remove(&number)
    }

    /// Whether a receive for it is not answered to its end.
    pub(super) fn is_fed(&self, number: u64) -> bool {
        self.all.get(&number).is_some_and(|consumer| consumer.appetite == Appetite::Fed)
    }

    /// The numbers of those for which a receive waits.
    pub(super) fn fed(&self) -> impl Iterator<Item = u64> {
        self.all.iter().filter(|(_, consumer)| consumer.appetite == Appetite::Fed).map(|(n, _)| *n)
    }

    /// Adds credit, as much as a consumer can have; false where there is no such consumer.
    pub(super) fn credit(&mut self, number: u64, messages: u32) -> bool {
        let Some(consumer) = self.all.get_mut(&number).filter(|c| c.push && !c.ends) else {
            return false;
        };
        consumer.credit = consumer.credit.saturating_add(messages).min(CREDIT_MAX);
        self.feed(number);
        true
    }

    /// Takes one's credit for messages that were pushed to it.
    pub(super) fn pushed(&mut self, number: u64, messages: u32) {
        if let Some(consumer) = self.all.get_mut(&number) {
            debug_assert!(consumer.credit >= messages, "more was pushed than asked for");
            consumer.credit = consumer.credit.saturating_sub(messages);
        }
    }

    /// The receive for a consumer was answered to its end.
    pub(super) fn answered(&mut self, number: u64) {
        let Some(consumer) = self.all.get_mut(&number) else { return };
        consumer.appetite = Appetite::Idle;
        if consumer.ends {
            self.all.remove(&number);
        } else {
            self.feed(number);
        }
    }

    /// Lets a consumer that may get nothing now wait until the client says something, or until `at`.
    pub(super) fn pause(&mut self, number: u64, at: Timestamp) {
        if let Some(consumer) = self.all.get_mut(&number) {
            consumer.appetite = Appetite::Paused;
            self.paused.push(number);
            self.resume_at = Some(self.resume_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// When those that are paused are to try again.
    pub(super) const fn resume_at(&self) -> Option<Timestamp> {
        self.resume_at
    }

    /// Lets those that were paused try again.
    pub(super) fn resume(&mut self) {
        self.resume_at = None;
        for number in std::mem::take(&mut self.paused) {
            if let Some(consumer) = self.all.get_mut(&number)
                && consumer.appetite == Appetite::Paused
            {
                consumer.appetite = Appetite::Idle;
                self.feed(number);
            }
        }
    }

    /// Whether one might be asked for.
    pub(super) fn is_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// Takes the next one to be asked for, which is fed from now on.
    pub(super) fn next_hungry(&mut self) -> Option<(u64, &mut Consumer)> {
        loop {
            let number = self.hungry.pop_front()?;
            if self.all.get(&number).is_some_and(|c| c.appetite == Appetite::Hungry && !c.ends) {
                let consumer = self.all.get_mut(&number)?;
                consumer.appetite = Appetite::Fed;
                return Some((number, consumer));
            }
        }
    }

    fn feed(&mut self, number: u64) {
        if let Some(consumer) = self.all.get_mut(&number)
            && consumer.push
            && consumer.credit > 0
            && consumer.appetite == Appetite::Idle
        {
            consumer.appetite = Appetite::Hungry;
            self.hungry.push_back(number);
        }
    }
}

impl Consumer {
    /// As many as may be asked for, where the connection may hold so many more.
    pub(super) fn max(&self, room: usize) -> u32 {
        match self.qos {
            Qos::AtMostOnce => self.credit,
            Qos::AtLeastOnce => {
                let room = u32::try_from(room).unwrap_or(u32::MAX);
                self.credit.min(ASKED_MAX).min(room)
            }
        }
    }
}
