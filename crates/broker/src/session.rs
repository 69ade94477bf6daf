//! A client's session as a door holds it.

use std::collections::VecDeque;
use std::future::poll_fn;

use sluice_model::{Reply, Request};

use crate::backend::{ClosedBy, Link};

/// One client's way into the broker. Dropping it ends the session as [`ClosedBy::Client`].
pub struct Session {
    link: Option<Box<dyn Link>>,
}

impl Session {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        Self { link: Some(link) }
    }

    /// Runs requests from the front and removes those that ran, in order. What is left found no
    /// room for its reply, or is a publish that the log can't take yet: submit it again after
    /// [`Session::written`] and whenever [`Session::replies`] returns.
    ///
    /// The calling thread may carry out one commit for itself and others before this returns.
    pub fn submit(&mut self, requests: &mut VecDeque<Request>) {
        if let Some(link) = &mut self.link {
            link.submit(requests);
        }
    }

    /// Appends the replies that may leave by now, in the order of their requests.
    pub fn take_replies(&mut self, into: &mut Vec<Reply>) {
        if let Some(link) = &mut self.link {
            link.take_replies(into);
        }
    }

    /// Waits until there are replies to take, or requests that were left may be submitted again.
    /// Cancel-safe.
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
