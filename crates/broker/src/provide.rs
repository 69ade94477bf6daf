//! Queues that the broker makes for itself, on nobody's behalf.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};

use sluice_model::{
    Answer, Client, Code, Command, Principal, QueueName, QueueRequest, QueueSettings, Refusal,
    Request,
};

use crate::Broker;
use crate::backend::ClosedBy;

/// A backend that wakes us so often without a reply has failed.
const WAKES_MAX: u32 = 64;

impl Broker {
    /// Sees that a queue is there and has these settings; others that it has stay. This is for
    /// queues that belong to a door itself: no client asks for it, so no grant is needed.
    ///
    /// # Errors
    /// There is no room for it, or the broker can serve no more.
    pub async fn provide(&self, name: QueueName, settings: QueueSettings) -> Result<(), Refusal> {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut link = self.backend().open(Client { principal: Principal::Anonymous, peer });
        let command = QueueRequest::Declare { name, settings, update: true };
        let command = Command::Queue(Box::new(command));
        let mut requests = VecDeque::from([Request { tag: 1, command }]);
        let mut replies = Vec::new();
        let mut outcome = Err(Refusal::new(Code::Internal, "the broker has failed"));
        for _ in 0..WAKES_MAX {
            link.submit(&mut requests);
            link.take_replies(&mut replies);
            if let Some(reply) = replies.pop() {
                outcome = match reply.answer {
                    Answer::Refused(refusal) => Err(refusal),
                    _ => Ok(()),
                };
                break;
            }
            poll_fn(|context| link.poll_replies(context)).await;
        }
        link.close(ClosedBy::Broker);
        outcome
    }
}
