//! A backup that was read from its first byte to its last, each found to be what it was.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::backup::manifest::{BackupManifest, Listed, MANIFEST};
use crate::backup::walk::Walk;
use crate::backup::{BackupError, damaged};
use crate::checkpoint::{self, Checkpoints, ChunkKey, read_whole};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    BODY_CHECKSUM, FILLER, FRAME_HEADER, FrameHeader, FrameKind, Position, Records, Sequence,
    body_crc, segment_name, segment_number, u32_at,
};
use crate::history::{Entry, History, Window};
use crate::recovery::{Replayed, replay_frame};

/// Bytes read at a time.
const READ: usize = 1 << 20;

/// A backup of which every byte was checked.
#[derive(Debug)]
pub struct Verified<D: Disk> {
    pub(crate) disk: D,
    pub(crate) manifest: BackupManifest,
    pub(crate) history: History<D>,
    checkpoints: Checkpoints<D>,
}

impl<D: Disk> Verified<D> {
    /// Reads the backup that is the directory of `disk` and checks all of it: the checksum of each
    /// file, frame, body and chunk, and that no record is missing. `tell` hears of bytes read and
    /// of bytes in all, each byte counted twice: once as a file's and once as a frame's.
    ///
    /// # Errors
    /// It is damaged, or the disk refused.
    pub fn read(disk: D, mut tell: impl FnMut(u64, u64)) -> Result<Self, BackupError> {
        let names = disk.list("").map_err(WalError::io("list", "the backup"))?;
        if !names.iter().any(|name| name == MANIFEST) {
            return Err(BackupError::None);
        }
        let manifest = BackupManifest::decode(&read_whole(&disk, MANIFEST)?)?;
        check_names(&disk, &manifest, names)?;
        let total = 2 * manifest.bytes();
        let mut done = 0;
        for listed in &manifest.files {
            check_file(&disk, listed, |bytes| {
                done += bytes;
                tell(done, total);
            })?;
        }
        let history = History::read(&disk).map_err(|error| named(error, MANIFEST))?;
        if let Some(entry) =
            history.segments.values().find(|entry| entry.header.log_id != manifest.log_id)
        {
            return Err(damaged(&segment_name(entry.header.segment), "is of another log"));
        }
        let (checkpoints, wrong) = Checkpoints::open(disk.clone(), manifest.log_id)?;
        if wrong > 0 || checkpoints.position().is_none() {
            return Err(damaged(checkpoint::FOLDER, "holds no checkpoint that can be used"));
        }
        let verified = Self { disk, manifest, history, checkpoints };
        verified.images(|_, _| Ok::<_, BackupError>(()))?;
        verified.check_frames(|bytes| {
            done += bytes;
            tell(done, total);
        })?;
        tell(total, total);
        Ok(verified)
    }

    /// What it holds.
    pub fn manifest(&self) -> &BackupManifest {
        &self.manifest
    }

    /// Where replay starts from its checkpoint.
    pub fn replay_from(&self) -> Position {
        self.checkpoints.position().unwrap_or_default()
    }

    /// The clock of the last commit in it, in milliseconds since 1970.
    pub fn last_time_ms(&self) -> Result<u64, BackupError> {
        let mut last = self.checkpoints.latest().map_or(0, |latest| latest.time_ms);
        self.frames(|_, _, header, _| {
            last = last.max(header.time_ms);
            Ok(())
        })?;
        Ok(last)
    }

    /// Visits every chunk of its checkpoint, in the order of the keys.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn images<E: From<BackupError>>(
        &self,
        mut visit: impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        /// What `visit` says, past a reader that knows only of logs.
        enum Said<E> {
            Log(WalError),
            Visitor(E),
        }
        impl<E> From<WalError> for Said<E> {
            fn from(error: WalError) -> Self {
                Self::Log(error)
            }
        }
        let told = self.checkpoints.for_each(|key, bytes| visit(key, bytes).map_err(Said::Visitor));
        told.map_err(|said| match said {
            Said::Log(error) => named(error, checkpoint::FOLDER).into(),
            Said::Visitor(error) => error,
        })
    }

    /// Visits every record there is, in order; those before [`Verified::replay_from`] are in the
    /// checkpoint, as far as they matter.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn records(
        &self,
        mut visit: impl FnMut(Replayed<'_>) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let mut refused = None;
        self.frames(|entry, offset, header, payload| {
            let mut guarded = |record: Replayed<'_>| {
                if refused.is_none() {
                    refused = visit(record).err();
                }
                Ok(())
            };
            replay_frame(entry.header.segment, offset, header, payload, &mut guarded)?;
            Ok(())
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Visits every frame, in order: its segment, place, header and payload.
    pub(crate) fn frames(
        &self,
        mut visit: impl FnMut(&Entry<D::File>, u32, &FrameHeader, &[u8]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        for (number, entry) in &self.history.segments {
            self.frames_of(*number, |offset, header, payload| {
                visit(entry, offset, header, payload)
            })?;
        }
        Ok(())
    }

    /// As [`Verified::frames`], for one segment.
    pub(crate) fn frames_of(
        &self,
        number: u32,
        mut visit: impl FnMut(u32, &FrameHeader, &[u8]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(entry) = self.history.segments.get(&number) else { return Ok(()) };
        let (mut walk, mut window) = (Walk::new(), Window::default());
        loop {
            let offset = walk.offset;
            let Some((header, frame)) = walk.frame(entry, &mut window)? else { break };
            visit(offset, &header, &frame[FRAME_HEADER..])?;
        }
        match u64::from(walk.offset) == entry.len {
            true => Ok(()),
            false => Err(damaged(&segment_name(number), "has a damaged frame")),
        }
    }

    /// Checks every frame and body, and that no record is missing from the checkpoint on.
    fn check_frames(&self, mut tell: impl FnMut(u64)) -> Result<(), BackupError> {
        let covered = self.replay_from().next;
        let mut next = covered;
        self.frames(|entry, _, header, payload| {
            let file = || segment_name(entry.header.segment);
            tell((FRAME_HEADER + payload.len()) as u64);
            check_records(self.manifest.log_id, header, payload)
                .map_err(|what| damaged(&file(), what))?;
            if header.first > next {
                return Err(damaged(&file(), "does not go on where the file before it ends"));
            }
            next = next.max(header.next());
            Ok(())
        })?;
        match next == self.manifest.position.next {
            true => Ok(()),
            false => Err(damaged(MANIFEST, "says of more or fewer records than there are")),
        }
    }
}

/// Checks that just those files are there that the manifest names.
fn check_names<D: Disk>(
    disk: &D,
    manifest: &BackupManifest,
    names: Vec<String>,
) -> Result<(), BackupError> {
    let inner = disk.list(checkpoint::FOLDER).map_err(WalError::io("list", "the backup"))?;
    let inner = inner.into_iter().map(|name| format!("{}/{name}", checkpoint::FOLDER));
    let there: BTreeSet<String> = names.into_iter().chain(inner).collect();
    let named: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.path).collect();
    if let Some(missing) = named.iter().find(|path| !there.contains(**path)) {
        return Err(damaged(missing, "is missing"));
    }
    // Anything else may lie beside them, but nothing that would be taken for a part of the log.
    let is_ours = |path: &&String| segment_number(path).is_some() || checkpoint::is_file_of(path);
    match there.iter().filter(is_ours).find(|path| !named.contains(&***path)) {
        Some(other) => Err(damaged(other, "is not in the manifest")),
        None => Ok(()),
    }
}

fn check_file<D: Disk>(
    disk: &D,
    listed: &Listed,
    mut tell: impl FnMut(u64),
) -> Result<(), BackupError> {
    let path = &*listed.path;
    let file = disk.open(path).map_err(WalError::io("open", path))?;
    let len = file.size().map_err(WalError::io("measure", path))?;
    if len != listed.len {
        return Err(damaged(path, "has another length"));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ];
    let mut at = 0;
    while at < len {
        let read = file.read_at(at, &mut buffer).map_err(WalError::io("read", path))?;
        if read == 0 {
            return Err(damaged(path, "has another length"));
        }
        hash.update(&buffer[..read]);
        at += read as u64;
        tell(read as u64);
    }
    let found: [u8; 32] = hash.finalize().into();
    if found == listed.sha256 { Ok(()) } else { Err(damaged(path, "has another checksum")) }
}

/// Checks what only frames say of their records: how many there are, and each body.
fn check_records(log_id: u64, header: &FrameHeader, payload: &[u8]) -> Result<(), &'static str> {
    if header.kind != FrameKind::Records {
        let filled = header.kind == FrameKind::Lost && payload.iter().all(|byte| *byte == FILLER);
        let sound = payload.is_empty() || filled;
        return if sound { Ok(()) } else { Err("has a mark with records") };
    }
    let (mut sequence, mut count) = (header.first, 0);
    for record in Records::new(payload) {
        if !record.body.is_empty() {
            let at = record.body_at;
            let stated = payload.get(at..at + BODY_CHECKSUM).map(|bytes| u32_at(bytes, 0));
            if stated != Some(body_crc(log_id, sequence, &[record.body])) {
                return Err("has a damaged body");
            }
        }
        sequence = Sequence(sequence.0 + 1);
        count += 1;
    }
    if count == header.count { Ok(()) } else { Err("has a frame with fewer records than it says") }
}

/// What a log calls corrupt is a damaged backup here.
fn named(error: WalError, file: &str) -> BackupError {
    match error {
        WalError::Corrupt(damage) => {
            let what = damage.what;
            let file = if damage.file.is_empty() { file.to_owned() } else { damage.file };
            BackupError::Damaged { file, what }
        }
        error => error.into(),
    }
}
