//! Frames of version 2 of the binary protocol: a byte for the type, then the payload.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::binary::frame::peek_frame_of;
use sluice_protocol::binary::v2::{ClientFrame, FrameType, ServerFrame};

#[path = "../../crates/protocol/tests/it/walk.rs"]
mod walk;

fuzz_target!(|bytes: &[u8]| {
    let _ = peek_frame_of::<FrameType>(bytes, 1_000);
    let Some((first, payload)) = bytes.split_first() else { return };
    let frame = FrameType::ALL[usize::from(*first) % FrameType::ALL.len()];
    if let Ok(request) = ClientFrame::read(frame, payload, 64) {
        walk::walk_request(&request);
    }
    if let Ok(answer) = ServerFrame::read(frame, payload) {
        walk::walk_answer(&answer);
    }
});
