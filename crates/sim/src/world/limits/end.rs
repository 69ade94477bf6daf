//! The end of a schedule under limits: with consumers who do their work and nobody in the way, all
//! is handed out, and the broker wakes for it by itself.

use sluice_model::{LimitRequest, Pausable};

use super::ask::KEYS;
use super::{CALLERS, OPERATOR};
use crate::caller::queue;
use crate::oracle::limits::{At, QUEUES};
use crate::world::World;

/// Rounds after which everything has come.
const ROUNDS: u32 = 20_000;
/// Receives of the end wait longer than it takes.
const WAIT: At = 3_600_000;

impl World {
    pub(in crate::world) fn end_calls(&mut self) -> Result<(), String> {
        self.set_faults(sluice_wal::Faults::default());
        self.hog = None;
        self.open_all()?;
        let mut rounds = 0;
        while self.queued() > 0 {
            rounds += 1;
            if rounds > ROUNDS {
                return Err(format!("the end does not come, {} wait", self.queued()));
            }
            self.now = self.now.after(std::time::Duration::from_millis(1));
            self.ack_calls();
            self.receive_all()?;
            if !self.quieten()? {
                return Err("it does not get quiet".into());
            }
            if self.random.percent(25) {
                self.check_waits()?;
            }
            let holds = self.limits.callers.iter().any(|caller| !caller.held.is_empty());
            if !holds && self.queued() > 0 {
                self.sleep()?;
            }
        }
        self.check_calls()
    }

    fn queued(&self) -> u64 {
        self.broker.as_ref().map_or(0, |broker| broker.driver.stats().queued)
    }

    /// Nothing is closed or paused any more.
    fn open_all(&mut self) -> Result<(), String> {
        while self.is_operator_unsure() {
            self.operate_to_the_end()?;
        }
        let closed = self.limits.set.values().filter(|limit| limit.terms().concurrency == Some(0));
        let closed: Vec<LimitRequest> = closed
            .map(|limit| LimitRequest::Delete {
                name: limit.name().into(),
                matches: Some(limit.matches().clone()),
            })
            .collect();
        closed.into_iter().try_for_each(|request| self.order(request))?;
        for at in 0..QUEUES.len() {
            self.order(LimitRequest::Resume { what: Pausable::Queue(queue(at)) })?;
            for key in KEYS {
                let what = Pausable::Key { queue: queue(at), key: key.into() };
                self.order(LimitRequest::Resume { what })?;
            }
        }
        Ok(())
    }

    fn order(&mut self, request: LimitRequest) -> Result<(), String> {
        let no = self.tick();
        self.limits.callers[OPERATOR].limit(request, no);
        self.operate_to_the_end()
    }

    fn operate_to_the_end(&mut self) -> Result<(), String> {
        self.operate();
        for _ in 0..100 {
            if self.quieten()? && self.limits.callers[OPERATOR].asked.is_empty() {
                return Ok(());
            }
            self.keep_house_a_bit();
            self.step += 1;
            self.now = self.now.after(std::time::Duration::from_millis(1));
        }
        Err("the operator is not answered".into())
    }

    /// Has somebody wait for messages of each queue.
    fn receive_all(&mut self) -> Result<(), String> {
        for at in 0..CALLERS {
            if !self.connect_caller(at) {
                return Err("the broker is gone without a crash".into());
            }
            if self.limits.callers[at].asked.values().all(|ask| !ask.is_waiting()) {
                let (queue, no, now) = (at % QUEUES.len(), self.tick(), self.millis());
                let max = 1 + (at / QUEUES.len()) as u32 * 2;
                self.limits.callers[at].receive(queue, max, 400, false, Some((now, WAIT)), no);
            }
            self.submit_calls(at);
        }
        Ok(())
    }

    /// Everything that was promised has come, and all of it as it was allowed.
    fn check_calls(&mut self) -> Result<(), String> {
        if !self.quieten()? {
            return Err("it does not get quiet".into());
        }
        let calls = &self.limits.calls;
        for message in &calls.messages {
            if message.id.is_some() && !message.is_over && message.acking.is_none() {
                return Err(format!("{message:?} is missing"));
            }
        }
        let (ranked, turned, followed) = calls.replay(true)?.compared();
        self.counters.limit_ranked += ranked;
        self.counters.limit_turned += turned;
        self.counters.limit_followed += followed;
        let Some(broker) = &self.broker else { return Err("the broker is gone".into()) };
        broker.driver.check();
        self.end_run();
        Ok(())
    }
}
