//! Topics: names that subscriptions listen to.

mod ephemeral;
mod holdings;
mod index;
mod owner;

pub(crate) use ephemeral::{BlockHead, Copy, Ephemeral};
pub(crate) use holdings::Holdings;
pub(crate) use index::{Listener, Route, TopicIndex};
pub use owner::Owner;
