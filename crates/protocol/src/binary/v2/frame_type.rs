//! The table of version 2's frames.

use crate::binary::frame::frame_types;

frame_types! {
    /// Client to broker: which version the client speaks, and what it takes.
    Hello = 0x01, "HELLO";
    /// Client to broker: who the client is.
    Auth = 0x02, "AUTH";
    /// Broker to client: version 1's answer to a HELLO of a version that it does not speak.
    Nack = 0x06, "NACK";
    /// Client to broker: answer when everything before this has reached its level.
    Ping = 0x07, "PING";
    /// Broker to client: the answer to a PING.
    Pong = 0x08, "PONG";
    /// Client to broker: messages.
    Publish = 0x10, "PUBLISH";
    /// Client to broker: a consumer of what is published to a pattern.
    Subscribe = 0x11, "SUBSCRIBE";
    /// Client to broker: a consumer of a queue by name.
    Consume = 0x12, "CONSUME";
    /// Client to broker: push no more to this consumer.
    Cancel = 0x13, "CANCEL";
    /// Client to broker: push so many more to this consumer.
    Credit = 0x14, "CREDIT";
    /// Client to broker: messages, now or within a time.
    Receive = 0x15, "RECEIVE";
    /// Client to broker: deliveries are dealt with, or given back.
    Settle = 0x16, "SETTLE";
    /// Client to broker: more time for deliveries.
    Extend = 0x17, "EXTEND";
    /// Client to broker: anything that can be asked of a queue.
    Control = 0x20, "CONTROL";
    /// Client to broker: a consumer of what happens to keys.
    Watch = 0x30, "WATCH";
    /// Broker to client: done.
    Ok = 0x80, "OK";
    /// Broker to client: the answer to a HELLO.
    Welcome = 0x81, "WELCOME";
    /// Broker to client: refused.
    Error = 0x82, "ERROR";
    /// Broker to client: the PUBLISH frames up to this one are safe.
    Confirm = 0x90, "CONFIRM";
    /// Broker to client: what became of each message of a PUBLISH.
    Receipt = 0x91, "RECEIPT";
    /// Broker to client: the number of a new consumer.
    Consuming = 0x92, "CONSUMING";
    /// Broker to client: messages.
    Deliver = 0x93, "DELIVER";
    /// Broker to client: there is nothing to receive.
    Empty = 0x94, "EMPTY";
    /// Broker to client: what became of leases.
    Settled = 0x95, "SETTLED";
    /// Broker to client: messages were lost.
    Gap = 0x96, "GAP";
    /// Broker to client: the broker drains.
    Going = 0x97, "GOING";
    /// Broker to client: the answer to a CONTROL.
    Result = 0xa0, "RESULT";
    /// Broker to client: the number of a new watch.
    Watching = 0xb0, "WATCHING";
    /// Broker to client: what happened to keys.
    Changes = 0xb1, "CHANGES";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::frame;

    #[test]
    fn types_and_numbers_go_both_ways() {
        let known = (0..=u8::MAX).filter_map(FrameType::from_u8).collect::<Vec<_>>();
        assert_eq!(known, FrameType::ALL);
        for (at, frame) in FrameType::ALL.iter().enumerate() {
            assert_eq!(FrameType::from_u8(frame.as_u8()), Some(*frame));
            assert!(FrameType::ALL[..at].iter().all(|other| other.name() != frame.name()));
        }
    }

    #[test]
    fn what_both_versions_have_has_one_number_and_name() {
        for known in frame::FrameType::ALL {
            if let Some(same) = FrameType::from_u8(known.as_u8()) {
                assert_eq!(same.name(), known.name());
            }
        }
    }
}
