//! A look at the free space of the disk, on behalf of a publish that has to wait: whoever leads
//! takes it from the driver, asks the disk without the lock, and gives what it saw to a turn.

use sluice_wal::{Disk, Maintenance, Space};

/// The disk is to be asked for its space.
#[derive(Debug)]
pub struct Look<D: Disk>(Maintenance<D>);

/// What the disk said; none where it has no bound or does not say.
#[derive(Clone, Copy, Debug)]
pub struct Looked(pub(crate) Option<Space>);

impl<D: Disk> Look<D> {
    pub(crate) fn new(disk: Maintenance<D>) -> Self {
        Self(disk)
    }

    /// Asks the disk.
    pub fn run(self) -> Option<Looked> {
        // A disk that does not answer says more at the next commit.
        self.0.space().ok().map(Looked)
    }
}
