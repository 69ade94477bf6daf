//! The seam between the doors and whatever keeps the messages.
//!
//! It speaks in batches of requests and replies, so that a backend may be this process's own log
//! or an engine somewhere else. Nothing here names a type of the engine or of the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use sluice_model::{
    Client, Code, LimitWaits, QueueKind, QueueName, Refusal, Reply, Request, SurveyPart, Timestamp,
};

use crate::{BackupStatus, BrokerError, RequestLimits, Stats};

/// What a backend can and cannot do; doors refuse what it can't before they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Acknowledged messages survive a crash of the process and of the machine.
    pub durable: bool,
    /// Subscriptions survive the connection that made them.
    pub durable_subscriptions: bool,
    /// Backups can be made while it serves.
    pub backups: bool,
}

/// Something that keeps messages and hands them out.
pub trait Backend: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Opens a session for a client that has shown who it is.
    fn open(&self, client: Client) -> Box<dyn Link>;

    /// What time it is: that of its messages and deadlines.
    fn now(&self) -> Timestamp;

    /// Counters and gauges as they stand. What it costs does not grow with what there is.
    fn stats(&self) -> Stats;

    /// What waits for the limits of the first `max` names, by name, and for all others together.
    fn limit_waits(&self, _max: usize) -> (Vec<LimitWaits>, LimitWaits) {
        Default::default()
    }

    /// The limits of requests that it keeps; none if it keeps none. They are in force before their
    /// setting is answered.
    fn request_limits(&self) -> Option<Arc<RequestLimits>> {
        None
    }

    /// A part of the figures of all queues of one kind, those behind `after`, in the order of their
    /// names. Who asks again with the same `after` goes on where a part without any stopped. A part
    /// keeps others from the broker for much less than a millisecond.
    fn survey(&self, _kind: QueueKind, _after: Option<&QueueName>) -> SurveyPart {
        SurveyPart::default()
    }

    /// Begins a backup, in the place that the backend was given for them and under a name that it
    /// chooses.
    ///
    /// # Errors
    /// It makes none, or another is being made.
    fn backup(&self) -> Result<BackupStatus, Refusal> {
        Err(Refusal::new(Code::Invalid, "this broker makes no backups"))
    }

    /// How the newest backup stands.
    fn backup_status(&self) -> BackupStatus {
        BackupStatus::default()
    }

    /// Ready once the backend can serve no more, with the reason; pending until then.
    fn poll_failure(&self, context: &mut Context<'_>) -> Poll<BrokerError>;

    /// Stops: makes durable what was accepted and marks the end. Blocks the thread.
    ///
    /// # Errors
    /// Says what could not be made durable.
    fn stop(&self) -> Result<(), BrokerError>;
}

/// One client's way into a backend.
///
/// Requests take effect in the order submitted; replies come back in that order.
pub trait Link: Send {
    /// Runs requests from the front and removes those that ran. What is left found no room for
    /// its reply, or is a publish that the log can't take yet: submit it again after
    /// [`Link::written`] and whenever [`Link::poll_replies`] is ready. May block the thread for
    /// one commit.
    fn submit(&mut self, requests: &mut VecDeque<Request>);

    /// The same, but where nobody commits yet it leaves that to [`Link::lead`], which has to be
    /// called soon: until then others may add to the commit. Says whether it did.
    fn submit_unled(&mut self, requests: &mut VecDeque<Request>) -> bool {
        self.submit(requests);
        false
    }

    /// Commits what [`Link::submit_unled`] left, unless somebody has. May block the thread for one
    /// commit.
    fn lead(&mut self) {}

    /// Says whether the client is thought to have sent more than was handed in. If so, the thread
    /// that submits is better used to take that in than to wait for the disk.
    fn expect_more(&mut self, _more: bool) {}

    /// Appends the replies that may leave by now.
    fn take_replies(&mut self, into: &mut Vec<Reply>);

    /// Ready when [`Link::take_replies`] has something to give, requests that were left may be
    /// submitted again, or the backend has failed.
    fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Gives back the room of replies that have left the process, by their [`Reply::weight`].
    fn written(&mut self, weight: usize);

    /// Ends the session.
    fn close(self: Box<Self>, by: ClosedBy);
}

/// Whose end of a connection went away, which decides what is counted against its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// The client's: it left, crashed, or broke the connection.
    Client,
    /// Ours: drain, a timeout, a protocol error.
    Broker,
}
