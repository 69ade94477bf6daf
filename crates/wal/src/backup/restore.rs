//! Another log with what a backup holds: every frame is framed anew, in its place.
//!
//! Segments, offsets and numbers of records stay, because the checkpoint says by them where bodies
//! lie. The log's id is another, so each frame and body gets another checksum and nothing of the
//! old life is ever valid in the new one. All records are safe when the directory appears, so the
//! cuts of earlier recoveries are gone and frames are chained from the first to the last.

use crate::backup::out::OutFile;
use crate::backup::verify::Verified;
use crate::backup::{BackupError, damaged, shelf};
use crate::checkpoint::{self, read_whole, relabel};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    BODY_CHECKSUM, FRAME_HEADER, FrameHeader, FrameKind, RECORD_HEADER, Records, SEGMENT_HEADER,
    Seed, SegmentHeader, Sequence, body_crc, segment_name,
};

/// Bytes gathered before they are written.
const FLUSH: usize = 1 << 20;

/// What tells the restored log from the one that was backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLife {
    /// The id of the log, drawn at random.
    pub log_id: u64,
    /// Heads of records to be appended behind those of the backup.
    pub heads: Vec<Vec<u8>>,
    /// The clock that these are given; not before the last in the backup.
    pub time_ms: u64,
}

/// A log that is being written.
struct Writer<'a, D: Disk> {
    parent: &'a D,
    /// The folder that is going to be the data directory.
    folder: String,
    life: &'a NewLife,
    recovery: u32,
    /// All records up to this are safe when the directory has its name.
    last: Sequence,
    chain: u32,
}

impl<D: Disk> Verified<D> {
    /// Makes the data directory `name` in the directory of `parent`; there is none, or an empty
    /// one. It appears in one step, whole and safe. `tell` hears of bytes written.
    ///
    /// # Errors
    /// The disk refused, or the backup reads differently now; nothing but an unfinished folder,
    /// which the next try removes, is left then.
    pub fn restore<T: Disk>(
        &self,
        parent: &T,
        name: &str,
        life: &NewLife,
        mut tell: impl FnMut(u64),
    ) -> Result<(), BackupError> {
        let folder = format!(".{name}.restoring");
        self.check_room(parent)?;
        shelf::remove(parent, &folder)?;
        let recovery = self.history.recovery() + 1;
        let last = Sequence(self.manifest.last().0 + life.heads.len() as u64);
        let mut writer = Writer { parent, folder, life, recovery, last, chain: 0 };
        let mut newest = 0;
        for number in self.history.segments.keys() {
            self.frame_anew(*number, &mut writer, &mut tell)?;
            newest = *number;
        }
        writer.append(newest + 1, self.manifest.position.next)?;
        self.copy_checkpoint(&writer)?;
        let folder = &*writer.folder;
        for folder in [&*format!("{folder}/{}", checkpoint::FOLDER), folder] {
            parent.sync_folder(folder).map_err(WalError::io("sync", folder))?;
        }
        parent.rename_folder(folder, name).map_err(WalError::io("rename", folder))?;
        parent.sync_folder("").map_err(WalError::io("sync the folder of", name))?;
        Ok(())
    }

    fn check_room<T: Disk>(&self, parent: &T) -> Result<(), BackupError> {
        let space = parent.space().map_err(WalError::io("measure", "the room for a restore"))?;
        let needed = self.manifest.bytes();
        match space {
            Some(space) if space.free < needed => {
                Err(BackupError::Space { needed, free: space.free, kept: 0 })
            }
            _ => Ok(()),
        }
    }

    /// Writes one segment of the new log.
    fn frame_anew<T: Disk>(
        &self,
        number: u32,
        writer: &mut Writer<'_, T>,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), BackupError> {
        let mut out = writer.begin(number)?;
        let mut buffer = Vec::new();
        self.frames_of(number, |offset, header, payload| {
            writer.frame(number, offset, header, payload, &mut buffer);
            if buffer.len() >= FLUSH {
                out.write(&buffer)?;
                tell(buffer.len() as u64);
                buffer.clear();
            }
            Ok(())
        })?;
        out.write(&buffer)?;
        tell(buffer.len() as u64);
        out.finish()?;
        Ok(())
    }

    /// The checkpoint, whose chunks know nothing of the log's id.
    fn copy_checkpoint<T: Disk>(&self, writer: &Writer<'_, T>) -> Result<(), BackupError> {
        for listed in &self.manifest.files {
            let path = &*listed.path;
            if !checkpoint::is_file_of(path) {
                continue;
            }
            let mut out = OutFile::create(writer.parent, &writer.folder, path)?;
            if path.ends_with(".manifest") {
                let bytes = read_whole(&self.disk, path)?;
                let anew = relabel(&bytes, self.manifest.log_id, writer.life.log_id);
                out.write(&anew.ok_or_else(|| damaged(path, "reads differently each time"))?)?;
                out.finish()?;
                continue;
            }
            let file = self.disk.open(path).map_err(WalError::io("open", path))?;
            let mut buffer = vec![0; FLUSH];
            let mut at = 0;
            while at < listed.len {
                let read = file.read_at(at, &mut buffer).map_err(WalError::io("read", path))?;
                if read == 0 {
                    break;
                }
                out.write(&buffer[..read])?;
                at += read as u64;
            }
            // What is read a second time is checked a second time.
            if out.finish()?.sha256 != listed.sha256 {
                return Err(damaged(path, "reads differently each time"));
            }
        }
        Ok(())
    }
}

impl<D: Disk> Writer<'_, D> {
    fn begin(&self, segment: u32) -> Result<OutFile<D::File>, WalError> {
        let mut out = OutFile::create(self.parent, &self.folder, &segment_name(segment))?;
        let (log_id, recovery, safe) = (self.life.log_id, self.recovery, self.last);
        let header = SegmentHeader { log_id, segment, recovery, cut: None, safe };
        out.write(&header.encode())?;
        Ok(out)
    }

    /// Appends a frame as it is in the new log.
    fn frame(
        &mut self,
        segment: u32,
        offset: u32,
        header: &FrameHeader,
        payload: &[u8],
        into: &mut Vec<u8>,
    ) {
        let log_id = self.life.log_id;
        let seed = Seed { log_id, recovery: self.recovery, segment, offset };
        let start = into.len() + FRAME_HEADER;
        into.resize(start, 0);
        into.extend_from_slice(payload);
        let mut sequence = header.first;
        for record in Records::new(payload) {
            if !record.body.is_empty() {
                let checksum = body_crc(log_id, sequence, &[record.body]);
                let at = start + record.body_at;
                into[at..at + BODY_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            }
            sequence = Sequence(sequence.0 + 1);
        }
        let payload_crc = seed.payload_crc(&into[start..]);
        let header = FrameHeader { previous: self.chain, payload_crc, ..*header };
        let (bytes, checksum) = header.encode(seed);
        into[start - FRAME_HEADER..start].copy_from_slice(&bytes);
        self.chain = checksum;
    }

    /// Writes the segment behind those of the backup, with what the new life adds.
    fn append(&mut self, segment: u32, first: Sequence) -> Result<(), WalError> {
        let mut payload = Vec::new();
        for head in &self.life.heads {
            payload.extend_from_slice(&(head.len() as u32).to_le_bytes());
            payload.extend_from_slice(&[0; RECORD_HEADER - 4]);
            payload.extend_from_slice(head);
        }
        let header = FrameHeader {
            kind: FrameKind::Records,
            len: payload.len() as u32,
            count: self.life.heads.len() as u32,
            first,
            durable: Sequence(first.0 - 1),
            time_ms: self.life.time_ms,
            previous: 0,
            payload_crc: 0,
        };
        let mut out = self.begin(segment)?;
        let mut buffer = Vec::new();
        self.frame(segment, SEGMENT_HEADER, &header, &payload, &mut buffer);
        out.write(&buffer)?;
        out.finish()?;
        Ok(())
    }
}
