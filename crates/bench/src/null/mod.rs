//! Servers that do only what no broker can leave out: the limits of the machine.
//!
//! They run on threads of this process, next to the client, as a broker runs next to it; the one
//! for HTTP has a process of its own.

mod file;
mod http;
mod log;
mod log64;
mod relay;

pub use file::LogFile;
pub use http::bare_http;
pub use log::nulllog;
pub use log64::nulllog64;
pub use relay::relay;
