//! Who a client is: keys, and what happens to those who guess them.

mod failures;
mod keys;
mod ring;

pub use keys::{ApiKey, KeyHash};
pub use ring::KeyRing;

pub(crate) use failures::FailureTable;
pub(crate) use keys::Keys;
