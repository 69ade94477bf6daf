//! What clients publish, receive and give back.

use super::{CALLERS, LEASE_MAX};
use crate::caller::Back;
use crate::oracle::Name;
use crate::oracle::limits::{At, QUEUES, Sent};
use crate::world::World;

/// Keys of messages: some of them are under the same patterns.
pub(super) const KEYS: [&str; 5] = ["k:1", "k:2", "k:10", "t", "u"];
pub(super) const GROUPS: [&str; 3] = ["red", "green", "blue"];
/// Messages that wait above which nothing is published for a while.
const WAITING_MAX: usize = 40;

impl World {
    pub(super) fn ask_calls(&mut self) {
        let at = self.random.below(CALLERS as u64) as usize;
        if !self.connect_caller(at) {
            return;
        }
        for _ in 0..1 + self.random.below(4) {
            match self.random.below(100) {
                0..=34 => self.publish_calls(at),
                35..=64 => self.receive_calls(at),
                65..=98 => self.settle_call(at),
                _ => {
                    let (queue, no) = (self.random.below(2) as usize, self.tick());
                    self.limits.callers[at].stats(queue, no);
                }
            }
        }
        self.submit_calls(at);
    }

    fn publish_calls(&mut self, at: usize) {
        let waiting = self.limits.calls.messages.iter().filter(|message| !message.is_over).count();
        if waiting > WAITING_MAX {
            return;
        }
        let count = if self.random.percent(30) { 2 + self.random.below(4) } else { 1 };
        let drafts: Vec<(usize, Name, Sent)> = (0..count)
            .map(|_| {
                let (sent, now) = (self.draft_call(), self.millis());
                let number = self.limits.calls.sent(sent.clone(), now);
                (number, (at as u32, number as u64), sent)
            })
            .collect();
        let no = self.tick();
        self.limits.callers[at].publish(&drafts, no);
    }

    fn draft_call(&mut self) -> Sent {
        let queue = self.random.below(QUEUES.len() as u64) as usize;
        let mut keys: Vec<&'static str> = Vec::new();
        for _ in 0..[0, 1, 1, 1, 2, 2, 3][self.random.below(7) as usize] {
            let key = KEYS[self.random.below(KEYS.len() as u64) as usize];
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let group = self.random.percent(50).then(|| GROUPS[self.random.below(3) as usize]);
        let priority = if self.random.percent(25) { self.random.below(10) as u8 } else { 5 };
        let is_dear = self.limits.is_dear && self.random.percent(40);
        let cost = if is_dear { 1 + self.random.below(4) as u16 } else { 1 };
        let delay = if self.random.percent(8) { 1 + self.random.below(200) } else { 0 };
        Sent { queue, priority, group, keys, cost, delay }
    }

    fn receive_calls(&mut self, at: usize) {
        let queue = self.random.below(QUEUES.len() as u64) as usize;
        let max = if self.random.percent(40) { 1 + self.random.below(5) as u32 } else { 1 };
        let lease = 50 + self.random.below(LEASE_MAX - 50);
        let bound = self.random.percent(40);
        let wait = self.random.percent(45).then(|| (self.millis(), 1 + self.random.below(400)));
        let no = self.tick();
        self.limits.callers[at].receive(queue, max, lease, bound, wait, no);
    }

    fn settle_call(&mut self, at: usize) {
        let held = &mut self.limits.callers[at].held;
        if held.is_empty() {
            return;
        }
        let (number, lease) = held.remove(self.random.below(held.len() as u64) as usize);
        let back = match self.random.below(100) {
            0..=57 => {
                let no = self.tick();
                return self.limits.callers[at].ack(number, lease, no);
            }
            58..=66 => Back::Failed(self.random.below(BACKOFF)),
            67..=76 => Back::Released,
            77..=88 if self.limits.is_set_once => Back::Released,
            77..=88 => self.throttle_call(number),
            // Its deadline ends it.
            _ => return,
        };
        let no = self.tick();
        self.limits.callers[at].nack(number, lease, back, no);
    }

    fn throttle_call(&mut self, number: usize) -> Back {
        let message = self.limits.calls.leases[number].message;
        let keys = &self.limits.calls.messages[message].sent.keys;
        let named = self.random.percent(25);
        let key = if named { keys.last().copied() } else { None };
        let after = self.random.percent(85).then(|| 1 + self.random.below(300));
        Back::Throttled(after, key)
    }

    /// Gives everything that anybody has back as done.
    pub(super) fn ack_calls(&mut self) {
        for at in 0..CALLERS {
            for (number, lease) in std::mem::take(&mut self.limits.callers[at].held) {
                let no = self.tick();
                self.limits.callers[at].ack(number, lease, no);
            }
        }
    }
}

/// The longest that a client has a failed message wait.
const BACKOFF: At = 150;
