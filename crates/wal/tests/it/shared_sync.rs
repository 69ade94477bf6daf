//! Two threads sync one segment: the one that prepares it and the one that commits to it. The
//! kernel tells of a failure only once, to whichever asks first.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use sluice_wal::{Disk, DiskFile, Log, Prepare, SimulatedDisk, SimulatedFile, Space};

use crate::owner::config;

const SPARE: &str = "00000002.seg";

/// Stops the first sync of the spare's zeros until the log has written to the spare; that sync
/// fails then, and takes the log's pages with it.
#[derive(Clone, Debug)]
struct Meeting {
    disk: SimulatedDisk,
    /// Says that the preparing thread syncs; waits for the committing one's write.
    here: Arc<Mutex<Option<Rendezvous>>>,
    /// Says that the committing thread has written.
    there: Arc<Mutex<Option<Sender<()>>>>,
}

#[derive(Debug)]
struct Rendezvous {
    here: Sender<()>,
    written: Receiver<()>,
}

#[derive(Debug)]
struct MeetingFile {
    file: Arc<SimulatedFile>,
    is_spare: bool,
    place: Meeting,
}

impl Meeting {
    fn wrap(&self, path: &str, file: Arc<SimulatedFile>) -> Arc<MeetingFile> {
        let is_spare = path.starts_with(SPARE);
        Arc::new(MeetingFile { file, is_spare, place: self.clone() })
    }
}

impl DiskFile for MeetingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)?;
        let is_frame = self.is_spare && offset == 512 && bytes[0] != 0;
        if is_frame && let Some(told) = self.place.there.lock().unwrap().take() {
            told.send(()).unwrap();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let meeting = if self.is_spare { self.place.here.lock().unwrap().take() } else { None };
        if let Some(Rendezvous { here, written }) = meeting {
            here.send(()).unwrap();
            written.recv().unwrap();
            self.place.disk.fail_operations(self.place.disk.operations() + 1, 0);
        }
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl Disk for Meeting {
    type File = MeetingFile;

    fn lock(&self) -> io::Result<()> {
        self.disk.lock()
    }

    fn holder(&self) -> Option<u32> {
        self.disk.holder()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn create(&self, path: &str) -> io::Result<Arc<MeetingFile>> {
        Ok(self.wrap(path, self.disk.create(path)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<MeetingFile>> {
        Ok(self.wrap(path, self.disk.open(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        self.disk.folders()
    }

    fn rename_folder(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename_folder(from, to)
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.remove_folder(folder)
    }

    fn space(&self) -> io::Result<Option<Space>> {
        self.disk.space()
    }

    fn copies_on_write(&self) -> io::Result<Option<&'static str>> {
        self.disk.copies_on_write()
    }
}

#[test]
fn a_failed_sync_of_zeros_in_a_segment_that_was_begun_fails_its_commit() {
    let meeting = Meeting {
        disk: SimulatedDisk::with_faults(1),
        here: Arc::default(),
        there: Arc::default(),
    };
    let mut log = Log::scan(meeting.clone(), config(), 7).unwrap().open(1).unwrap().log;
    let maintenance = log.maintenance();
    maintenance.step(Prepare::Space).unwrap();
    let ((here, is_here), (written, was_written)) = (channel(), channel());
    *meeting.here.lock().unwrap() = Some(Rendezvous { here, written: was_written });
    *meeting.there.lock().unwrap() = Some(written);
    for _ in 0..3 {
        log.append(|_| {}, &[&[1; 30_000]]);
    }
    let commit = log.take_commit(true, 1).unwrap();
    let done = std::thread::scope(|scope| {
        let preparing = scope.spawn(|| maintenance.step(Prepare::Zeros));
        is_here.recv().unwrap();
        let done = commit.run();
        assert!(preparing.join().unwrap().is_err());
        done
    });
    assert!(log.finish(done).is_err(), "the third record never got to the disk");
    assert!(log.take_commit(true, 1).is_none(), "a failed log takes no more");
}
