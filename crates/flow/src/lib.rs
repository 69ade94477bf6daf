//! How much, how fast and how soon again: arithmetic without I/O and without a clock.
//!
//! Time is whole microseconds since any fixed moment, handed in by the caller.
//!
//! | Mechanism | Shared by its keys | One key |
//! |---|---|---|
//! | token bucket | [`TokenLimit`] | [`Bucket`], 8 bytes |
//! | leaky bucket, which tells when to go | [`LeakyLimit`] | [`Bucket`] |
//! | at most so many starts in any interval | [`WindowLimit`] | [`Starts`], 8 bytes a start |
//! | at most so many at once | [`ConcurrencyLimit`] | [`Holders`] |
//!
//! [`Keyed`] has all limits that refer to queues and to the keys of messages, with what is known of each
//! live key and the lanes that wait for it. [`Ring`] is whose turn it is among groups.
//!
//! [`Clients`] keeps a bucket for each client in a table of fixed size, [`Entrance`] asks the limits of
//! a client and those of all, and [`Room`] is the waiting room in front of the handlers. [`Turns`] is whose
//! turn it is among connections.

mod backoff;
mod clients;
mod concurrency;
mod entrance;
mod fair;
mod keyed;
mod leaky;
mod random;
mod rate;
mod room;
mod token;
mod turns;
mod window;

pub use backoff::{Backoff, BackoffError};
pub use clients::{CLIENT_BYTES, Client, Clients, peer_group};
pub use concurrency::{ConcurrencyLimit, Held, Holders};
pub use entrance::{Ahead, Entrance, EntranceFigures, EntranceLimit, Pass};
pub use fair::{Member, Ring};
pub use keyed::{
    Ask, Ended, Feedback, Handle, KeyState, KeyView, Keyed, KeyedConfig, LimitFigures, LimitNo,
    Owner, Pause, Reason, Refused, Terms, Waiter,
};
pub use leaky::{Departure, LeakyLimit, Waiting};
pub use random::Random;
pub use rate::{NEVER, Rate, RateError};
pub use room::{
    Entry, Handed, NoWorkers, Parked, Place, Room, RoomFigures, RoomFull, RoomLimits, Ticket,
};
pub use token::{Bucket, Change, Charge, Limited, TokenLimit};
pub use turns::{Asked, Comes, InLine, Turn, TurnLimits, Turns};
pub use window::{Starts, WINDOW_STARTS_MAX, WindowError, WindowLimit};
