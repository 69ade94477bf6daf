//! SETTLE and EXTEND: what the client says of its deliveries, and what it is told.
//!
//! One frame is one request, or some where it names more leases than one answer has room for.

use std::time::Duration;

use bytes::BytesMut;
use sluice_model::{
    Answer, Code, Command, Confirm, LeaseId, Refusal, Reply, SettleMany, Settlement, Timestamp,
};
use sluice_protocol::binary::v2::{ExtendRef, Leases, SettleRef, SettledWriter};

use super::answers::Local;
use super::pending::Kind;
use super::session::Session;
use super::window::Run;
use crate::doors::Output;
use crate::doors::binary::common::Io;

/// Most leases of one request.
const PART_MAX: usize = 4_096;

/// A request that settles or extends.
#[derive(Debug)]
pub(super) struct Settle {
    names: Names,
    extends: bool,
    report: bool,
    /// The last one of its frame.
    last: bool,
    /// On all but the first of a frame: what became of those before.
    before: Told,
}

/// Which leases a request is about, in its order.
#[derive(Debug)]
enum Names {
    Tags(Vec<Run>),
    Tokens(Vec<LeaseId>),
}

/// What is to be told of a frame.
#[derive(Debug, Default)]
struct Told {
    refused: Vec<(Name, Code)>,
    deadline: Option<Timestamp>,
    failed: Option<Refusal>,
}

/// How a client names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Tag(u64),
    Token(LeaseId),
}

impl Session {
    pub(super) fn settle(&mut self, id: u64, frame: &SettleRef<'_>, io: &mut Io<'_>) {
        let how = frame.head.to_model().map_or(Settlement::Ack, Settlement::Nack);
        self.settle_all(id, &frame.leases, &how, frame.head.report, io);
    }

    pub(super) fn extend(&mut self, id: u64, frame: &ExtendRef<'_>, io: &mut Io<'_>) {
        let how = Settlement::Extend(Duration::from_millis(u64::from(frame.by_ms)));
        self.settle_all(id, &frame.leases, &how, frame.report, io);
    }

    fn settle_all(
        &mut self,
        id: u64,
        named: &Leases<'_>,
        how: &Settlement,
        report: bool,
        io: &mut Io<'_>,
    ) {
        let extended = match how {
            Settlement::Extend(by) => Some(self.now.after(*by)),
            Settlement::Ack | Settlement::Nack(_) => None,
        };
        let (mut leases, mut runs): (Vec<LeaseId>, _) = (named.tokens().collect(), Vec::new());
        let mut ended = Vec::new();
        let given_out = 1..self.receiving.window.next_tag();
        for range in named.ranges() {
            if !given_out.contains(&range.first) || !given_out.contains(&range.last) {
                self.give_back(&runs, extended.is_some());
                let text = format!(
                    "tags {} to {} were not all given out by this connection",
                    range.first, range.last
                );
                return self.refuse(id, Code::NotFound, text, io);
            }
            self.receiving.window.take((range.first, range.last), extended, &mut leases, &mut runs);
        }
        for range in named.ranges() {
            self.receiving.window.take_ended((range.first, range.last), &mut ended);
        }
        let lost = ended.iter().flat_map(tags).map(|tag| (Name::Tag(tag), Code::LeaseLost));
        let mut before = Told { refused: lost.collect(), ..Told::default() };
        let report = report || !before.refused.is_empty();
        if leases.is_empty() {
            if report {
                let (tokens, refused) = (named.are_tokens(), before.refused);
                self.answer(id, Local::Settled { tokens, refused }, io);
            }
            return;
        }
        let part_max = self.part_max();
        let parts = leases.len().div_ceil(part_max);
        let silent = !report && parts == 1;
        for part in 1..=parts {
            let after = leases.split_off(part_max.min(leases.len()));
            let these = std::mem::replace(&mut leases, after);
            let names = if named.are_tokens() {
                Names::Tokens(these.clone())
            } else {
                Names::Tags(split_front(&mut runs, these.len()))
            };
            let (extends, last, before) =
                (extended.is_some(), part == parts, std::mem::take(&mut before));
            self.receiving.settles.push_back(Settle { names, extends, report, last, before });
            let confirm = if silent { Confirm::Refusal } else { Confirm::Always };
            let many = SettleMany { leases: these, how: how.clone(), confirm };
            let kind = Kind::Settle { silent };
            self.push(io.requests, id, kind, Command::SettleMany(Box::new(many)));
        }
    }

    /// So many leases that the answer finds room beside others.
    fn part_max(&self) -> usize {
        let each = Reply::settled_weight(1) - Reply::settled_weight(0);
        (self.limits.out_max / 2 / each).saturating_sub(Reply::WEIGHT_MIN / each).clamp(1, PART_MAX)
    }

    /// Those that were taken to be settled are held as before.
    fn give_back(&mut self, runs: &[Run], extends: bool) {
        if !extends {
            runs.iter().flat_map(tags).for_each(|tag| self.receiving.window.unsettled(tag));
        }
    }

    /// The next request that settles was silent: it succeeded.
    pub(super) fn settled_silently(&mut self) {
        if let Some(Settle { names: Names::Tags(runs), extends: false, .. }) =
            self.receiving.settles.pop_front()
        {
            runs.iter().for_each(|run| self.receiving.window.settled(*run));
        }
    }

    /// The next request that settles was answered.
    pub(super) fn settled(&mut self, id: u64, answer: Answer, output: &mut Output) {
        let Some(settle) = self.receiving.settles.pop_front() else { return };
        let Settle { names, extends, report, last, before: mut told } = settle;
        match answer {
            Answer::SettledMany { refused, deadline } => {
                self.note_refused(&names, extends, refused, &mut told);
                told.deadline = match (told.deadline, deadline) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            Answer::Refused(refusal) => {
                if let Names::Tags(runs) = &names {
                    self.give_back(runs, extends);
                }
                told.failed = Some(refusal);
            }
            _ => debug_assert!(false, "an answer to another kind of request"),
        }
        if let Names::Tags(runs) = &names
            && !extends
        {
            runs.iter().for_each(|run| self.receiving.window.settled(*run));
        }
        if !last {
            if let Some(next) = self.receiving.settles.front_mut() {
                next.before = told;
            }
        } else if let Some(refusal) = told.failed {
            self.write_error(id, &refusal, output);
        } else if report || !told.refused.is_empty() {
            self.tally.refusals += told.refused.len() as u32;
            let (tokens, length_max) = (matches!(names, Names::Tokens(_)), self.length_max);
            let Told { refused, deadline, .. } = told;
            self.write(output, |out| put_settled(out, id, tokens, deadline, &refused, length_max));
        }
    }

    fn note_refused(
        &mut self,
        names: &Names,
        extends: bool,
        refused: Vec<(u32, Refusal)>,
        told: &mut Told,
    ) {
        for (at, refusal) in refused {
            let Some(name) = names.at(at) else { continue };
            told.refused.push((name, refusal.code));
            let Name::Tag(tag) = name else { continue };
            let is_lost = matches!(refusal.code, Code::LeaseLost | Code::NotFound | Code::Gone);
            match (extends, is_lost) {
                (true, true) => self.receiving.window.lost(tag),
                (false, false) => self.receiving.window.unsettled(tag),
                _ => {}
            }
        }
    }
}

impl Names {
    fn at(&self, at: u32) -> Option<Name> {
        match self {
            Self::Tokens(tokens) => tokens.get(at as usize).copied().map(Name::Token),
            Self::Tags(runs) => {
                let mut left = at;
                for run in runs {
                    if left < run.count {
                        return Some(Name::Tag(run.first + u64::from(left)));
                    }
                    left -= run.count;
                }
                None
            }
        }
    }
}

fn tags(run: &Run) -> impl Iterator<Item = u64> + use<> {
    run.first..run.first + u64::from(run.count)
}

/// Takes so many tags off the front.
fn split_front(runs: &mut Vec<Run>, count: usize) -> Vec<Run> {
    let mut left = u32::try_from(count).unwrap_or(u32::MAX);
    let mut whole = 0;
    while let Some(run) = runs.get(whole).filter(|run| run.count <= left) {
        left -= run.count;
        whole += 1;
    }
    let rest = runs.split_off(whole);
    let mut front = std::mem::replace(runs, rest);
    if let Some(run) = runs.first_mut().filter(|_| left > 0) {
        front.push(Run { first: run.first, count: left });
        *run = Run { first: run.first + u64::from(left), count: run.count - left };
    }
    front
}

/// Appends what became of the leases of a frame.
pub(super) fn put_settled(
    out: &mut BytesMut,
    id: u64,
    tokens: bool,
    deadline: Option<Timestamp>,
    refused: &[(Name, Code)],
    length_max: usize,
) {
    let deadline = deadline.unwrap_or(Timestamp::EPOCH);
    let mut left = refused;
    loop {
        let begun = SettledWriter::begin(out, id, tokens, deadline, length_max);
        let Ok(mut frame) = begun else { return };
        while let Some(((name, code), rest)) = left.split_first() {
            let fits = match name {
                Name::Tag(tag) => frame.push_tag(*tag, *code),
                Name::Token(token) => frame.push_token(token, *code),
            };
            if !fits {
                break;
            }
            left = rest;
        }
        frame.finish(!left.is_empty());
        if left.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_parted_by_their_tags() {
        let run = |first, count| Run { first, count };
        let all = [run(1, 3), run(9, 1), run(20, 5)];
        for count in 0..=9 {
            let mut rest = all.to_vec();
            let front = split_front(&mut rest, count);
            assert_eq!(front.iter().flat_map(tags).count(), count);
            let both: Vec<u64> = front.iter().chain(&rest).flat_map(tags).collect();
            assert_eq!(both, [1, 2, 3, 9, 20, 21, 22, 23, 24]);
            for (at, tag) in (0..).zip(&both) {
                let names = Names::Tags(all.to_vec());
                assert_eq!(names.at(at), Some(Name::Tag(*tag)));
                assert_eq!(names.at(9), None);
            }
        }
    }
}
