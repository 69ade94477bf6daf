//! A line of JSON; what does not begin like one is made to, and what is behind its end is left out.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/protocol/tests/it/exercise.rs"]
mod exercise;

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if bytes.first() == Some(&b'{') {
        return exercise::exercise(bytes);
    }
    exercise::exercise(&[b"{", bytes].concat());
});
