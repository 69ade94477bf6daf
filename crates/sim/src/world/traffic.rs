//! What clients ask of the broker.

use std::time::Duration;

use sluice_broker::local::Input;
use sluice_model::{
    Client as Who, Confirm, LeaseId, Outcome as Ended, Principal, Qos, SessionId, SubscriptionId,
};

use super::World;
use crate::client::Client;
use crate::oracle::Name;
use crate::roles::{PUBLISHERS, ROLES};

impl World {
    fn client(&mut self, consumer: bool, at: usize) -> &mut Client {
        if consumer { &mut self.consumers[at] } else { &mut self.publishers[at] }
    }

    /// The client's session; a new one begins with its subscription.
    pub(super) fn session(&mut self, consumer: bool, at: usize) -> Option<SessionId> {
        let broker = self.broker.as_mut()?;
        let client = if consumer { &mut self.consumers[at] } else { &mut self.publishers[at] };
        if client.session.is_none() {
            let number = if consumer { at as u8 } else { 100 + at as u8 };
            let peer = [127, 0, 0, number].into();
            client.session =
                Some(broker.driver.open(Who { principal: Principal::Anonymous, peer }));
            if consumer {
                client.subscribe(&ROLES[at]);
            }
        }
        client.session
    }

    pub(super) fn publish(&mut self) {
        let at = self.random.below(PUBLISHERS as u64) as usize;
        if self.session(false, at).is_none() {
            return;
        }
        let most = if self.is_calm() { 3 } else { 6 };
        for _ in 0..1 + self.random.below(most) {
            self.publish_one(at);
        }
        if self.random.percent(60) {
            self.publishers[at].fence();
        }
        self.submit(false, at);
    }

    fn publish_one(&mut self, at: usize) {
        let topic = if self.random.percent(50) { "a.x" } else { "a.y" };
        let padding = match self.random.below(20) {
            0 => 3000,
            1..=3 => 600,
            _ => self.random.below(80),
        };
        let confirm = if self.random.percent(30) { Confirm::Always } else { Confirm::Refusal };
        let fleeting = self.random.percent(15);
        self.counters.fleeting_published += u64::from(fleeting);
        let qos = if fleeting { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let name = self.new_name(at, topic, fleeting);
        self.publishers[at].publish(topic, name, padding as usize, qos, confirm);
    }

    /// The next message of a publisher, which the oracle knows from now on.
    pub(super) fn new_name(&mut self, at: usize, topic: &str, fleeting: bool) -> Name {
        self.last_names[at] += 1;
        let name = (at as u32, self.last_names[at]);
        let matched = ROLES.iter().filter(|role| role.matches(topic));
        let mut to: Vec<usize> = matched.filter_map(|role| role.subscription).collect();
        to.retain(|subscription| self.subscribed[*subscription]);
        to.dedup();
        self.oracle.published(name, to, fleeting.then_some(self.counters.starts));
        name
    }

    pub(super) fn consume(&mut self) {
        let at = self.random.below(ROLES.len() as u64) as usize;
        if self.session(true, at).is_none() {
            return;
        }
        let calm = self.is_calm();
        let client = &mut self.consumers[at];
        if let Some(subscription) = client.subscription {
            self.receive(at, subscription, if calm { 16 } else { 5 });
            let held = std::mem::take(&mut self.consumers[at].held);
            for (name, lease) in held {
                if calm { self.ack(at, name, lease) } else { self.settle(at, name, lease) }
            }
            if self.random.percent(40) {
                self.consumers[at].fence();
            }
        }
        self.submit(true, at);
    }

    fn receive(&mut self, at: usize, subscription: SubscriptionId, below: u64) {
        for _ in 0..self.random.below(below) {
            self.consumers[at].receive(subscription);
        }
    }

    fn ack(&mut self, at: usize, name: Name, lease: LeaseId) {
        let always = self.random.percent(30);
        let confirm = if always { Confirm::Always } else { Confirm::Refusal };
        if let Some(subscription) = ROLES[at].subscription {
            self.oracle.acking(subscription, name);
        }
        self.consumers[at].ack(name, lease, confirm);
    }

    /// Ends a lease in one way or another, or leaves it to its deadline.
    fn settle(&mut self, at: usize, name: Name, lease: LeaseId) {
        let outcome = match self.random.below(100) {
            0..=64 => return self.ack(at, name, lease),
            65..=72 => Ended::Failed { delay: None, note: None },
            73..=80 => Ended::Released { delay: None },
            81..=85 => {
                Ended::Released { delay: Some(Duration::from_millis(self.random.below(100))) }
            }
            // Forgotten: its deadline ends it, or a late ack.
            86..=90 => return,
            _ => return self.consumers[at].held.push((name, lease)),
        };
        self.consumers[at].nack(lease, outcome);
    }

    pub(super) fn submit(&mut self, consumer: bool, at: usize) {
        let slow = consumer && self.is_slow();
        let client = self.client(consumer, at);
        let Some(session) = client.session else { return };
        let written = if slow { 0 } else { std::mem::take(&mut client.written) };
        let mut requests = std::mem::take(&mut client.requests);
        let before = requests.len();
        self.turn(Input::Requests { session, written, requests: &mut requests });
        self.counters.operations += (before - requests.len()) as u64;
        self.client(consumer, at).requests = requests;
        self.note_reach(consumer, at);
    }
}
