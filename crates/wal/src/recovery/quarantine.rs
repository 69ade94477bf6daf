//! Sets a torn tail aside, in a file of its own.

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::history::Window;
use crate::reserve::{self, Reserve};

use super::{Scanned, Torn};

impl<D: Disk> Scanned<D> {
    /// Copies a torn tail to a file of its own.
    pub(super) fn quarantine(&self, reserve: Option<&Reserve<D>>) -> Result<Vec<String>, WalError> {
        let Some(torn) = self.torn else { return Ok(Vec::new()) };
        let Some(entry) = self.history.segments.get(&torn.segment) else { return Ok(Vec::new()) };
        let mut window = Window::default();
        let bytes = window.read(entry, torn.start, (torn.end - torn.start) as usize)?;
        let bytes = &bytes[..bytes.len().min((torn.end - torn.start) as usize)];
        let path = self.quarantine_path(torn, bytes)?;
        let write = |copy: &D::File| {
            copy.write_at(0, bytes).map_err(WalError::io("write", &*path))?;
            copy.sync().map_err(WalError::io("sync", &*path))
        };
        let create = || self.disk.create(&path).map_err(WalError::io("create", &*path));
        let mut written = create().and_then(|copy| write(&copy));
        if written.as_ref().is_err_and(WalError::is_no_space) {
            let reserved = reserve.map(|reserve| reserve.take(reserve::QUARANTINE, &path));
            if let Some(copy) = reserved.transpose()?.flatten() {
                let shortened = copy.truncate(bytes.len() as u64);
                shortened.map_err(WalError::io("truncate", &*path))?;
                written = write(&copy);
            }
        }
        if written.as_ref().is_err_and(WalError::is_no_space) {
            // Nobody was promised anything of it: no reason not to start.
            self.disk.remove(&path).map_err(WalError::io("remove", &*path))?;
            return Ok(Vec::new());
        }
        written?;
        self.disk.sync_folder("quarantine").map_err(WalError::io("sync", "quarantine"))?;
        Ok(vec![path])
    }

    /// A name for a copy of a torn tail. A start that died may have made the same copy, which is
    /// made again; or one of which a crash of the machine has taken a part since, which stays.
    fn quarantine_path(&self, torn: Torn, bytes: &[u8]) -> Result<String, WalError> {
        let stem = format!("{:08}-{}", torn.segment, torn.start);
        let taken = self.disk.list("quarantine").map_err(WalError::io("list", "quarantine"))?;
        for number in 1..=taken.len() {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let (name, path) = (format!("{name}.torn"), format!("quarantine/{name}.torn"));
            if !taken.contains(&name) {
                return Ok(path);
            }
            let file = self.disk.open(&path).map_err(WalError::io("open", &*path))?;
            let mut there = vec![0; bytes.len() + 1];
            let read = file.read_at(0, &mut there).map_err(WalError::io("read", &*path))?;
            if bytes.starts_with(&there[..read]) {
                return Ok(path);
            }
        }
        Ok(match taken.len() {
            0 => format!("quarantine/{stem}.torn"),
            others => format!("quarantine/{stem}-{}.torn", others + 1),
        })
    }
}
