//! Every frame by its type, and those that are too small for a file of their own.

use std::fmt;

use bytes::{BufMut, BytesMut};
use sluice_model::Level;

use super::fields::{level_number, put_frame, put_str16, read};
use super::{
    Cancel, ChangesRef, ConsumeRef, ControlRef, Credit, DecodeError, DeliverRef, EncodeError,
    ErrorRef, ExtendRef, FrameType, Hello, PublishRef, ReceiptRef, ReceiveRef, SettleRef,
    SettledRef, SubscribeRef, WatchRef, Watching, Welcome,
};

/// What a client sends, where it lies, checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// HELLO.
    Hello(Hello<'a>),
    /// AUTH, with the key.
    Auth(&'a str),
    /// PING.
    Ping,
    /// PUBLISH.
    Publish(PublishRef<'a>),
    /// SUBSCRIBE.
    Subscribe(SubscribeRef<'a>),
    /// CONSUME.
    Consume(ConsumeRef<'a>),
    /// CANCEL.
    Cancel(Cancel),
    /// CREDIT.
    Credit(Credit),
    /// RECEIVE.
    Receive(ReceiveRef<'a>),
    /// SETTLE.
    Settle(SettleRef<'a>),
    /// EXTEND.
    Extend(ExtendRef<'a>),
    /// CONTROL.
    Control(ControlRef<'a>),
    /// WATCH.
    Watch(WatchRef<'a>),
}

/// What a broker sends, where it lies, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// NACK, of version 1, to a HELLO.
    Nack {
        /// 426 for a version that the broker does not speak.
        code: u16,
        /// The reason.
        text: &'a str,
    },
    /// PONG.
    Pong,
    /// OK.
    Ok,
    /// WELCOME.
    Welcome(Welcome<'a>),
    /// ERROR.
    Error(ErrorRef<'a>),
    /// CONFIRM, with the weakest level among the messages that it is about; none where none went
    /// to a queue.
    Confirm(Option<Level>),
    /// RECEIPT.
    Receipt(ReceiptRef<'a>),
    /// CONSUMING, with the consumer.
    Consuming(u64),
    /// DELIVER.
    Deliver(DeliverRef<'a>),
    /// EMPTY, with the milliseconds until there is something, or [`super::NEXT_UNKNOWN`].
    Empty(u32),
    /// SETTLED.
    Settled(SettledRef<'a>),
    /// GAP, with the number of messages that were lost.
    Gap(u64),
    /// GOING, with the reason.
    Going(&'a str),
    /// RESULT, with its JSON, of which only the UTF-8 was checked.
    Result(&'a str),
    /// WATCHING.
    Watching(Watching),
    /// CHANGES.
    Changes(ChangesRef<'a>),
}

impl fmt::Debug for ClientFrame<'_> {
    /// Never shows the key, and of the others only the type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.frame_type().name())
    }
}

impl<'a> ClientFrame<'a> {
    /// Reads the payload of a frame that a client sent. Messages may have `message_max` bytes.
    ///
    /// # Errors
    /// It is not as the document says, or a client does not send such frames.
    pub fn read(
        frame: FrameType,
        payload: &'a [u8],
        message_max: usize,
    ) -> Result<Self, DecodeError> {
        match frame {
            FrameType::Hello => Hello::read(payload).map(Self::Hello),
            FrameType::Auth => read(frame, payload, |fields| fields.str16("key")).map(Self::Auth),
            FrameType::Ping => read(frame, payload, |_| Ok(Self::Ping)),
            FrameType::Publish => PublishRef::read(payload, message_max).map(Self::Publish),
            FrameType::Subscribe => SubscribeRef::read(payload).map(Self::Subscribe),
            FrameType::Consume => ConsumeRef::read(payload).map(Self::Consume),
            FrameType::Cancel => Cancel::read(payload).map(Self::Cancel),
            FrameType::Credit => Credit::read(payload).map(Self::Credit),
            FrameType::Receive => ReceiveRef::read(payload).map(Self::Receive),
            FrameType::Settle => SettleRef::read(payload).map(Self::Settle),
            FrameType::Extend => ExtendRef::read(payload).map(Self::Extend),
            FrameType::Control => ControlRef::read(payload).map(Self::Control),
            FrameType::Watch => WatchRef::read(payload).map(Self::Watch),
            _ => Err(DecodeError::Direction { frame }),
        }
    }

    /// The frame's type.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Hello(_) => FrameType::Hello,
            Self::Auth(_) => FrameType::Auth,
            Self::Ping => FrameType::Ping,
            Self::Publish(_) => FrameType::Publish,
            Self::Subscribe(_) => FrameType::Subscribe,
            Self::Consume(_) => FrameType::Consume,
            Self::Cancel(_) => FrameType::Cancel,
            Self::Credit(_) => FrameType::Credit,
            Self::Receive(_) => FrameType::Receive,
            Self::Settle(_) => FrameType::Settle,
            Self::Extend(_) => FrameType::Extend,
            Self::Control(_) => FrameType::Control,
            Self::Watch(_) => FrameType::Watch,
        }
    }
}

impl<'a> ServerFrame<'a> {
    /// Reads the payload of a frame that a broker sent.
    ///
    /// # Errors
    /// It is not as the document says, or a broker does not send such frames.
    pub fn read(frame: FrameType, payload: &'a [u8]) -> Result<Self, DecodeError> {
        match frame {
            FrameType::Nack => read(frame, payload, |fields| {
                Ok(Self::Nack { code: fields.u16("code")?, text: fields.str16("text")? })
            }),
            FrameType::Pong => read(frame, payload, |_| Ok(Self::Pong)),
            FrameType::Ok => read(frame, payload, |_| Ok(Self::Ok)),
            FrameType::Welcome => Welcome::read(payload).map(Self::Welcome),
            FrameType::Error => ErrorRef::read(payload).map(Self::Error),
            FrameType::Confirm => read(frame, payload, |fields| fields.level()).map(Self::Confirm),
            FrameType::Receipt => ReceiptRef::read(payload).map(Self::Receipt),
            FrameType::Consuming => {
                read(frame, payload, |fields| fields.u64("consumer")).map(Self::Consuming)
            }
            FrameType::Deliver => DeliverRef::read(payload).map(Self::Deliver),
            FrameType::Empty => {
                read(frame, payload, |fields| fields.u32("next_ms")).map(Self::Empty)
            }
            FrameType::Settled => SettledRef::read(payload).map(Self::Settled),
            FrameType::Gap => read(frame, payload, |fields| fields.u64("messages")).map(Self::Gap),
            FrameType::Going => read(frame, payload, |fields| fields.str8("text")).map(Self::Going),
            FrameType::Result => {
                read(frame, payload, |fields| fields.text("JSON")).map(Self::Result)
            }
            FrameType::Watching => Watching::read(payload).map(Self::Watching),
            FrameType::Changes => ChangesRef::read(payload).map(Self::Changes),
            _ => Err(DecodeError::Direction { frame }),
        }
    }
}

/// Appends a frame that is never too long.
pub(super) fn put_fixed(
    out: &mut BytesMut,
    frame: FrameType,
    id: u64,
    body: impl FnOnce(&mut BytesMut),
) {
    let written = put_frame(out, frame, id, 0, |out| {
        body(out);
        Ok(())
    });
    debug_assert_eq!(written, Ok(()));
}

/// Appends an AUTH.
///
/// # Errors
/// The key is longer than its length can say.
pub fn put_auth(out: &mut BytesMut, id: u64, key: &str) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Auth, id, 0, |out| put_str16(out, "key", key.as_bytes()))
}

/// Appends a PING.
pub fn put_ping(out: &mut BytesMut, id: u64) {
    put_fixed(out, FrameType::Ping, id, |_| {});
}

/// Appends a PONG.
pub fn put_pong(out: &mut BytesMut, id: u64) {
    put_fixed(out, FrameType::Pong, id, |_| {});
}

/// Appends an OK.
pub fn put_ok(out: &mut BytesMut, id: u64) {
    put_fixed(out, FrameType::Ok, id, |_| {});
}

/// Appends a CONFIRM of the PUBLISH `id` and those before it, with the weakest level among them.
pub fn put_confirm(out: &mut BytesMut, id: u64, level: Option<Level>) {
    put_fixed(out, FrameType::Confirm, id, |out| out.put_u8(level_number(level)));
}

/// Appends a CONSUMING.
pub fn put_consuming(out: &mut BytesMut, id: u64, consumer: u64) {
    put_fixed(out, FrameType::Consuming, id, |out| out.put_u64(consumer));
}

/// Appends an EMPTY; [`super::NEXT_UNKNOWN`] where nobody knows when there will be something.
pub fn put_empty(out: &mut BytesMut, id: u64, next_ms: u32) {
    put_fixed(out, FrameType::Empty, id, |out| out.put_u32(next_ms));
}

/// Appends a GAP: so many messages for the consumer were lost.
pub fn put_gap(out: &mut BytesMut, consumer: u64, messages: u64) {
    put_fixed(out, FrameType::Gap, consumer, |out| out.put_u64(messages));
}
