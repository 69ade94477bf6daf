//! A client's session as a door holds it.

use std::collections::VecDeque;
use std::future::poll_fn;

use sluice_model::{Reply, Request};

use crate::access::Guard;
use crate::backend::{ClosedBy, Link};

/// One client's way into the broker. Dropping it ends the session as [`ClosedBy::Client`].
pub struct Session {
    link: Option<Box<dyn Link>>,
    guard: Guard,
}

impl Session {
    pub(crate) fn new(link: Box<dyn Link>, guard: Guard) -> Self {
        Self { link: Some(link), guard }
    }

    /// Whether the client's key is gone, or no longer covers what it listens to. Nothing more is
    /// taken or given then; what remains is to [`Session::close`] it.
    pub fn is_revoked(&mut self) -> bool {
        self.guard.is_revoked()
    }

    /// Runs requests from the front and removes those that ran, in order. What is left found no
    /// room for its reply: submit it again after [`Session::written`]. What the client may not do
    /// is answered by a refusal in its place.
    ///
    /// The calling thread may carry out one commit for itself and others before this returns.
    pub fn submit(&mut self, requests: &mut VecDeque<Request>) {
        if self.guard.is_revoked() {
            return;
        }
        self.guard.check(requests);
        if let Some(link) = &mut self.link {
            link.submit(requests);
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

    /// Waits until there are replies to take. Cancel-safe.
    pub async fn replies(&mut self) {
        match &mut self.link {
            Some(link) => poll_fn(|context| link.poll_replies(context)).await,
            None => std::future::pending().await,
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
