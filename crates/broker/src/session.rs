//! A client's session as a door holds it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use sluice_model::{Command, KvRequest, Reply, Request};

use crate::access::Guard;
use crate::backend::{ClosedBy, Link};
use crate::memory::{Memory, Pressure};

/// One client's way into the broker. Dropping it ends the session as [`ClosedBy::Client`].
pub struct Session {
    link: Option<Box<dyn Link>>,
    guard: Guard,
    memory: Arc<Memory>,
}

impl Session {
    pub(crate) fn new(link: Box<dyn Link>, guard: Guard, memory: Arc<Memory>) -> Self {
        Self { link: Some(link), guard, memory }
    }

    /// Whether the client's key is gone, or no longer covers what it listens to. Nothing more is
    /// taken or given then; what remains is to [`Session::close`] it.
    pub fn is_revoked(&mut self) -> bool {
        self.guard.is_revoked()
    }

    /// Runs requests from the front and removes those that ran, in order. What is left found no
    /// room for its reply, or is a publish that the log can't take yet: submit it again after
    /// [`Session::written`] and whenever [`Session::replies`] returns. What the client may not do,
    /// and what there is no memory for, is answered by a refusal in its place.
    ///
    /// The calling thread may carry out one commit for itself and others before this returns.
    pub fn submit(&mut self, requests: &mut VecDeque<Request>) {
        if let Some(link) = self.admit(requests) {
            link.submit(requests);
        }
    }

    /// The same without a commit. If it returns true, the caller has to [`Session::lead`] soon, and
    /// lets others submit before: their requests share the commit.
    pub fn submit_unled(&mut self, requests: &mut VecDeque<Request>) -> bool {
        self.admit(requests).is_some_and(|link| link.submit_unled(requests))
    }

    /// Commits what [`Session::submit_unled`] left, unless somebody has: only then is it certain
    /// that replies come. The calling thread may carry out one commit before this returns.
    pub fn lead(&mut self) {
        if let Some(link) = &mut self.link {
            link.lead();
        }
    }

    /// Turns what may not be into refusals, and gives the link that takes the rest; none once the
    /// session is revoked.
    fn admit(&mut self, requests: &mut VecDeque<Request>) -> Option<&mut dyn Link> {
        if self.guard.is_revoked() {
            return None;
        }
        self.guard.check(requests);
        if self.memory.pressure() >= Pressure::High {
            self.refuse_publishes(requests);
        }
        match &mut self.link {
            Some(link) => Some(link.as_mut()),
            None => None,
        }
    }

    /// Says whether the client is thought to have sent more than was handed in: whoever submits
    /// then carries out no commit where another thread can.
    pub fn expect_more(&mut self, more: bool) {
        if let Some(link) = &mut self.link {
            link.expect_more(more);
        }
    }

    fn refuse_publishes(&self, requests: &mut VecDeque<Request>) {
        let adds =
            |kv: &KvRequest| matches!(kv, KvRequest::Set { .. } | KvRequest::Increment { .. });
        let publishes = requests.iter_mut().filter(|request| match &request.command {
            Command::Publish(_) | Command::PublishBatch(_) | Command::PublishBlock(_) => true,
            Command::Kv(kv) => adds(kv),
            _ => false,
        });
        for request in publishes {
            request.command = Command::Refused(Box::new(self.memory.refuse_publish()));
        }
    }

    /// Appends the replies that may leave by now, in the order of their requests.
    pub fn take_replies(&mut self, into: &mut Vec<Reply>) {
        if self.guard.is_revoked() {
            return;
        }
        if let Some(link) = &mut self.link {
            let before = into.len();
            link.take_replies(into);
            self.guard.learn(into.get(before..).unwrap_or_default());
        }
    }

    /// Waits until there are replies to take, or requests that were left may be submitted again.
    /// Cancel-safe.
    pub async fn replies(&mut self) {
        poll_fn(|context| self.poll_replies(context)).await;
    }

    /// Ready when [`Session::replies`] is.
    pub fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.link {
            Some(link) => link.poll_replies(context),
            None => Poll::Pending,
        }
    }

    /// Says that replies of this [`Reply::weight`] together have left the process.
    pub fn written(&mut self, weight: usize) {
        if let Some(link) = &mut self.link {
            link.written(weight);
        }
    }

    /// Ends the session and says whose end of the connection went away.
    pub fn close(mut self, by: ClosedBy) {
        if let Some(link) = self.link.take() {
            link.close(by);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.close(ClosedBy::Client);
        }
    }
}
