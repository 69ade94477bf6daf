//! Queues made, changed and deleted; single messages and many of them looked after.

use sluice_model::{
    Answer, Code, Command, DeadReason, MessageId, Purge, QueueNo, QueueRequest, QueueSettings,
    Redrive, Setting, State,
};

use super::state::What;
use super::{Job, World, rules};
use crate::rig::{Rig, ms, queue};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl World {
    fn settings(&mut self) -> QueueSettings {
        let mut settings = QueueSettings::default();
        let all: [(Setting, &[u64]); 13] = [
            (Setting::Durability, &[0, 0, 1, 2]),
            (Setting::Overflow, &[0, 1, 2]),
            (Setting::MaxMessages, &[3, 6, 12, 30]),
            (Setting::MaxFailures, &[0, 1, 2, 4]),
            (Setting::MaxReleases, &[1, 2, 5]),
            (Setting::TtlMs, &[0, 0, 2_000, 6_000]),
            (Setting::OnExpire, &[0, 1]),
            (Setting::LeaseMs, &[1_000, 2_000, 5_000]),
            (Setting::BackoffMinMs, &[50, 500]),
            (Setting::DeadTtlMs, &[0, 1_500, 9_000]),
            (Setting::DeadMax, &[0, 2, 5, 50]),
            (Setting::DedupeWindowMs, &[1_000, 4_000, 60_000]),
            (Setting::DeadMaxBytes, &[0, 150, 100_000, 100_000]),
        ];
        for (setting, values) in all {
            if self.dice.one_in(3) {
                settings.set(setting, self.dice.pick(values).unwrap()).unwrap();
            }
        }
        settings
    }

    pub(super) fn declare(&mut self) {
        self.end_overdue_waits();
        let name = self.dice.pick(&NAMES).unwrap();
        let known = self.live.queues.iter().find(|(_, queue)| queue.name == name);
        let known = known.map(|(no, queue)| (*no, queue.settings.clone(), queue.rules.clone()));
        let (settings, update) = (self.settings(), self.dice.one_in(2));
        let session = self.session();
        let before = self.rig.tape.last();
        let request =
            QueueRequest::Declare { name: queue(name), settings: settings.clone(), update };
        let answer = self.rig.queue(session, request);
        match known {
            None => {
                assert_eq!(answer, Answer::Declared { created: true });
                let no = self.rig.queue_made(before);
                let rules = rules(&self.rig.config.queue, &settings);
                self.emit(no, 0, What::Declared(name.to_owned(), settings, rules));
            }
            Some((no, mut all, was)) => {
                let differs = settings.iter().any(|(setting, to)| was.value(setting) != to);
                match answer {
                    Answer::Differs(_) => assert!(differs && !update),
                    Answer::Declared { created: false } if !differs => {}
                    Answer::Declared { created: false } => {
                        assert!(update);
                        all.extend(&settings);
                        let rules = rules(&self.rig.config.queue, &all);
                        let fewer = rules.max_failures > 0
                            && (was.max_failures == 0 || rules.max_failures < was.max_failures);
                        self.emit(no, 0, What::Configured(all, rules));
                        if fewer {
                            self.jobs.push(Job::Recheck(no));
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        self.settle(before);
    }

    pub(super) fn delete(&mut self) {
        let Some(no) = self.a_queue() else { return };
        let (session, force) = (self.session(), self.dice.one_in(2));
        let (name, leased) = (queue(&self.queue(no).name), self.queue(no).leased());
        let before = self.rig.tape.last();
        let present = self.queue(no).messages.len() as u64;
        let tag = self.rig.tag + 1;
        let request = QueueRequest::Delete { name, force };
        assert_eq!(
            self.rig.run(session, Command::Queue(Box::new(request))),
            sluice_engine::Ran::Done
        );
        if leased > 0 && !force {
            assert_eq!(self.answer_to(session, tag), Err(Code::Conflict));
        } else {
            let waiting = std::mem::take(&mut self.parked);
            let (theirs, others): (Vec<_>, _) = waiting.into_iter().partition(|p| p.queue == no);
            self.parked = others;
            for parked in theirs {
                let told = self.answer_to(parked.session, parked.tag);
                assert!(matches!(told, Ok(Answer::Empty { .. })), "{parked:?}: {told:?}");
            }
            let told = self.answer_to(session, tag);
            assert_eq!(told, Ok(Answer::Removed { messages: present }));
            self.emit(no, 0, What::Ended);
        }
        self.settle(before);
    }

    /// A message of a queue, by preference one that is there.
    fn a_message(&mut self, no: QueueNo) -> Option<(MessageId, Option<u64>)> {
        let messages = self.queue(no).messages.values();
        let here: Vec<_> = messages.map(|m| (m.id, Some(m.seq))).collect();
        if self.dice.one_in(10) {
            let gone = self.dice.pick(&self.given)?.id;
            return Some((gone, here.iter().find(|(id, _)| *id == gone).and_then(|(_, s)| *s)));
        }
        self.dice.pick(&here)
    }

    /// T7, T21.
    pub(super) fn one_message(&mut self) {
        let Some(no) = self.a_queue() else { return };
        let Some((id, seq)) = self.a_message(no) else { return };
        let name = queue(&self.queue(no).name);
        let message = seq.map(|seq| self.queue(no).messages[&seq].clone());
        let state = message.as_ref().map(|message| message.state());
        let (session, before, now) = (self.session(), self.rig.tape.last(), self.rig.now);
        let force = self.dice.one_in(2);
        let at = now.after(ms(self.dice.below(3_000)));
        let which = self.dice.below(4);
        let request = match which {
            0 => QueueRequest::Remove { name, id, force },
            1 => QueueRequest::Cancel { name, id },
            _ => QueueRequest::Reschedule { name, id, at },
        };
        let answer = super::look::result(self.rig.queue(session, request));
        let expected = match (which, state) {
            (_, None) => Err(Code::NotFound),
            (0, Some(State::Leased)) if !force => Err(Code::Conflict),
            (0, _) | (1, Some(State::Delayed)) => Ok(Answer::Removed { messages: 1 }),
            (2.., Some(State::Delayed)) if message.is_some_and(|m| m.has_expired(at)) => {
                Err(Code::Invalid)
            }
            (2.., Some(State::Delayed)) => {
                Ok(Answer::Rescheduled { at: Some(at).filter(|at| *at > now) })
            }
            _ => Err(Code::Conflict),
        };
        assert_eq!(answer, expected, "{which} of {id:?} that is {state:?}");
        if let (Ok(answer), Some(seq)) = (answer, seq) {
            self.hit(if which == 0 { 21 } else { 7 });
            let what = match answer {
                Answer::Rescheduled { at } => What::Rescheduled(now, at),
                _ => What::Removed(sluice_engine::Removal::Deleted),
            };
            self.emit(no, seq, what);
        }
        self.settle(before);
    }

    pub(super) fn purge(&mut self) {
        self.end_overdue_waits();
        let Some(no) = self.a_queue() else { return };
        let what = Purge {
            waiting: self.dice.one_in(2),
            leased: self.dice.one_in(4),
            dead: self.dice.one_in(2),
        };
        let session = self.session();
        let request = QueueRequest::Purge { name: queue(&self.queue(no).name), what };
        let _ = self.rig.run(session, Command::Queue(Box::new(request)));
        self.jobs.push(Job::Purge(no, what, session));
    }

    pub(super) fn redrive(&mut self) {
        self.end_overdue_waits();
        let Some(no) = self.a_queue() else { return };
        let session = self.session();
        let dead = self.queue(no).dead(false).into_iter().chain(self.queue(no).dead(true));
        let ids: Vec<_> = dead.map(|(_, seq, _)| self.queue(no).messages[&seq].id).collect();
        let some = !ids.is_empty() && self.dice.one_in(3);
        let reasons = [DeadReason::MaxFailures, DeadReason::Overflow, DeadReason::Rejected];
        let reason = if self.dice.one_in(2) { self.dice.pick(&reasons) } else { None };
        let ids = if some { ids.into_iter().rev().step_by(2).collect() } else { Vec::new() };
        let which = match some {
            true => Redrive::Ids(ids.clone()),
            false => Redrive::Matching { reason, age_min: None },
        };
        let name = queue(&self.queue(no).name);
        let request = QueueRequest::Redrive { name, which, per_second: None };
        let _ = self.rig.run(session, Command::Queue(Box::new(request)));
        self.jobs.push(Job::Redrive(no, ids, reason.filter(|_| !some), session));
    }

    /// Copies a body that is on the disk to the end of the log.
    pub(super) fn relocate(&mut self) {
        let synced = self.rig.progress.synced;
        let record = self.dice.between(1, synced);
        self.rig.relocate(record);
    }
}

impl Rig {
    /// The queue that was made since record `before`.
    pub(super) fn queue_made(&self, before: u64) -> QueueNo {
        let made = (before + 1..=self.tape.last()).find_map(|n| match self.tape.record(n) {
            sluice_engine::Record::Declared { queue, .. } => Some(queue),
            _ => None,
        });
        made.expect("a queue was made")
    }
}
