//! The binary door: frames of version 1.

mod codes;
mod connection;
mod deliveries;
mod session;
#[cfg(test)]
mod tests;
mod topics;

pub(crate) use connection::serve;
