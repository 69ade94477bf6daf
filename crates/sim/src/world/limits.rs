//! What the clients of queues under limits ask, and what they are told.

mod ask;
mod end;
mod operator;
mod probe;
mod told;

use std::collections::BTreeMap;

use sluice_broker::local::Input;
use sluice_engine::EndedBy;
use sluice_model::{Client as Who, Limit, LimitRequest, Principal, QueueSettings, Setting};

use super::World;
use crate::caller::{Ask, Asked, Back, Caller};
use crate::oracle::limits::{At, Calls, QUEUES, Slot, What};

/// Clients that publish and receive; behind them comes the one that sets limits.
const CALLERS: usize = 4;
const OPERATOR: usize = CALLERS;
/// The longest lease that clients ask for.
const LEASE_MAX: At = 600;
/// How often nothing goes wrong in a schedule, in 100.
const STEADY: u64 = 35;
/// How often limits stay as they were set at the beginning, in 100.
const SET_ONCE: u64 = 20;
/// Messages that are published before that.
const BEFORE: usize = 8;
/// How often the disk of a schedule is filled by others, in 100.
const HOGGED: u64 = 10;

/// The part of a world that is about limits.
#[derive(Debug)]
pub(super) struct LimitWorld {
    callers: Vec<Caller>,
    calls: Calls,
    /// Nothing goes wrong.
    pub(super) is_steady: bool,
    /// Limits are set at the beginning and stay as they are, and nothing is paused.
    is_set_once: bool,
    /// Messages cost different amounts.
    is_dear: bool,
    /// The limits that were confirmed.
    set: BTreeMap<Slot, Limit>,
    /// The operator's request of which nobody knows whether it was done, and the first start after.
    unresolved: Option<(LimitRequest, Option<At>)>,
    /// When the run before ended, and whether what it had written may be lost.
    ended: Option<At>,
    lost_writes: bool,
    poisoned: u64,
    /// The limits were listed since the start.
    is_listed: bool,
    /// What the last receive that found nothing was told.
    next_told: Option<(usize, Option<At>)>,
}

impl Default for LimitWorld {
    fn default() -> Self {
        Self {
            callers: (0..=OPERATOR).map(|_| Caller::default()).collect(),
            calls: Calls::default(),
            is_steady: false,
            is_set_once: false,
            is_dear: false,
            set: BTreeMap::new(),
            unresolved: None,
            ended: None,
            lost_writes: false,
            poisoned: 0,
            is_listed: false,
            next_told: None,
        }
    }
}

impl World {
    /// Chooses what kind of schedule under limits this is.
    pub(super) fn with_limits(mut self) -> Self {
        if self.workload != super::Workload::Limits {
            return self;
        }
        self.config.engine.queue.max_failures = 0;
        self.limits.is_steady = self.aside.percent(STEADY);
        self.limits.is_set_once = self.aside.percent(SET_ONCE);
        self.limits.is_dear = self.aside.percent(40);
        if self.aside.percent(10) {
            self.limits.calls.is_tight = true;
            self.config.engine.live_keys_max = 8 + self.aside.below(4) as u32;
        }
        for at in 0..QUEUES.len() {
            self.limits.calls.is_fifo[at] = self.aside.percent(30);
            self.limits.calls.is_fair[at] = self.aside.percent(75);
        }
        if self.limits.is_steady || !self.aside.percent(HOGGED) {
            self.hog = None;
        }
        self
    }

    /// One client asks for something, or for many things at once.
    pub(super) fn call(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=19 => {
                self.quieten()?;
                self.ask_calls();
            }
            20..=79 => self.ask_calls(),
            80..=91 if self.stays_as_it_is() => self.ask_calls(),
            80..=91 => self.operate(),
            92..=97 => return self.probe(),
            _ => self.jump(),
        }
        Ok(())
    }

    /// Whether nothing is set or paused any more.
    fn stays_as_it_is(&self) -> bool {
        let limits = &self.limits;
        limits.is_set_once && limits.calls.messages.len() > BEFORE && !self.is_operator_unsure()
    }

    /// Time passes until the broker has something to do, or just not.
    fn jump(&mut self) {
        let Some(broker) = &self.broker else { return };
        let Some(due) = broker.driver.deadline() else { return };
        let due = due.as_millis().saturating_sub(self.random.below(2));
        if due.saturating_sub(self.millis()) < 2_000 {
            self.now = self.now.max(sluice_model::Timestamp::from_millis(due));
        }
    }

    fn millis(&self) -> At {
        self.now.as_millis()
    }

    fn tick(&mut self) -> u64 {
        self.limits.calls.tick()
    }

    fn connect_caller(&mut self, at: usize) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if self.limits.callers[at].session.is_none() {
            let peer = [127, 0, 3, at as u8].into();
            let session = broker.driver.open(Who { principal: Principal::Anonymous, peer });
            self.limits.callers[at].session = Some(session);
            for queue in 0..QUEUES.len() {
                let (no, settings) = (self.tick(), self.settings(queue));
                self.limits.callers[at].declare(queue, settings, no);
            }
        }
        true
    }

    fn settings(&self, queue: usize) -> QueueSettings {
        let mut settings = QueueSettings::default();
        let calls = &self.limits.calls;
        let chosen = [
            (Setting::Order, u64::from(calls.is_fifo[queue])),
            (Setting::Fairness, u64::from(!calls.is_fair[queue])),
        ];
        for (setting, value) in chosen {
            settings.set(setting, value).expect("the workload's settings are in range");
        }
        settings
    }

    pub(super) fn submit_calls(&mut self, at: usize) {
        let caller = &mut self.limits.callers[at];
        let Some(session) = caller.session else { return };
        let written = std::mem::take(&mut caller.written);
        let mut requests = std::mem::take(&mut caller.requests);
        let before = requests.len();
        self.turn(Input::Requests { session, written, requests: &mut requests });
        self.counters.operations += (before - requests.len()) as u64;
        let now = self.millis();
        let caller = &mut self.limits.callers[at];
        caller.requests = requests;
        for tag in caller.note_run(now) {
            self.ran(at, tag);
        }
    }

    /// The broker has run a request, whatever came of it.
    fn ran(&mut self, at: usize, tag: u64) {
        let (now, calls) = (self.millis(), &mut self.limits.calls);
        let Some(ask) = self.limits.callers[at].asked.get(&tag) else { return };
        let (Asked::Ack(number) | Asked::Nack(number, _)) = ask.what else { return };
        let lease = &mut calls.leases[number];
        lease.sure_until = lease.sure_until.min(now);
        if matches!(ask.what, Asked::Ack(_)) {
            let of = lease.message;
            let message = &mut calls.messages[of];
            message.acking.get_or_insert(now);
            message.acks += 1;
            calls.happened(now, What::Acked(number));
            calls.happened(now, What::Doubtful(of));
        }
    }

    pub(super) fn lose_a_caller(&mut self) {
        if self.limits.is_steady {
            return;
        }
        let at = self.random.below(CALLERS as u64) as usize;
        let Some(session) = self.limits.callers[at].session else { return };
        let by = if self.random.percent(60) { EndedBy::Client } else { EndedBy::Broker };
        self.turn(Input::Close { session, by, unsent: Vec::new() });
        let now = self.millis();
        let grace = self.config.engine.lost_grace.as_millis() as At;
        let until = if by == EndedBy::Client { now + grace } else { now };
        let calls = &mut self.limits.calls;
        let caller = &mut self.limits.callers[at];
        for lease in calls.leases.iter_mut().filter(|lease| lease.bound == Some(session)) {
            lease.sure_until = lease.sure_until.min(until);
            lease.is_lost = true;
        }
        let lost = caller.lose(|number| calls.leases[number].bound.is_none());
        let receives = lost.iter().any(|ask| matches!(ask.what, Asked::Receive { .. }));
        if receives {
            calls.blind(now, now + LEASE_MAX, false);
        }
        lost.iter().for_each(|ask| self.unanswered(ask));
    }

    /// A request was not answered, and never will be.
    fn unanswered(&mut self, ask: &Ask) {
        let calls = &mut self.limits.calls;
        match (&ask.what, ask.ran) {
            (Asked::Nack(number, back), Some(ran)) => {
                let lease = &calls.leases[*number];
                let message = &mut calls.messages[lease.message];
                let by = lease.over_at.max(ran + crate::oracle::limits::THROTTLED_MIN);
                message.ready_by = message.ready_by.map(|before| before.max(by));
                if let Back::Throttled(_, key) = back
                    && let Some(key) = key.or(message.sent.keys.first().copied())
                {
                    calls.happened(ran, What::Doubt(key));
                }
            }
            (Asked::Limit(request), Some(ran)) => self.unresolved(request.clone(), ran),
            _ => {}
        }
    }

    /// Every connection is gone with the broker, which ended now.
    pub(super) fn lose_callers(&mut self) {
        if self.workload != super::Workload::Limits {
            return;
        }
        let now = self.millis();
        self.limits.ended.get_or_insert(now);
        for at in 0..=OPERATOR {
            let calls = &self.limits.calls;
            let lost = self.limits.callers[at].lose(|number| {
                let lease = &calls.leases[number];
                !lease.is_ended
            });
            lost.iter().for_each(|ask| self.unanswered(ask));
        }
        // Nothing happens twice in the same moment, so that it has an order.
        self.now = self.now.after(std::time::Duration::from_millis(1));
    }

    /// A crash of the machine, not of the process alone.
    pub(super) fn lose_writes(&mut self) {
        self.limits.lost_writes = true;
    }

    /// The broker has started.
    pub(super) fn callers_restarted(&mut self) {
        if self.workload != super::Workload::Limits {
            return;
        }
        let now = self.millis();
        let limits = &mut self.limits;
        let poisoned = std::mem::replace(&mut limits.poisoned, self.counters.poisoned);
        let lost_writes =
            std::mem::take(&mut limits.lost_writes) || poisoned != self.counters.poisoned;
        if let Some(ended) = limits.ended.take() {
            let rules = &self.config.engine;
            let queue_lease = rules.queue.lease.as_millis() as At;
            let grace = rules.lost_grace.as_millis() as At;
            limits.calls.restarted((ended, now), lost_writes, queue_lease, grace);
            limits.calls.blind(now, now + LEASE_MAX.max(queue_lease), true);
        }
        limits.calls.happened(now, What::Started);
        if let Some((_, started)) = &mut limits.unresolved {
            started.get_or_insert(now);
        }
        limits.is_listed = false;
        self.now = self.now.after(std::time::Duration::from_millis(1));
    }

    /// Which client has that session.
    pub(super) fn caller_of(&self, session: sluice_model::SessionId) -> Option<usize> {
        self.limits.callers.iter().position(|caller| caller.session == Some(session))
    }
}
