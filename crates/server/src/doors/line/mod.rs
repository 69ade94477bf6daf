//! The line door: what `nc` can speak, in text and in JSON.

mod connection;
mod feeds;
mod held;
mod host;
mod house;
mod pushes;
mod replies;
mod session;
mod slots;
#[cfg(test)]
mod tests;

pub(crate) use connection::serve;
