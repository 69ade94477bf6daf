//! The line door: what `nc` can speak.

pub mod text;

pub use text::{Line, LineDecoder};
