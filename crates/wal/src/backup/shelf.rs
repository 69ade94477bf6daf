//! The directory that backups are kept in.

use crate::backup::name;
use crate::checkpoint;
use crate::disk::Disk;
use crate::error::WalError;

/// What the folder of an unfinished backup ends with.
pub(crate) const PARTIAL: &str = ".partial";

/// The directory that backups are kept in. Whatever else lies there is left alone.
#[derive(Clone, Debug)]
pub struct Shelf<D: Disk> {
    disk: D,
}

impl<D: Disk> Shelf<D> {
    /// The backups in the directory of `disk`.
    pub fn new(disk: D) -> Self {
        Self { disk }
    }

    /// Names of the whole backups, oldest first.
    ///
    /// # Errors
    /// The disk refused.
    pub fn names(&self) -> Result<Vec<String>, WalError> {
        let mut names = self.folders()?;
        names.retain(|name| name::parse(name).is_some());
        names.sort_by(|a, b| name::parse(a).cmp(&name::parse(b)));
        Ok(names)
    }

    /// Removes what a backup left that did not come to its end.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remove_partial(&self) -> Result<(), WalError> {
        for folder in self.folders()? {
            if folder.strip_suffix(PARTIAL).is_some_and(|name| name::parse(name).is_some()) {
                remove(&self.disk, &folder)?;
            }
        }
        Ok(())
    }

    /// Removes the oldest until `keep` are left, and gives their names; 0 keeps all.
    ///
    /// # Errors
    /// The disk refused.
    pub fn keep_newest(&self, keep: usize) -> Result<Vec<String>, WalError> {
        let mut names = self.names()?;
        let spare = if keep == 0 { 0 } else { names.len().saturating_sub(keep) };
        names.truncate(spare);
        for name in &names {
            // First it stops being a backup: a crash must not leave half of one under its name.
            let partial = format!("{name}{PARTIAL}");
            let rename = self.disk.rename_folder(name, &partial);
            rename.map_err(WalError::io("rename", &**name))?;
            self.disk.sync_folder("").map_err(WalError::io("sync the folder of", &**name))?;
            remove(&self.disk, &partial)?;
        }
        Ok(names)
    }

    /// A name for a backup made at that time with records up to `last`: one that is free.
    pub(crate) fn free_name(&self, mut time_ms: u64, last: u64) -> Result<String, WalError> {
        let taken = self.folders()?;
        loop {
            let name = name::backup_name(time_ms, last);
            if !taken.contains(&name) {
                return Ok(name);
            }
            time_ms += 1000;
        }
    }

    fn folders(&self) -> Result<Vec<String>, WalError> {
        self.disk.folders().map_err(WalError::io("list", "the directory of backups"))
    }
}

/// Removes a folder that a backup or a restore has made.
pub(crate) fn remove<D: Disk>(disk: &D, folder: &str) -> Result<(), WalError> {
    let inner = format!("{folder}/{}", checkpoint::FOLDER);
    for folder in [&*inner, folder] {
        let names = disk.list(folder).map_err(WalError::io("list", folder))?;
        for name in names {
            let path = format!("{folder}/{name}");
            disk.remove(&path).map_err(WalError::io("remove", &*path))?;
        }
        match disk.remove_folder(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(WalError::io("remove", folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
