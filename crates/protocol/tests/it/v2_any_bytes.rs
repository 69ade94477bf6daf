//! Version 2 against bytes that nobody meant: what is read can be walked, and nothing panics.

use bytes::Bytes;
use proptest::prelude::*;
use sluice_protocol::binary::frame::peek_frame_of;
use sluice_protocol::binary::v2::{
    ClientFrame, Deliver, ExtrasRef, FrameType, Leases, Messages, ServerFrame,
};

use super::v2_vectors::{frame, vectors};

/// A frame's type with a payload: anything, or a vector with some bytes replaced.
fn any_payload() -> impl Strategy<Value = (FrameType, Vec<u8>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..120);
    let noise = (prop::sample::select(FrameType::ALL), bytes);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let near = (prop::sample::select(vectors()), changes).prop_map(|((_, bytes), changes)| {
        let frame = frame(&bytes);
        let mut payload = frame.payload.to_vec();
        for (at, byte) in changes.iter().filter(|_| !frame.payload.is_empty()) {
            payload[at.index(frame.payload.len())] = *byte;
        }
        (frame.msg_type, payload)
    });
    prop_oneof![noise, near]
}

fn walk_extras(extras: Option<ExtrasRef<'_>>) {
    if let Some(extras) = extras {
        let bytes: usize = extras.headers().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= extras.bytes().len());
        assert_eq!(extras.fields().next().is_none(), extras.bytes().is_empty());
        let _ = extras.to_model().validate();
    }
}

fn walk_messages(messages: &Messages<'_>) {
    let (mut count, mut payload_bytes, mut plain) = (0, 0, true);
    for message in messages.iter() {
        walk_extras(message.extras);
        assert_eq!(
            messages.bytes().get(message.at..).unwrap().get(..message.payload.len()),
            Some(message.payload)
        );
        (count, payload_bytes) = (count + 1, payload_bytes + message.payload.len());
        plain &= message.extras.is_none();
    }
    let seen = (messages.count(), messages.payload_bytes(), messages.is_plain());
    assert_eq!((count, payload_bytes, plain), seen);
    assert_eq!(messages.copied().map(|block| block.count()), plain.then_some(count));
}

fn walk_leases(leases: &Leases<'_>) {
    let tags: u64 = leases.ranges().map(|range| range.last - range.first + 1).sum();
    assert!(tags <= 65_535);
    assert_eq!(leases.tokens().count() > 0, leases.are_tokens());
    assert_eq!(tags > 0, !leases.are_tokens());
}

fn walk_request(request: &ClientFrame<'_>) {
    match request {
        ClientFrame::Publish(publish) => walk_messages(&publish.messages),
        ClientFrame::Settle(settle) => {
            walk_leases(&settle.leases);
            let _ = settle.head.to_model();
        }
        ClientFrame::Extend(extend) => walk_leases(&extend.leases),
        ClientFrame::Subscribe(subscribe) => {
            let settings = &subscribe.settings;
            assert_eq!(settings.iter().count(), usize::from(settings.count()));
        }
        _ => {}
    }
}

fn walk_answer(answer: &ServerFrame<'_>) {
    match answer {
        ServerFrame::Receipt(receipt) => {
            assert_eq!(receipt.iter().count(), usize::from(receipt.count()));
        }
        ServerFrame::Settled(settled) => {
            assert_eq!(settled.refused().count(), usize::from(settled.count()));
        }
        ServerFrame::Deliver(deliver) => match &deliver.messages {
            Deliver::AtMostOnce { messages, .. } => walk_messages(messages),
            Deliver::AtLeastOnce(deliveries) => {
                deliveries.iter().for_each(|delivery| walk_extras(delivery.extras));
                assert_eq!(deliveries.iter().count(), usize::from(deliveries.count()));
            }
        },
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn any_payload_is_refused_or_can_be_walked((frame, payload) in any_payload()) {
        if let Ok(request) = ClientFrame::read(frame, &payload, 64) {
            walk_request(&request);
        }
        if let Ok(answer) = ServerFrame::read(frame, &payload) {
            walk_answer(&answer);
        }
    }

    #[test]
    fn any_run_of_messages_is_refused_or_can_be_walked(
        bytes in prop::collection::vec(prop_oneof![Just(2u8), Just(0), Just(1), any::<u8>()], 0..60),
        count in 0u32..20,
    ) {
        // The same walk as a block's, where there are no extras.
        let bytes = Bytes::from(bytes);
        let block = sluice_model::Block::check(bytes.clone(), count);
        match Messages::check(FrameType::Publish, &bytes, count, usize::MAX) {
            Ok(messages) => {
                walk_messages(&messages);
                prop_assert_eq!(messages.shared(&bytes), block.ok());
            }
            Err(_) => prop_assert!(block.is_err()),
        }
    }

    #[test]
    fn any_stream_has_a_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = peek_frame_of::<FrameType>(&bytes, 1_000);
    }
}
