//! The line door: what `nc` can speak.

mod connection;
mod session;

pub(crate) use connection::serve;
