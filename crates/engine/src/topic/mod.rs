//! Topics: names that subscriptions listen to.

mod ephemeral;
mod index;
mod owner;

pub(crate) use ephemeral::Ephemeral;
pub(crate) use index::{Listener, Route, TopicIndex};
pub use owner::Owner;
