//! Version 2 against bytes that nobody meant: what is read can be walked, and nothing panics.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use sluice_protocol::binary::frame::peek_frame_of;
use sluice_protocol::binary::v2::{ClientFrame, FrameType, Messages, ServerFrame};

use super::v2_vectors::{frame, vectors};
use super::walk::{walk_answer, walk_messages, walk_request};

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

/// What the fuzz target makes of its input: a byte for the type, then the payload.
#[test]
fn the_corpus_is_refused_or_can_be_walked() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz/frames");
    let mut read = 0;
    for file in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let Some((first, payload)) = bytes.split_first() else { continue };
        let frame = FrameType::ALL[usize::from(*first) % FrameType::ALL.len()];
        if let Ok(request) = ClientFrame::read(frame, payload, 64) {
            walk_request(&request);
            read += 1;
        }
        if let Ok(answer) = ServerFrame::read(frame, payload) {
            walk_answer(&answer);
            read += 1;
        }
    }
    assert!(read >= FrameType::ALL.len(), "{read}");
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
