//! Publishing: many messages on their way at once, each with an outcome that is never lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sluice_model::{Extras, Level, Message, Qos};

use crate::client::Client;
use crate::core::Core;
use crate::core::batch::Head;
use crate::core::fate::{Fate, Receipt};
use crate::core::publishes::{Place, not_sent};
use crate::error::{Error, PublishError};

/// Publishes to one topic or queue.
///
/// What is handed in while the connection is busy goes out as one frame after it; nothing waits
/// for a fuller frame. Messages keep their order as long as none is refused for now or sent again.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    heads: Arc<Heads>,
}

/// What is said of messages, by how they are handed in.
struct Heads {
    each: Arc<Head>,
    whole: Arc<Head>,
    at_most_once: Arc<Head>,
}

impl Publisher {
    pub(crate) fn new(client: Client, destination: &str, to_queue: bool) -> Self {
        let (qos, destination) = (Qos::AtLeastOnce, destination.into());
        let (whole, receipt, level) = (false, false, None);
        Self::of(client, Head { qos, whole, to_queue, receipt, level, destination })
    }

    fn of(client: Client, head: Head) -> Self {
        let whole = Head { whole: true, ..head.clone() };
        let (qos, receipt, level) = (Qos::AtMostOnce, false, None);
        let at_most_once = Head { qos, receipt, level, ..head.clone() };
        let heads = Heads {
            each: Arc::new(head),
            whole: Arc::new(whole),
            at_most_once: Arc::new(at_most_once),
        };
        Self { client, heads: Arc::new(heads) }
    }

    /// Asks for each message's identity and how many queues it reached.
    #[must_use]
    pub fn with_receipts(self) -> Self {
        let head = Head { receipt: true, ..Head::clone(&self.heads.each) };
        Self::of(self.client, head)
    }

    /// Accepts no less than this level: a queue that has a lower one refuses.
    #[must_use]
    pub fn at_least(self, level: Level) -> Self {
        let head = Head { level: Some(level), ..Head::clone(&self.heads.each) };
        Self::of(self.client, head)
    }

    /// Hands a message in, as soon as the window has room for it. Its outcome comes by what is
    /// returned.
    pub async fn publish(&self, message: impl Into<Publish>) -> Confirm {
        match self.hand_in(&self.heads.each, message.into().0).await {
            Ok((fate, index)) => Confirm { fate, index, place: None },
            Err(error) => Confirm { fate: told(&error), index: 0, place: None },
        }
    }

    /// Hands a message to a topic in at most once: nothing is confirmed. [`Client::flush`] says
    /// when it has arrived.
    ///
    /// # Errors
    /// The client is closed.
    pub async fn send(&self, message: impl Into<Publish>) -> Result<(), Error> {
        self.hand_in(&self.heads.at_most_once, message.into().0).await.map(|_| ())
    }

    async fn hand_in(&self, head: &Arc<Head>, message: Message) -> Result<Place, Error> {
        let hand_in = |core: &mut Core, message| core.publish(head, message);
        self.client.shared().when_there_is_room(message, hand_in).await
    }

    /// Hands in messages that are stored together or not at all; they must fit one frame.
    pub async fn publish_batch(
        &self,
        messages: impl IntoIterator<Item = impl Into<Publish>>,
    ) -> ConfirmBatch {
        let messages: Vec<Message> = messages.into_iter().map(|message| message.into().0).collect();
        let count = messages.len() as u32;
        let hand_in = |core: &mut Core, all| core.publish_whole(&self.heads.whole, all);
        let handed_in = self.client.shared().when_there_is_room(messages, hand_in).await;
        let fate = handed_in.unwrap_or_else(|error| told(&error));
        let confirm = |index| Confirm { fate: Arc::clone(&fate), index, place: None };
        ConfirmBatch { each: (0..count).map(confirm).collect(), done: Vec::new() }
    }
}

/// What a closed client takes.
fn told(error: &Error) -> Arc<Fate> {
    let fate = Arc::<Fate>::default();
    fate.tell_all(Err(PublishError::Rejected(not_sent(error))));
    fate
}

/// A message to be published: bytes, text, or a [`Message`] with extras.
pub struct Publish(Message);

macro_rules! publish_from {
    ($($type:ty),+) => {$(
        impl From<$type> for Publish {
            fn from(payload: $type) -> Self {
                Self(Message::plain(payload))
            }
        }
    )+};
}
publish_from!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl From<Message> for Publish {
    fn from(message: Message) -> Self {
        // Extras that say nothing would only keep the message out of a block.
        let says = |extras: &Extras| *extras != Extras::default();
        Self(Message { extras: message.extras.filter(|extras| says(extras)), ..message })
    }
}

/// The outcome of a publish, to be awaited: the message is safe, it was rejected, or nobody knows.
#[must_use = "an outcome that nobody waits for is lost"]
pub struct Confirm {
    fate: Arc<Fate>,
    index: u32,
    place: Option<usize>,
}

impl Future for Confirm {
    type Output = Result<Receipt, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { fate, index, place } = self.get_mut();
        fate.poll(*index, place, context)
    }
}

/// The outcome of a batch, to be awaited: what became of each message, in order, or why all of
/// them were not taken.
#[must_use = "an outcome that nobody waits for is lost"]
pub struct ConfirmBatch {
    each: Vec<Confirm>,
    done: Vec<Receipt>,
}

impl Future for ConfirmBatch {
    type Output = Result<Vec<Receipt>, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { each, done } = self.get_mut();
        while let Some(next) = each.get_mut(done.len()) {
            match Pin::new(next).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(receipt)) => done.push(receipt),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(std::mem::take(done)))
    }
}
