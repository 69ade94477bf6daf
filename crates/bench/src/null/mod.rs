//! Servers that do only what no broker can leave out: the limits of the machine.
//!
//! They run on threads of this process, next to the client, as a broker runs next to it.

mod file;
mod log;
mod log64;
mod relay;

pub use file::LogFile;
pub use log::nulllog;
pub use log64::nulllog64;
pub use relay::relay;
