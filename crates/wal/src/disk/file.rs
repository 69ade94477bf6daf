//! A directory of the file system.

use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Disk, DiskFile, Space};
use crate::versions::{LOCK_FILE, lock_pid, lock_text};

/// Magic numbers of file systems that write changed blocks elsewhere, from `statfs(2)` and the
/// sources of OpenZFS.
const COPYING: [(u64, &str); 2] = [(0x9123_683e, "btrfs"), (0x2fc1_2fc1, "zfs")];

/// A directory of the file system: 0700, its files 0600.
#[derive(Clone, Debug)]
pub struct FileDisk {
    root: PathBuf,
    lock: Arc<Mutex<Option<File>>>,
    read_only: bool,
}

impl FileDisk {
    /// The directory `root`, which is made when it is locked.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), lock: Arc::default(), read_only: false }
    }

    /// The directory `root`, whose files are opened for reading alone: it may be on a medium, or
    /// belong to somebody, that lets nobody write.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self { read_only: true, ..Self::new(root) }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Names of what is of one kind in a folder, sorted.
    fn names(&self, folder: &str, is_kind: fn(&FileType) -> bool) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if is_kind(&entry.file_type()?) {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Makes a folder and those above it, and makes their names safe: files in a folder that a crash
/// takes are gone, however often they were synced.
fn make_folder(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.exists() {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match File::open(parent) {
        Ok(parent) => parent.sync_all(),
        // Who may make a folder there need not be allowed to look.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.exists() => make_folder(folder),
        _ => Ok(()),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for FileDisk {
    type File = OsFile;

    fn lock(&self) -> io::Result<()> {
        if !self.root.exists() {
            make_folder(&self.root)?;
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))?;
        let mut file = options().create(true).truncate(false).open(self.path(LOCK_FILE))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(lock_text(std::process::id()).as_bytes())?;
        *self.lock.lock() = Some(file);
        Ok(())
    }

    fn holder(&self) -> Option<u32> {
        let mut file = File::open(self.path(LOCK_FILE)).ok()?;
        // Whoever can have it shared shows that nobody has it for itself.
        if self.lock.lock().is_none()
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok()
        {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        lock_pid(&text)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.names(folder, FileType::is_file)
    }

    fn create(&self, path: &str) -> io::Result<Arc<OsFile>> {
        let path = self.path(path);
        make_folder_of(&path)?;
        Ok(Arc::new(OsFile(options().create(true).truncate(true).open(path)?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<OsFile>> {
        Ok(Arc::new(OsFile(options().write(!self.read_only).open(self.path(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to);
        make_folder_of(&to)?;
        fs::rename(self.path(from), to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        self.names("", FileType::is_dir)
    }

    fn rename_folder(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        fs::remove_dir(self.path(folder))
    }

    fn space(&self) -> io::Result<Option<Space>> {
        // What will be made later lies on the file system of what there is.
        let there = self.root.ancestors().find(|path| path.exists());
        let there = there.unwrap_or(Path::new("."));
        let found = rustix::fs::statvfs(there)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // What is kept for the superuser is nobody's to plan with.
        Ok(Some(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) }))
    }

    fn copies_on_write(&self) -> io::Result<Option<&'static str>> {
        let found = rustix::fs::statfs(&self.root)?.f_type as u64;
        // Some of these numbers come back with their sign extended.
        let found = found & 0xffff_ffff;
        Ok(COPYING.iter().find(|(magic, _)| *magic == found).map(|(_, name)| *name))
    }
}

/// A file of the file system.
#[derive(Debug)]
pub struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Where nothing can be reserved, the length at least stands.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, FileDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(folder.path().join("data"));
        disk.lock().unwrap();
        (folder, disk)
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let (_folder, disk) = disk();
        let second = FileDisk::new(disk.root());
        assert_eq!(second.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(second.holder(), Some(std::process::id()));
        drop(disk);
        assert_eq!(second.holder(), None);
        second.lock().unwrap();
    }

    #[test]
    fn only_the_owner_may_look() {
        let (_folder, disk) = disk();
        disk.create("sub/a").unwrap();
        let mode = |path: &str| fs::metadata(disk.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("sub"), mode("sub/a")), (0o700, 0o700, 0o600));
    }

    #[test]
    fn allocated_space_reads_as_zeros_and_names_change_in_one_step() {
        let (_folder, disk) = disk();
        let file = disk.create("a.tmp").unwrap();
        file.allocate(10_000).unwrap();
        file.write_at(5_000, b"here").unwrap();
        file.sync().unwrap();
        disk.create("a").unwrap();
        disk.rename("a.tmp", "a").unwrap();
        disk.sync_folder("").unwrap();
        assert_eq!(disk.list("").unwrap(), ["a", "lock"]);
        let file = disk.open("a").unwrap();
        assert_eq!(file.size().unwrap(), 10_000);
        let mut bytes = [1; 8];
        assert_eq!(file.read_at(4_998, &mut bytes).unwrap(), 8);
        assert_eq!(&bytes, b"\0\0here\0\0");
        assert_eq!(file.read_at(9_996, &mut bytes).unwrap(), 4);
        assert_eq!(disk.list("nowhere").unwrap(), Vec::<String>::new());
    }
}
