//! Who commits: one at a time, and nothing that was taken in waits for nobody.
//!
//! Whoever brings something takes the core, and leads a commit itself if nobody leads: a lone
//! request crosses no thread. What arrives during the commit shares the next one, which the
//! committer thread leads, so that a busy log is driven by one thread and nobody who waits for a
//! reply runs the commits of others.
//!
//! ```text
//!            nobody leads            commit done, more waits
//!   idle -----------------> leading ------------------------> handed over (committer thread)
//!    ^                         |                                        |
//!    '------- nothing waits ---'<---------------- nothing waits --------'
//! ```
//!
//! The committer also wakes for the core's next deadline, which whoever gives back the lead has
//! to tell it if it came nearer. Whoever stops it takes the lead itself in the end, so that nothing
//! is left. The tests run this very code with its threads in every order.

use std::ops::DerefMut;

use sluice_model::Timestamp;

/// Commits of others that a leader carries out after its own before it wakes the committer for
/// them: to hand over costs more than a write that no sync follows.
const CHEAP_MAX: u32 = 4;

/// Where the lead is. It lies in the core, under its lock.
#[derive(Debug, Default)]
pub(crate) struct Lead {
    /// Somebody leads: takes commits, runs them and feeds their outcome back.
    led: bool,
    /// The committer is to lead.
    handed_over: bool,
    /// When the committer wakes by itself.
    wakes_at: Option<Timestamp>,
    stopping: bool,
}

impl Lead {
    /// Tells the committer to end. It has to be woken.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether somebody leads, and will commit what comes in meanwhile.
    pub(crate) fn is_led(&self) -> bool {
        self.led
    }

    /// Whether it is over.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }
}

/// What has to be committed, and does by itself what is due.
pub(crate) trait Core {
    /// Where the lead is.
    fn lead(&mut self) -> &mut Lead;
    /// Whether there is something to commit.
    fn has_work(&self, now: Timestamp) -> bool;
    /// Whether what there is to commit waits for no disk.
    fn next_is_cheap(&self, now: Timestamp) -> bool;
    /// When a tick is due though nothing came in.
    fn deadline(&self) -> Option<Timestamp>;
    /// Does what is due.
    fn tick(&mut self, now: Timestamp);
}

/// A core behind its lock, with a committer that waits beside it.
pub(crate) trait Led {
    /// What is behind the lock.
    type Core: Core;
    /// The core with its lock held.
    type Guard<'a>: DerefMut<Target = Self::Core>
    where
        Self: 'a;

    /// The time.
    fn now(&self) -> Timestamp;
    /// Runs one commit without the lock, and the turn after it. False if there was none.
    fn commit_once<'a>(&'a self, core: &mut Self::Guard<'a>) -> bool;
    /// Ends the committer's wait, or, once it has ended, that of whoever takes over.
    fn wake_committer(&self);
    /// That wait, without the lock, no longer than until then.
    fn wait<'a>(&'a self, core: &mut Self::Guard<'a>, until: Option<Timestamp>);

    /// Leads after a turn, unless somebody does: commits until what `more` asks for is done or
    /// nothing is left, and leaves the rest to the committer.
    fn lead<'a>(&'a self, mut core: Self::Guard<'a>, more: impl Fn(&Self::Core) -> bool) {
        if std::mem::replace(&mut core.lead().led, true) {
            return;
        }
        // A delivery that waited for a commit brings a grant, which is written in a second one.
        let mut commits = 0;
        while self.commit_once(&mut core) {
            commits += 1;
            let own = commits < 2 && more(&core);
            if !own && (commits >= CHEAP_MAX || !core.next_is_cheap(self.now())) {
                break;
            }
        }
        self.hand_over(core);
    }

    /// Has the committer lead after a turn, unless somebody does.
    fn let_lead(&self, mut core: Self::Guard<'_>) {
        if !std::mem::replace(&mut core.lead().led, true) {
            self.hand_over(core);
        }
    }

    /// Gives up the lead: to the committer, if there is something to commit.
    fn hand_over(&self, mut core: Self::Guard<'_>) {
        if core.lead().stopping {
            // The committer may have ended. Whoever stops it commits the rest.
            self.give_back(&mut core);
        } else if core.has_work(self.now()) {
            core.lead().handed_over = true;
            self.wake_committer();
        } else {
            core.lead().led = false;
            self.wake_for_deadline(&mut core);
        }
    }

    /// Takes the lead when nobody has it. Only for whoever has stopped the committer and seen it
    /// end.
    fn take_over<'a>(&'a self, core: &mut Self::Guard<'a>) {
        while core.lead().led {
            self.wait(core, None);
        }
        core.lead().led = true;
    }

    /// Gives back the lead after the committer was stopped.
    fn give_back(&self, core: &mut Self::Core) {
        core.lead().led = false;
        self.wake_committer();
    }

    /// Sees to it that the committer wakes in time for the next deadline.
    fn wake_for_deadline(&self, core: &mut Self::Core) {
        let sooner = match (core.deadline(), core.lead().wakes_at) {
            (Some(next), Some(wakes_at)) => next < wakes_at,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if sooner {
            self.wake_committer();
        }
    }

    /// The committer: leads when the lead was handed over, and when something is due.
    fn run_committer<'a>(&'a self, mut core: Self::Guard<'a>) {
        while !core.lead().stopping || core.lead().handed_over {
            if core.lead().handed_over {
                while self.commit_once(&mut core) {}
                core.lead().handed_over = false;
                core.lead().led = false;
                // It may have been told to end meanwhile.
                continue;
            }
            let now = self.now();
            match core.deadline() {
                Some(deadline) if deadline <= now => {
                    core.tick(now);
                    if !core.lead().led {
                        core.lead().led = true;
                        core.lead().handed_over = true;
                        continue;
                    }
                    // Whoever leads now looks at the deadline again when it is done.
                    core.lead().wakes_at = None;
                    self.wait(&mut core, None);
                }
                Some(deadline) => {
                    core.lead().wakes_at = Some(deadline);
                    self.wait(&mut core, Some(deadline));
                }
                None => {
                    core.lead().wakes_at = None;
                    self.wait(&mut core, None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
