//! Limits that the configuration owns: set when the broker starts and when it is configured anew, and
//! changed by nobody else.
//!
//! A name belongs to the configuration as a whole: everything of that name that the configuration
//! doesn't say is taken away, and so is what it said before and doesn't any more.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;

use sluice_model::{
    Answer, Client, Code, Command, Limit, LimitAnswer, LimitRequest, Principal, Refusal, Reply,
    Request,
};

use crate::backend::{ClosedBy, Link};
use crate::broker::Broker;

/// Limits of a page.
const PAGE: u16 = 1_000;

/// What became of the limits of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsOwned {
    /// So many are new or say something else.
    pub set: usize,
    /// So many were taken away.
    pub deleted: usize,
}

impl Broker {
    /// Has these limits, and no others of their names, in force from now on, and takes away those
    /// `before` that are not among them. Requests that would change a limit of one of these names
    /// are refused as `conflict`.
    ///
    /// # Errors
    /// The backend refuses one. Those before it are in force.
    pub async fn own_limits(
        &self,
        limits: &[Limit],
        before: &BTreeSet<Box<str>>,
    ) -> Result<LimitsOwned, Refusal> {
        let names: BTreeSet<Box<str>> = limits.iter().map(|limit| limit.name().into()).collect();
        self.access().own_limits(names.clone());
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        let link = self.backend().open(Client { principal: Principal::Anonymous, peer });
        let mut asking = Asking { link, replies: Vec::new() };
        let outcome = asking.settle(limits, |name| names.contains(name) || before.contains(name));
        let outcome = outcome.await;
        asking.link.close(ClosedBy::Broker);
        outcome
    }
}

/// Asks the backend past the guard, one after the other.
struct Asking {
    link: Box<dyn Link>,
    replies: Vec<Reply>,
}

impl Asking {
    async fn settle(
        &mut self,
        limits: &[Limit],
        is_owned: impl Fn(&str) -> bool,
    ) -> Result<LimitsOwned, Refusal> {
        let mut done = LimitsOwned::default();
        let there = self.all().await?;
        for limit in there.iter().filter(|limit| is_owned(limit.name())) {
            let same = |new: &&Limit| place(new) == place(limit);
            if limits.iter().find(same).is_none() {
                let (name, matches) = (limit.name().into(), Some(limit.matches().clone()));
                self.ask(LimitRequest::Delete { name, matches }).await?;
                done.deleted += 1;
            }
        }
        for limit in limits.iter().filter(|limit| !there.contains(limit)) {
            let put = self.ask(LimitRequest::Put(Box::new(limit.clone()))).await;
            put.map_err(|refusal| {
                let message = format!("limit {}: {}", limit.name(), refusal.message).into();
                Refusal { message, ..refusal }
            })?;
            done.set += 1;
        }
        Ok(done)
    }

    /// Every limit.
    async fn all(&mut self) -> Result<Vec<Limit>, Refusal> {
        let mut all: Vec<Limit> = Vec::new();
        loop {
            let after = all.last().map(|last| (last.name().into(), last.matches().clone()));
            match self.ask(LimitRequest::List { name: None, after, limit: PAGE }).await? {
                LimitAnswer::List { limits, more } => {
                    all.extend(limits);
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(unexpected()),
            }
        }
    }

    async fn ask(&mut self, request: LimitRequest) -> Result<LimitAnswer, Refusal> {
        let command = Command::Limit(Box::new(request));
        let mut requests = VecDeque::from([Request { tag: 0, command }]);
        let Reply { answer, .. } = loop {
            if !requests.is_empty() {
                self.link.submit(&mut requests);
            }
            self.link.take_replies(&mut self.replies);
            if let Some(reply) = self.replies.pop() {
                self.link.written(reply.weight());
                break reply;
            }
            poll_fn(|context| self.link.poll_replies(context)).await;
        };
        match answer {
            Answer::Limit(answer) => Ok(*answer),
            Answer::Refused(refusal) => Err(refusal),
            _ => Err(unexpected()),
        }
    }
}

fn place(limit: &Limit) -> (&str, &sluice_model::LimitMatch) {
    (limit.name(), limit.matches())
}

fn unexpected() -> Refusal {
    Refusal::new(Code::Internal, "the answer is to another kind of request")
}
