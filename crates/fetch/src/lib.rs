//! Fetches lists of URLs, politely, in ways that can be compared.
//!
//! Every host has a cap of requests at once, a rate, and a pause where it asks for one by 429 or 503
//! with `Retry-After`. What was answered is counted and thrown away. A desk keeps those limits: a
//! schedule that threads share, or a queue of a broker.
//!
//! ```text
//! list --> desk --take--> worker --> site
//!            ^              | judge
//!            '---settle-----'--> results, tally
//! ```

mod board;
mod desk;
mod fault;
mod host;
mod job;
mod mode;
mod options;
mod outcome;
mod patience;
mod queue;
pub mod report;
mod request;
mod retry_after;
mod run;
mod shared;
mod stop;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
pub mod urls;
mod verdict;
mod work;

pub use desk::DeskError;
pub use fault::{Fault, FaultKind};
pub use host::{Host, Target, UrlError};
pub use mode::Mode;
pub use options::{CONCURRENCY_MAX, Options, OptionsError, Route, THREADS_MAX, TIMEOUT_MAX};
pub use outcome::Outcome;
pub use request::RouteError;
pub use retry_after::retry_after;
pub use run::fetch;
pub use shared::{SharedError, SharedQueue, fetch_shared};
pub use stop::{Stop, Stopper, stop};
pub use tally::{Latencies, Summary};
pub use work::{FetchError, Plan, Watch};
