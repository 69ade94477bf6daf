//! Moments at which all is quiet: nothing may wait then that nothing is in the way of, and what the
//! broker says of why and until when things wait must be so.

use std::time::Duration;

use sluice_broker::local::Input;
use sluice_model::{Explained, Explanation, Timestamp};
use sluice_wal::Faults;

use super::{CALLERS, OPERATOR};
use crate::caller::Asked;
use crate::oracle::limits::{At, QUEUES};
use crate::world::World;

/// Rounds after which the broker has done all that is due.
const ROUNDS: u32 = 400;
/// The longest that a probe waits for a message.
const AHEAD_MAX: At = 2_000;

impl World {
    /// Lets the broker do all that is due now. Gives whether it is quiet.
    pub(super) fn quieten(&mut self) -> Result<bool, String> {
        let faults = self.faults;
        self.set_faults(Faults::default());
        let mut is_quiet = false;
        for _ in 0..ROUNDS {
            if self.broker.is_none() || self.disk.is_dead() {
                break;
            }
            for at in 0..=OPERATOR {
                if !self.limits.callers[at].requests.is_empty()
                    || self.limits.callers[at].written > 0
                {
                    self.submit_calls(at);
                }
            }
            self.turn(Input::Tick);
            self.commit();
            self.collect()?;
            if self.limits.callers.iter().any(|caller| !caller.requests.is_empty()) {
                self.keep_house_a_bit();
            }
            is_quiet = self.is_quiet();
            if is_quiet {
                let now = self.millis();
                self.limits.calls.is_quiet(now);
                break;
            }
        }
        self.set_faults(faults);
        Ok(is_quiet && !self.disk.is_dead())
    }

    fn is_quiet(&self) -> bool {
        let Some(broker) = &self.broker else { return false };
        let is_due = broker.driver.deadline().is_some_and(|due| due <= self.now);
        let waits = self.limits.callers.iter().any(|caller| !caller.requests.is_empty());
        !is_due && !waits && !broker.driver.is_committing() && !broker.driver.has_work(self.now)
    }

    /// Looks at what waits, asks why, and goes to the moment at which something is to come.
    pub(super) fn probe(&mut self) -> Result<(), String> {
        if self.hog.is_some() || self.is_operator_unsure() || !self.quieten()? {
            return Ok(());
        }
        if self.is_operator_unsure() {
            return Ok(());
        }
        self.counters.limit_probes += 1;
        self.check_waits()?;
        self.ask_why()?;
        if !self.ask_when()? {
            return Ok(());
        }
        if let Some(due) = self.next_due()? {
            self.now = self.now.max(Timestamp::from_millis(due));
            if self.quieten()? && !self.is_operator_unsure() {
                self.check_waits()?;
            }
        }
        Ok(())
    }

    /// Holds everything so far against what is allowed, and whether anything waits in vain.
    pub(super) fn check_waits(&mut self) -> Result<(), String> {
        let now = self.millis();
        let calls = &self.limits.calls;
        let state = calls.replay(false)?;
        if self.limits.calls.is_tight {
            return Ok(());
        }
        for message in calls.surely_ready(&state, now) {
            self.counters.limit_waits += 1;
            let sent = &calls.messages[message].sent;
            if self.is_wanted(sent.queue) && state.waits_in_vain(message, now) {
                return Err(format!("{sent:?}, message {message}, waits in vain at {now}"));
            }
        }
        Ok(())
    }

    /// Whether a receive waits for messages of a queue.
    fn is_wanted(&self, queue: usize) -> bool {
        let now = self.millis();
        let mut asked = self.limits.callers.iter().flat_map(|caller| caller.asked.values());
        asked.any(|ask| match ask.what {
            Asked::Receive { queue: of, until: Some(until), .. } => {
                of == queue && until > now && ask.ran.is_some()
            }
            _ => false,
        })
    }

    /// Asks why some message waits.
    fn ask_why(&mut self) -> Result<(), String> {
        let calls = &self.limits.calls;
        let known = |at: &usize| calls.messages[*at].id.is_some() && !calls.messages[*at].is_over;
        let known: Vec<usize> = (0..calls.messages.len()).filter(known).collect();
        if known.is_empty() || !self.connect_caller(OPERATOR) {
            return Ok(());
        }
        for _ in 0..3 {
            let message = known[self.random.below(known.len() as u64) as usize];
            let (no, its) = (self.tick(), &self.limits.calls.messages[message]);
            let (queue, Some(id)) = (its.sent.queue, its.id) else { continue };
            self.limits.callers[OPERATOR].why(queue, message, Explained::Message(id), no);
        }
        self.submit_calls(OPERATOR);
        self.quieten().map(drop)
    }

    /// Holds the reasons that the broker tells against those there are.
    pub(super) fn compare_reasons(
        &mut self,
        message: usize,
        told: &[Explanation],
    ) -> Result<(), String> {
        let now = self.millis();
        let calls = &self.limits.calls;
        let state = calls.replay(false)?;
        let is_ready = calls.surely_ready(&state, now).contains(&message);
        if self.limits.calls.is_tight || self.is_operator_unsure_but_for_why() {
            return Ok(());
        }
        let is_leased = told.iter().any(|it| matches!(it, Explanation::Leased { .. }));
        if !is_ready {
            return Ok(());
        }
        self.counters.limit_explained += 1;
        let its = &calls.messages[message];
        if is_leased || told.iter().any(|it| matches!(it, Explanation::Delayed { .. })) {
            return Err(format!("{its:?} is ready at {now}, told {told:?}"));
        }
        let is_alone = told.iter().any(|it| matches!(it, Explanation::NoConsumer));
        if is_alone == self.is_wanted(its.sent.queue) {
            return Err(format!("at {now} {its:?} was told {told:?}"));
        }
        state.compare_reasons(message, told, now)
    }

    fn is_operator_unsure_but_for_why(&self) -> bool {
        let asked = self.limits.callers[OPERATOR].asked.values();
        let mut others = asked.filter(|ask| !matches!(ask.what, Asked::Why(_)));
        others.next().is_some() || self.limits.unresolved.is_some() || !self.limits.is_listed
    }

    /// Asks for a message of each queue without waiting: who gets none is told when there will be
    /// one. Gives whether all was quiet.
    fn ask_when(&mut self) -> Result<bool, String> {
        for queue in 0..QUEUES.len() {
            let at = self.random.below(CALLERS as u64) as usize;
            if !self.connect_caller(at) || !self.quieten()? {
                return Ok(false);
            }
            let no = self.tick();
            self.limits.next_told = None;
            self.limits.callers[at].receive(queue, 8, 300, false, None, no);
            self.submit_calls(at);
            if !self.quieten()? || self.is_operator_unsure() {
                return Ok(false);
            }
            if let Some((of, next)) = self.limits.next_told.take()
                && of == queue
                && !self.limits.calls.is_tight
            {
                self.compare_next(queue, next)?;
            }
        }
        Ok(true)
    }

    fn compare_next(&mut self, queue: usize, next: Option<At>) -> Result<(), String> {
        let now = self.millis();
        let calls = &self.limits.calls;
        let state = calls.replay(false)?;
        for message in calls.surely_ready(&state, now) {
            let sent = &calls.messages[message].sent;
            let Some(at) = state.eligible_at(message, now) else { continue };
            if sent.queue != queue {
                continue;
            }
            self.counters.limit_next += 1;
            if at <= now || next.is_none_or(|next| next > at || next <= now) {
                return Err(format!(
                    "{sent:?}, message {message}, may go at {at}, a receive at {now} was told {next:?}"
                ));
            }
        }
        Ok(())
    }

    /// The first moment at which a message that somebody waits for may go. Who sleeps until the
    /// broker says must not sleep longer.
    fn next_due(&mut self) -> Result<Option<At>, String> {
        let now = self.millis();
        let calls = &self.limits.calls;
        let state = calls.replay(false)?;
        let ready = calls.surely_ready(&state, now);
        let wanted = ready.into_iter().filter(|it| self.is_wanted(calls.messages[*it].sent.queue));
        let first = wanted.filter_map(|message| state.eligible_at(message, now)).min();
        let Some(first) = first.filter(|at| *at < now + AHEAD_MAX && !self.limits.calls.is_tight)
        else {
            return Ok(None);
        };
        let Some(broker) = &self.broker else { return Ok(None) };
        let deadline = broker.driver.deadline().map(|due| due.as_millis());
        match deadline.is_some_and(|deadline| deadline <= first) {
            true => Ok(Some(first)),
            false => Err(format!("at {now} a turn is due at {deadline:?}, a message at {first}")),
        }
    }

    /// Time goes on to whatever is due next, as it does for a broker that sleeps until then.
    pub(super) fn sleep(&mut self) -> Result<(), String> {
        let Some(broker) = &self.broker else { return Err("the broker is gone".into()) };
        let due = broker.driver.deadline().ok_or("messages wait, and nothing is due")?;
        self.now = self.now.after(Duration::from_millis(1)).max(due);
        Ok(())
    }
}
