//! Version 2 of the binary protocol.
//!
//! ```text
//! bytes --session--> publishes, consuming, settling --> requests
//! bytes <--replies-- deliveries, receipts           <-- replies
//! ```

mod answers;
mod confirms;
mod consumers;
mod consuming;
mod deliveries;
mod ended;
mod opening;
mod parts;
mod pending;
mod polls;
mod publishes;
mod receipts;
mod replies;
mod session;
mod settling;
#[cfg(test)]
mod tests;
mod watching;
mod window;

pub(crate) use session::Session;
