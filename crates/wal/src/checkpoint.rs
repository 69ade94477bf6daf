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
//! generations are kept; an image goes when neither refers to it.

mod copy;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Weak};

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{FORMAT_MAJOR, Position, Sequence, crc, u32_at, u64_at};
use crate::history::damaged;
use crate::reserve::{self, Reserve};

pub use copy::Held;
pub(crate) use copy::{ImageCopy, is_file_of, relabel};

pub(crate) const FOLDER: &str = "checkpoints";
/// Since version 2 the owner's chunks may be of kinds that programs of version 1 read wrongly.
pub(crate) const MANIFEST_MAJOR: u16 = FORMAT_MAJOR + 1;
pub(crate) const MANIFEST_MAGIC: &[u8; 8] = b"SLUICECP";
/// Images of the first programs begin without it; a manifest says where each chunk lies.
pub(crate) const IMAGE_MAGIC: &[u8; 8] = b"SLUICEIM";
const IMAGE_HEADER: usize = 16;
const HEADER: usize = 64;
const ENTRY: usize = 36;
/// Bytes gathered before they are written to an image.
const FLUSH: usize = 1 << 20;
/// With less free space than this and all chunks an image is written to the reserve.
const SHORT: u64 = 1 << 20;
/// Bytes of chunks that one generation moves out of old images at most.
const MOVE_MAX: u64 = 8 << 20;
/// Chunks to move that lie so close together are read at once, and so many bytes at most: a hundred
/// thousand small ones would be as many reads.
const GAP: u64 = 4 << 10;
const BLOCK: u64 = 256 << 10;

/// Names a chunk; the owner gives it a meaning.
pub type ChunkKey = [u8; 16];

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The generation whose image holds it.
    image: u32,
    offset: u64,
    len: u32,
    crc: u32,
}

/// One complete generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u32,
    /// Where replay starts.
    pub(crate) position: Position,
    /// Records up to this were safe when it was published.
    pub(crate) durable: Sequence,
    pub(crate) time_ms: u64,
    chunks: Chunks,
}

/// All chunks of a generation, and what they take of each image, so that nobody has to look
/// through them to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunks {
    places: BTreeMap<ChunkKey, Place>,
    images: BTreeMap<u32, Share>,
    /// Bytes of all of them.
    bytes: u64,
}

/// What a generation needs of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    chunks: u64,
    bytes: u64,
    /// Where the last chunk ends that was ever needed, as far as is known.
    end: u64,
}

impl Chunks {
    fn insert(&mut self, key: ChunkKey, place: Place) {
        let before = self.places.insert(key, place);
        self.bytes += u64::from(place.len);
        let share = self.images.entry(place.image).or_default();
        share.chunks += 1;
        share.bytes += u64::from(place.len);
        share.end = share.end.max(place.offset + u64::from(place.len));
        if let Some(before) = before {
            self.forget(before);
        }
    }

    fn remove(&mut self, key: &ChunkKey) {
        if let Some(before) = self.places.remove(key) {
            self.forget(before);
        }
    }

    /// A place is not needed any more.
    fn forget(&mut self, place: Place) {
        self.bytes -= u64::from(place.len);
        let Some(share) = self.images.get_mut(&place.image) else { return };
        share.bytes -= u64::from(place.len);
        share.chunks -= 1;
        if share.chunks == 0 {
            self.images.remove(&place.image);
        }
    }

    /// Images that hold less than half of what they did.
    fn sparse_images(&self) -> BTreeSet<u32> {
        let sparse = self.images.iter().filter(|(_, share)| share.bytes * 2 < share.end);
        sparse.map(|(image, _)| *image).collect()
    }
}

impl Manifest {
    fn encode(&self, log_id: u64) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out[..8].copy_from_slice(MANIFEST_MAGIC);
        out[8..10].copy_from_slice(&MANIFEST_MAJOR.to_le_bytes());
        out[12..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&log_id.to_le_bytes());
        out[24..28].copy_from_slice(&self.position.segment.to_le_bytes());
        out[28..32].copy_from_slice(&self.position.offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.next.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.durable.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.time_ms.to_le_bytes());
        out[56..64].copy_from_slice(&(self.chunks.places.len() as u64).to_le_bytes());
        for (key, place) in &self.chunks.places {
            out.extend_from_slice(key);
            out.extend_from_slice(&place.image.to_le_bytes());
            out.extend_from_slice(&place.offset.to_le_bytes());
            out.extend_from_slice(&place.len.to_le_bytes());
            out.extend_from_slice(&place.crc.to_le_bytes());
        }
        let checksum = crc(&[&out]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a manifest back; none where it is damaged.
    fn decode(bytes: &[u8], log_id: u64) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<4>()?;
        let sound = content.len() >= HEADER
            && content[..8] == *MANIFEST_MAGIC
            && crc(&[content]) == u32::from_le_bytes(*checksum)
            && u64_at(content, 16) == log_id;
        if !sound {
            return None;
        }
        let mut chunks = Chunks::default();
        for entry in content[HEADER..].chunks_exact(ENTRY) {
            let key = entry[..16].try_into().ok()?;
            let place = Place {
                image: u32_at(entry, 16),
                offset: u64_at(entry, 20),
                len: u32_at(entry, 28),
                crc: u32_at(entry, 32),
            };
            chunks.insert(key, place);
        }
        Some(Self {
            generation: u32_at(content, 12),
            position: Position {
                segment: u32_at(content, 24),
                offset: u32_at(content, 28),
                next: Sequence(u64_at(content, 32)),
            },
            durable: Sequence(u64_at(content, 40)),
            time_ms: u64_at(content, 48),
            chunks,
        })
    }
}

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
        (manifest.chunks.bytes, (HEADER + 4 + manifest.chunks.places.len() * ENTRY) as u64)
    }

    pub(crate) fn latest(&self) -> Option<&Manifest> {
        self.kept.last()
    }

    /// Forgets the newest generation, whose chunks can't be read.
    pub(crate) fn fall_back(&mut self) {
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
    /// The disk refused; nothing has changed.
    pub fn begin(&mut self, position: Position) -> Result<CheckpointWriter<D>, WalError> {
        self.remove_unpublished();
        let generation = self.newest + 1;
        let path = image_path(generation);
        let (image, reserved) = self.find_space(&path)?;
        self.newest = generation;
        self.unpublished = Some(generation);
        let chunks = self.latest().map(|manifest| manifest.chunks.clone()).unwrap_or_default();
        let manifest = Manifest { generation, position, durable: Sequence(0), time_ms: 0, chunks };
        Ok(CheckpointWriter { image, reserved, buffer: image_header(), flushed: 0, manifest })
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
        if !writer.reserved {
            self.move_out_of_old_images(&mut writer)?;
        }
        writer.flush()?;
        let generation = writer.manifest.generation;
        let image = image_path(generation);
        if writer.reserved {
            writer.image.truncate(writer.flushed).map_err(WalError::io("truncate", &*image))?;
        }
        writer.image.sync().map_err(WalError::io("sync", &*image))?;
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
        self.written_bytes += writer.flushed + bytes.len() as u64;
        self.kept.push(writer.manifest);
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

    /// Moves chunks out of images that hold less than half of what they did, a bounded amount.
    fn move_out_of_old_images(&self, writer: &mut CheckpointWriter<D>) -> Result<(), WalError> {
        let mut sparse = writer.manifest.chunks.sparse_images();
        sparse.remove(&writer.manifest.generation);
        if sparse.is_empty() {
            return Ok(());
        }
        let mut left = MOVE_MAX;
        let mut moves = Vec::new();
        for (key, place) in &writer.manifest.chunks.places {
            if sparse.contains(&place.image) && u64::from(place.len) <= left {
                left -= u64::from(place.len);
                moves.push((*key, *place));
            }
        }
        moves.sort_unstable_by_key(|(_, place)| (place.image, place.offset));
        let mut open = BTreeMap::new();
        let mut left = &moves[..];
        while !left.is_empty() {
            let (run, rest) = left.split_at(run_of(left));
            let block = Block::read(&self.disk, &mut open, run);
            for (key, place) in run {
                match block.get(place) {
                    Some(bytes) => writer.put(*key, bytes)?,
                    // Alone it may be readable, or the reason is told.
                    None => writer.put(*key, &read_place(&self.disk, &mut open, place)?)?,
                }
            }
            left = rest;
        }
        Ok(())
    }

    /// Removes what no kept generation needs. A generation that was given up goes too, or it would
    /// stand for one of the two that a start may fall back to. Should a crash keep a manifest whose
    /// image is gone, two whole ones are there beside it.
    fn remove_unneeded(&self) -> Result<(), WalError> {
        let kept: BTreeSet<u32> = self.kept.iter().map(|manifest| manifest.generation).collect();
        let images = self.kept.iter().flat_map(|manifest| manifest.chunks.images.keys());
        let mut needed: BTreeSet<u32> = images.copied().collect();
        for held in self.held.iter().filter_map(Weak::upgrade) {
            needed.extend(held.chunks.images.keys());
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

fn each_chunk<D: Disk, E: From<WalError>>(
    disk: &D,
    manifest: &Manifest,
    visit: &mut impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut open = BTreeMap::new();
    for (key, place) in &manifest.chunks.places {
        let bytes = read_place(disk, &mut open, place)?;
        visit(key, &bytes)?;
    }
    Ok(())
}

/// A generation on its way.
#[derive(Debug)]
pub struct CheckpointWriter<D: Disk> {
    image: Arc<D::File>,
    /// The image is a file of the reserve's, longer than what is written to it.
    reserved: bool,
    buffer: Vec<u8>,
    flushed: u64,
    manifest: Manifest,
}

impl<D: Disk> CheckpointWriter<D> {
    /// Puts a chunk in place of what its key named before.
    ///
    /// # Errors
    /// The disk refused.
    pub fn put(&mut self, key: ChunkKey, bytes: &[u8]) -> Result<(), WalError> {
        let place = Place {
            image: self.manifest.generation,
            offset: self.flushed + self.buffer.len() as u64,
            len: bytes.len() as u32,
            crc: crc(&[bytes]),
        };
        self.buffer.extend_from_slice(bytes);
        self.manifest.chunks.insert(key, place);
        if self.buffer.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Removes a chunk.
    pub fn remove(&mut self, key: &ChunkKey) {
        self.manifest.chunks.remove(key);
    }

    /// Removes every chunk: the generation holds only what is put from now on.
    pub fn clear(&mut self) {
        self.manifest.chunks = Chunks::default();
    }

    /// Where replay starts from this generation.
    pub fn position(&self) -> Position {
        self.manifest.position
    }

    /// Whether it is written to the reserve, for want of free space.
    pub fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Bytes of chunks put so far.
    pub fn bytes(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), WalError> {
        if !self.buffer.is_empty() {
            let path = image_path(self.manifest.generation);
            let write = self.image.write_at(self.flushed, &self.buffer);
            write.map_err(WalError::io("write", path))?;
            self.flushed += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
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

/// How many of these chunks, which are in the order of their places, are read at once.
fn run_of(places: &[(ChunkKey, Place)]) -> usize {
    let first = places.first().map_or(0, |(_, place)| place.offset);
    let together = places.windows(2).take_while(|pair| {
        let [(_, one), (_, next)] = pair else { return false };
        let end = one.offset + u64::from(one.len);
        one.image == next.image && next.offset <= end + GAP && next.offset < first + BLOCK
    });
    (1 + together.count()).min(places.len())
}

/// Part of an image.
#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Reads where a run of chunks lies; it is empty if that can't be read.
    fn read<D: Disk>(
        disk: &D,
        open: &mut BTreeMap<u32, Arc<D::File>>,
        run: &[(ChunkKey, Place)],
    ) -> Self {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else {
            return Self::default();
        };
        let Ok(file) = open_image(disk, open, first.image) else { return Self::default() };
        let end = last.offset + u64::from(last.len);
        let mut bytes = vec![0; usize::try_from(end - first.offset).unwrap_or(0)];
        let read = file.read_at(first.offset, &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        Self { start: first.offset, bytes }
    }

    /// A chunk of it, if it is sound.
    fn get(&self, place: &Place) -> Option<&[u8]> {
        let start = usize::try_from(place.offset.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(start..)?.get(..place.len as usize)?;
        Some(bytes).filter(|bytes| crc(&[bytes]) == place.crc)
    }
}

/// Reads a chunk and checks it. `open` keeps the images that it lies in.
fn read_place<D: Disk>(
    disk: &D,
    open: &mut BTreeMap<u32, Arc<D::File>>,
    place: &Place,
) -> Result<Vec<u8>, WalError> {
    let path = image_path(place.image);
    let file = open_image(disk, open, place.image)?;
    let mut bytes = vec![0; place.len as usize];
    let read = file.read_at(place.offset, &mut bytes).map_err(WalError::io("read", &*path))?;
    if read < bytes.len() || crc(&[&bytes]) != place.crc {
        return Err(damaged(&path, place.offset, Sequence(0), "a damaged chunk"));
    }
    Ok(bytes)
}

fn open_image<D: Disk>(
    disk: &D,
    open: &mut BTreeMap<u32, Arc<D::File>>,
    image: u32,
) -> Result<Arc<D::File>, WalError> {
    if let Some(file) = open.get(&image) {
        return Ok(Arc::clone(file));
    }
    let path = image_path(image);
    let file = disk.open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(&path, 0, Sequence(0), "a missing image"),
        _ => WalError::io("open", &*path)(error),
    })?;
    open.insert(image, Arc::clone(&file));
    Ok(file)
}

pub(crate) fn read_whole<D: Disk>(disk: &D, path: &str) -> Result<Vec<u8>, WalError> {
    let file = disk.open(path).map_err(WalError::io("open", path))?;
    let len = file.size().map_err(WalError::io("measure", path))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes).map_err(WalError::io("read", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_images_are_those_of_their_chunks_whatever_comes_and_goes() {
        let mut chunks = Chunks::default();
        let mut number = 7_u64;
        for step in 0..5_000_u64 {
            // Any sequence will do; this one is Knuth's.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut key = [0; 16];
            key[0] = (number >> 33) as u8 % 64;
            let (image, len) = ((step / 500) as u32, (number >> 40) as u32 % 100);
            match (number >> 60) % 4 {
                0 => chunks.remove(&key),
                _ => chunks.insert(key, Place { image, offset: step * 100, len, crc: 0 }),
            }
            let mut images: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            for place in chunks.places.values() {
                let share = images.entry(place.image).or_default();
                *share = (share.0 + 1, share.1 + u64::from(place.len));
            }
            let told = chunks.images.iter().map(|(image, it)| (*image, (it.chunks, it.bytes)));
            assert_eq!(told.collect::<BTreeMap<_, _>>(), images);
            assert_eq!(chunks.bytes, images.values().map(|(_, bytes)| bytes).sum::<u64>());
        }
    }

    #[test]
    fn a_manifest_of_version_1_is_read() {
        let mut chunks = Chunks::default();
        chunks.insert([7; 16], Place { image: 1, offset: 16, len: 3, crc: 9 });
        let (position, durable) = (Position::default(), Sequence(4));
        let manifest = Manifest { generation: 2, position, durable, time_ms: 5, chunks };
        let mut bytes = manifest.encode(3);
        let end = bytes.len() - 4;
        bytes[8] = 1;
        let checksum = crc(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Manifest::decode(&bytes, 3), Some(manifest));
    }

    #[test]
    fn chunks_that_lie_close_together_are_read_at_once() {
        let at = |image, offset, len| ([0; 16], Place { image, offset, len, crc: 0 });
        let cases = [
            (vec![at(1, 0, 10)], 1),
            (vec![at(1, 0, 10), at(1, 10, 10), at(2, 20, 10)], 2),
            (vec![at(1, 0, 10), at(1, 10 + GAP, 10), at(1, 21 + 2 * GAP, 10)], 2),
            (vec![at(1, 5, 1 << 20), at(1, 5 + (1 << 20), 10)], 1),
        ];
        for (places, expected) in cases {
            assert_eq!(run_of(&places), expected, "{places:?}");
        }
    }

    #[test]
    fn a_block_gives_only_chunks_that_are_sound() {
        let bytes = b"onetwo".to_vec();
        let block = Block { start: 100, bytes };
        let place = |offset, len, crc| Place { image: 1, offset, len, crc };
        assert_eq!(block.get(&place(103, 3, crc(&[b"two"]))), Some(&b"two"[..]));
        assert_eq!(block.get(&place(103, 3, crc(&[b"one"]))), None, "damaged");
        assert_eq!(block.get(&place(104, 3, crc(&[b"wo"]))), None, "cut short");
        assert_eq!(block.get(&place(99, 3, 0)), None);
    }

    #[test]
    fn an_image_is_sparse_when_less_than_half_of_it_is_needed() {
        let mut chunks = Chunks::default();
        let key = |number: u8| [number; 16];
        for number in 0..4 {
            let offset = u64::from(number) * 10;
            chunks.insert(key(number), Place { image: 1, offset, len: 10, crc: 0 });
        }
        chunks.remove(&key(3));
        chunks.insert(key(2), Place { image: 2, offset: 0, len: 10, crc: 0 });
        assert!(chunks.sparse_images().is_empty(), "half of it is needed");
        chunks.remove(&key(0));
        assert_eq!(chunks.sparse_images(), BTreeSet::from([1]));
        chunks.remove(&key(1));
        assert!(chunks.sparse_images().is_empty(), "it goes by itself");
    }
}
