//! Version 1 of the binary protocol.

mod codes;
mod deliveries;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use session::Session;
