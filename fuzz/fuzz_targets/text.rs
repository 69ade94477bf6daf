//! Lines of text, cut out of a stream and read.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sluice_protocol::line::{Line, LineDecoder};

#[path = "../../crates/protocol/tests/it/exercise.rs"]
mod exercise;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = LineDecoder::new(256);
    let mut buffer = BytesMut::from(bytes);
    while let Some(line) = decoder.decode(&mut buffer) {
        if let Line::Whole(line) = line {
            exercise::exercise(&line);
        }
    }
});
