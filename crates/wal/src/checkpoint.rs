//! Checkpoints: images of the owner's state in chunks, of which only changed ones are written
//! anew, and a manifest that says which chunk is where and from which place in the log on records
//! have to be replayed.
//!
//! ```text
//! checkpoints/00000007.image      magic and version, then chunks written for generation 7
//! checkpoints/00000007.manifest   all chunks of generation 7, in this and older images
//! ```
//!
//! A generation exists once its manifest was renamed into place and the folder synced. Two
//! generations are kept; an image goes when neither refers to it. Small chunks lie in packs, of
//! which the manifest says only which of their chunks are still there.

mod chunks;
mod copy;
mod manifest;
mod pack;
mod read;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{FORMAT_MAJOR, Position, Sequence, u64_at};
use crate::reserve::{self, Reserve};
use chunks::{Chunks, Index};
use manifest::{HEADER, Manifest};
use read::each_chunk;

pub use copy::Held;
pub(crate) use copy::{ImageCopy, is_file_of, relabel};
pub(crate) use manifest::{MANIFEST_MAGIC, MANIFEST_MAJOR};
pub(crate) use read::read_whole;
pub use writer::CheckpointWriter;

pub(crate) const FOLDER: &str = "checkpoints";
/// Images of the first programs begin without it; a manifest says where each chunk lies.
pub(crate) const IMAGE_MAGIC: &[u8; 8] = b"SLUICEIM";
const IMAGE_HEADER: usize = 16;
/// With less free space than this and all chunks an image is written to the reserve.
const SHORT: u64 = 1 << 20;

/// Names a chunk; the owner gives it a meaning.
pub type ChunkKey = [u8; 16];

fn manifest_path(generation: u32) -> String {
    format!("{FOLDER}/{generation:08}.manifest")
}

fn image_path(generation: u32) -> String {
    format!("{FOLDER}/{generation:08}.image")
}

/// The checkpoints of one log.
#[derive(Debug)]
pub struct Checkpoints<D: Disk> {
    disk: D,
    log_id: u64,
    /// The kept generations, oldest first; more than two only where a crash came before the
    /// removal of an older one.
    kept: Vec<Manifest>,
    /// Generations that somebody reads, kept or not.
    held: Vec<Weak<Manifest>>,
    /// The highest record that any whole manifest shows to have been safe: what it says of the log
    /// stands, whatever became of its image.
    durable: Sequence,
    /// Highest generation number ever seen, damaged ones included.
    newest: u32,
    /// Bytes written for checkpoints since they were opened.
    written_bytes: u64,
    /// A generation whose image was begun and that was not published.
    unpublished: Option<u32>,
    /// The small chunks of the newest generation; none until one follows it, and while one does.
    index: Option<Index>,
    /// Space for when there is none.
    reserve: Option<Arc<Reserve<D>>>,
}

impl<D: Disk> Checkpoints<D> {
    /// Finds the checkpoints of a log. Gives how many manifests were damaged, too.
    pub(crate) fn open(disk: D, log_id: u64) -> Result<(Self, u32), WalError> {
        let mut kept = Vec::new();
        let mut newest = 0;
        let mut damaged = 0;
        for name in disk.list(FOLDER).map_err(WalError::io("list", FOLDER))? {
            let Some(number) = name.strip_suffix(".manifest") else { continue };
            let Ok(generation) = number.parse::<u32>() else { continue };
            newest = newest.max(generation);
            let path = manifest_path(generation);
            let bytes = read_whole(&disk, &path)?;
            if bytes.len() > 10 && bytes[..8] == *MANIFEST_MAGIC {
                let found = u16::from_le_bytes([bytes[8], bytes[9]]);
                if found > MANIFEST_MAJOR {
                    return Err(WalError::Version { file: path, found, known: MANIFEST_MAJOR });
                }
            }
            match Manifest::decode(&bytes, log_id) {
                Some(manifest) if manifest.generation == generation => kept.push(manifest),
                _ => damaged += 1,
            }
        }
        kept.sort_by_key(|manifest: &Manifest| manifest.generation);
        let durable = kept.iter().map(|manifest| manifest.durable).max().unwrap_or_default();
        Ok((
            Self {
                disk,
                log_id,
                kept,
                held: Vec::new(),
                durable,
                newest,
                written_bytes: 0,
                unpublished: None,
                index: None,
                reserve: None,
            },
            damaged,
        ))
    }

    /// Has them fall back on `reserve`.
    pub(crate) fn set_reserve(&mut self, reserve: Option<Arc<Reserve<D>>>) {
        self.reserve = reserve;
    }

    /// Bytes of an image of everything in the newest generation, and of its manifest.
    pub fn whole_bytes(&self) -> (u64, u64) {
        let Some(manifest) = self.latest() else { return (0, 0) };
        (manifest.chunks.bytes(), manifest.encoded_len())
    }

    pub(crate) fn latest(&self) -> Option<&Manifest> {
        self.kept.last()
    }

    /// Forgets the newest generation, whose chunks can't be read.
    pub(crate) fn fall_back(&mut self) {
        self.index = None;
        self.kept.pop();
    }

    /// The highest record that a checkpoint shows to have been safe.
    pub(crate) fn durable(&self) -> Sequence {
        self.durable
    }

    /// Where replay starts from the older of the two kept generations: what ended before is
    /// covered by both. None while there are not two.
    pub fn covered_by_both(&self) -> Option<Position> {
        if self.kept.len() < 2 { None } else { self.kept.first().map(|manifest| manifest.position) }
    }

    /// Where replay starts from the newest generation.
    pub fn position(&self) -> Option<Position> {
        self.latest().map(|manifest| manifest.position)
    }

    /// Where replay starts from each of the kept generations.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.kept.iter().map(|manifest| manifest.position)
    }

    /// Bytes written for checkpoints since the log was opened.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Begins the next generation, for the state at `position`. What is neither put nor removed
    /// stays as it was.
    ///
    /// # Errors
    /// The disk refused, or what there was can't be read; nothing has changed.
    pub fn begin(&mut self, position: Position) -> Result<CheckpointWriter<D>, WalError> {
        let mut chunks = self.latest().map(|manifest| manifest.chunks.clone()).unwrap_or_default();
        let index = match self.index.take() {
            Some(index) => index,
            None => {
                let (index, needed) = read::index(&self.disk, &chunks.packs)?;
                chunks.recount(&needed);
                index
            }
        };
        self.begin_with(position, chunks, index)
    }

    /// Begins the next generation, for the state at `position`. It holds only what is put.
    ///
    /// # Errors
    /// The disk refused; nothing has changed.
    pub fn begin_anew(&mut self, position: Position) -> Result<CheckpointWriter<D>, WalError> {
        self.index = None;
        self.begin_with(position, Chunks::default(), Index::default())
    }

    fn begin_with(
        &mut self,
        position: Position,
        chunks: Chunks,
        index: Index,
    ) -> Result<CheckpointWriter<D>, WalError> {
        self.remove_unpublished();
        let generation = self.newest + 1;
        let path = image_path(generation);
        let (image, reserved) = self.find_space(&path)?;
        self.newest = generation;
        self.unpublished = Some(generation);
        let manifest = Manifest { generation, position, durable: Sequence(0), time_ms: 0, chunks };
        Ok(CheckpointWriter::new(image, reserved, manifest, index))
    }

    /// A file for an image, and whether it is the reserve's.
    fn find_space(&self, path: &str) -> Result<(Arc<D::File>, bool), WalError> {
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        // As a rule an image holds only what has changed, but that is not known before.
        let (image, manifest) = self.whole_bytes();
        let short = space.is_some_and(|space| space.free < image + manifest + SHORT);
        if let (true, Some(reserve)) = (short, &self.reserve)
            && let Some(file) = reserve.take(reserve::CHECKPOINT, path)?
        {
            return Ok((file, true));
        }
        let file = self.disk.create(path).map_err(WalError::io("create", path))?;
        Ok((file, false))
    }

    /// Gives back what an image has taken that was given up.
    fn remove_unpublished(&mut self) {
        if let Some(generation) = self.unpublished.take() {
            // What is left of it then goes with the next generation.
            let _ = self.disk.remove(&image_path(generation));
            let _ = self.disk.sync_folder(FOLDER);
        }
    }

    /// Makes a finished generation the newest, and removes what neither kept one needs.
    ///
    /// `synced` says how far the log is safe by now; it must cover the checkpoint's position.
    ///
    /// # Errors
    /// The disk refused; the generations before stand.
    ///
    /// # Panics
    /// If the log is not safe up to the checkpoint.
    pub fn publish(
        &mut self,
        mut writer: CheckpointWriter<D>,
        synced: Sequence,
        time_ms: u64,
    ) -> Result<(), WalError> {
        assert!(
            synced.0 + 1 >= writer.manifest.position.next.0,
            "a checkpoint must not show more than the log has made safe"
        );
        if !writer.is_reserved() {
            writer.move_out_of_old_images(&self.disk)?;
        }
        let generation = writer.manifest.generation;
        let written = writer.finish()?;
        // The image has its name before any manifest can name it.
        self.disk.sync_folder(FOLDER).map_err(WalError::io("sync", FOLDER))?;
        writer.manifest.durable = synced;
        writer.manifest.time_ms = time_ms;
        let bytes = writer.manifest.encode(self.log_id);
        let path = manifest_path(generation);
        let temporary = format!("{path}.tmp");
        self.write_manifest(&temporary, &bytes)?;
        self.disk.rename(&temporary, &path).map_err(WalError::io("rename", &*temporary))?;
        self.disk.sync_folder(FOLDER).map_err(WalError::io("sync", FOLDER))?;
        self.written_bytes += written + bytes.len() as u64;
        self.kept.push(writer.manifest);
        self.index = Some(writer.index);
        self.unpublished = None;
        self.durable = self.durable.max(synced);
        while self.kept.len() > 2 {
            self.kept.remove(0);
        }
        self.remove_unneeded()
    }

    fn write_manifest(&self, temporary: &str, bytes: &[u8]) -> Result<(), WalError> {
        let write = |file: &D::File| {
            file.write_at(0, bytes).map_err(WalError::io("write", temporary))?;
            file.sync().map_err(WalError::io("sync", temporary))
        };
        let create = || self.disk.create(temporary).map_err(WalError::io("create", temporary));
        let full = match create().and_then(|file| write(&file)) {
            Err(error) if error.is_no_space() => error,
            other => return other,
        };
        match &self.reserve {
            Some(reserve) => match reserve.take(reserve::MANIFEST, temporary)? {
                Some(file) => {
                    let len = bytes.len() as u64;
                    file.truncate(len).map_err(WalError::io("truncate", temporary))?;
                    write(&file)
                }
                None => Err(full),
            },
            None => Err(full),
        }
    }

    /// Removes what no kept generation needs. A generation that was given up goes too, or it would
    /// stand for one of the two that a start may fall back to. Should a crash keep a manifest whose
    /// image is gone, two whole ones are there beside it.
    fn remove_unneeded(&self) -> Result<(), WalError> {
        let kept: BTreeSet<u32> = self.kept.iter().map(|manifest| manifest.generation).collect();
        let images = self.kept.iter().flat_map(|manifest| manifest.chunks.images());
        let mut needed: BTreeSet<u32> = images.collect();
        for held in self.held.iter().filter_map(Weak::upgrade) {
            needed.extend(held.chunks.images());
        }
        let names = self.disk.list(FOLDER).map_err(WalError::io("list", FOLDER))?;
        let (images, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.ends_with(".image"));
        let unneeded = |name: &str, suffix: &str, needed: &BTreeSet<u32>| {
            let number = name.strip_suffix(suffix).and_then(|number| number.parse::<u32>().ok());
            number.is_some_and(|number| number <= self.newest && !needed.contains(&number))
        };
        for name in others {
            if name.ends_with(".tmp") || unneeded(&name, ".manifest", &kept) {
                self.remove(&name)?;
            }
        }
        for name in images.iter().filter(|name| unneeded(name, ".image", &needed)) {
            self.remove(name)?;
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), WalError> {
        let path = format!("{FOLDER}/{name}");
        self.disk.remove(&path).map_err(WalError::io("remove", &*path))
    }

    /// Visits every chunk of the newest generation in the order of the keys.
    pub(crate) fn for_each<E: From<WalError>>(
        &self,
        mut visit: impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.latest() {
            Some(manifest) => each_chunk(&self.disk, manifest, &mut visit),
            None => Ok(()),
        }
    }
}

/// The log's id, as whole manifests tell it.
pub(crate) fn log_id_of_manifests<D: Disk>(disk: &D) -> Result<Option<u64>, WalError> {
    for name in disk.list(FOLDER).map_err(WalError::io("list", FOLDER))? {
        if !name.ends_with(".manifest") {
            continue;
        }
        let bytes = read_whole(disk, &format!("{FOLDER}/{name}"))?;
        if bytes.len() < HEADER {
            continue;
        }
        let log_id = u64_at(&bytes, 16);
        if Manifest::decode(&bytes, log_id).is_some() {
            return Ok(Some(log_id));
        }
    }
    Ok(None)
}

fn image_header() -> Vec<u8> {
    let mut out = vec![0; IMAGE_HEADER];
    out[..8].copy_from_slice(IMAGE_MAGIC);
    out[8..10].copy_from_slice(&FORMAT_MAJOR.to_le_bytes());
    out
}

#[cfg(test)]
mod tests;
