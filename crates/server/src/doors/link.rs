//! The broker's session of a connection, made with its first request.

use std::cell::Cell;
use std::task::{Context, Poll};

use sluice_broker::{ClosedBy, Session};
use sluice_model::Reply;

use super::{Desk, Ended, Output, Shared, Visitor};

/// A read that brought so much is taken for the beginning of more.
const MORE_FOLLOWS: usize = 64 << 10;
/// Replies that a worker keeps room for.
const REPLIES_MAX: usize = 1_024;

thread_local! {
    /// Room for replies on their way from the broker to a session. No connection holds any while it
    /// waits, so all that a worker serves share it: grown anew for each batch it would be a good
    /// part of what the batch costs, most of it pages that the kernel has to clear.
    static REPLIES: Cell<Vec<Reply>> = const { Cell::new(Vec::new()) };
}

/// The broker's session, which ends as ours unless it is known that the client left: after a panic
/// or an abort nothing is counted against its leases.
pub(crate) struct Link {
    /// On the heap: who has asked for nothing yet needs no room for it.
    session: Option<Box<Session>>,
    /// Whose end of the connection went away.
    by: ClosedBy,
    /// Weight of replies that have left, of which the broker hears with the next requests.
    untold: usize,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { session: None, by: ClosedBy::Broker, untold: 0 }
    }

    /// Whether the client's key is gone, or no longer covers what it listens to.
    pub(crate) fn is_revoked(&mut self) -> bool {
        self.session.as_mut().is_some_and(|session| session.is_revoked())
    }

    /// Runs the requests on a desk from the front and removes those that ran. May carry out a commit
    /// on this thread.
    pub(crate) fn submit(&mut self, desk: &mut Desk, visitor: &Visitor, shared: &Shared) {
        let session = self.session(visitor, shared);
        session.expect_more(desk.last_read >= MORE_FOLLOWS);
        session.submit(&mut desk.requests);
    }

    /// The same, but a commit is left to [`Link::lead`] where more is not to follow. Says whether it
    /// is; whoever is ready meanwhile shares it.
    pub(crate) fn submit_unled(
        &mut self,
        desk: &mut Desk,
        visitor: &Visitor,
        shared: &Shared,
    ) -> bool {
        if desk.last_read >= MORE_FOLLOWS {
            self.submit(desk, visitor, shared);
            return false;
        }
        self.session(visitor, shared).submit_unled(&mut desk.requests)
    }

    /// Commits what [`Link::submit_unled`] left, unless somebody has.
    pub(crate) fn lead(&mut self) {
        if let Some(session) = &mut self.session {
            session.lead();
        }
    }

    /// The session, which is told with these requests what room there is.
    fn session(&mut self, visitor: &Visitor, shared: &Shared) -> &mut Session {
        self.untold = 0;
        self.session.get_or_insert_with(|| Box::new(shared.broker.open(visitor.client())))
    }

    /// Hands the replies that may leave to `write`, if there are any, and returns how many there were.
    pub(crate) fn collect(&mut self, write: impl FnOnce(&mut Vec<Reply>)) -> usize {
        let Some(session) = &mut self.session else { return 0 };
        let mut replies = REPLIES.take();
        session.take_replies(&mut replies);
        let count = replies.len();
        if count > 0 {
            write(&mut replies);
        }
        replies.clear();
        replies.shrink_to(REPLIES_MAX);
        REPLIES.set(replies);
        count
    }

    /// Tells the broker which replies have left, and says whether there were any.
    pub(crate) fn note_sent(&mut self, output: &mut Output) -> bool {
        let weight = output.take_sent_weight();
        if let Some(session) = &mut self.session
            && weight > 0
        {
            session.written(weight);
            self.untold += weight;
        }
        weight > 0
    }

    /// Whether the broker hears with the next requests of room for what waits there.
    pub(crate) const fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// Ready when there are replies to take, or requests that were left may be submitted again.
    pub(crate) fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.session {
            Some(session) => session.poll_replies(context),
            None => Poll::Pending,
        }
    }

    /// Ends the session as the connection ended.
    pub(crate) fn close(mut self, ended: Ended) {
        self.by = ended.by();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(self.by);
        }
    }
}
