//! The backend in this process: an engine over a log on a disk.

mod backend;
mod backup;
mod clearing;
mod driver;
mod held;
mod housekeeping;
mod journal;
mod lead;
mod link;
mod look;
mod mailbox;
mod needed;
mod outbox;
mod recovery;
mod replay;
mod restore;
mod room;
mod toll;

pub use backend::LocalBackend;
pub use backup::BackupDesk;
pub use driver::{Driver, Input, Pace};
pub use housekeeping::{Access, Housekeeper, NextStep, Upkeep};
pub use look::{Look, Looked};
pub use outbox::{Parcel, ParcelContent};
pub use recovery::{Entropy, LocalConfig, StartError, Started, start};
pub use restore::{Restorable, RestoreError, Restored};
pub use toll::Toll;
