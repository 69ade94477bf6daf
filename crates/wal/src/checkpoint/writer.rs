//! A generation on its way: what its owner hands in becomes an image.

use std::sync::Arc;

use super::chunks::{Index, Pack, Place, Spot};
use super::manifest::Manifest;
use super::pack::{self, Lives};
use super::read::{each_packed, each_place};
use super::{ChunkKey, image_header, image_path};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{Position, crc};

/// Bytes gathered before they are written to an image.
const FLUSH: usize = 1 << 20;
/// Bytes of chunks that one generation moves out of old images at most.
const MOVE_MAX: u64 = 8 << 20;

/// A generation on its way.
#[derive(Debug)]
pub struct CheckpointWriter<D: Disk> {
    image: Arc<D::File>,
    /// The image is a file of the reserve's, longer than what is written to it.
    reserved: bool,
    buffer: Vec<u8>,
    flushed: u64,
    /// The pack that takes small chunks.
    open: OpenPack,
    pub(super) manifest: Manifest,
    pub(super) index: Index,
}

/// Small chunks that are not written yet.
#[derive(Debug, Default)]
struct OpenPack {
    number: u32,
    bytes: Vec<u8>,
    lives: Lives,
    /// Bytes of those that are needed.
    needed: u64,
}

/// What is moved out of an old image.
enum Moved {
    Alone(ChunkKey),
    Pack(Pack),
}

impl<D: Disk> CheckpointWriter<D> {
    pub(super) fn new(
        image: Arc<D::File>,
        reserved: bool,
        manifest: Manifest,
        index: Index,
    ) -> Self {
        let number = manifest.chunks.packs.last_key_value().map_or(0, |(last, _)| last + 1);
        let open = OpenPack { number, ..OpenPack::default() };
        Self { image, reserved, buffer: image_header(), flushed: 0, open, manifest, index }
    }

    /// Puts a chunk in place of what its key named before.
    ///
    /// # Errors
    /// The disk refused.
    pub fn put(&mut self, key: ChunkKey, bytes: &[u8]) -> Result<(), WalError> {
        if bytes.len() > pack::ALONE {
            self.remove_packed(&key);
            let place = self.append(bytes);
            self.manifest.chunks.insert_alone(key, place);
        } else {
            self.manifest.chunks.remove_alone(&key);
            self.put_packed(&key, bytes);
        }
        if self.buffer.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    fn put_packed(&mut self, key: &ChunkKey, bytes: &[u8]) {
        let open = &mut self.open;
        let len = pack::put(&mut open.bytes, key, bytes);
        let spot = Spot { pack: open.number, at: open.lives.push(), len };
        open.needed += u64::from(len);
        if let Some(before) = self.index.insert(key, spot) {
            self.forget(before);
        }
        let OpenPack { lives, bytes, .. } = &self.open;
        if usize::from(lives.count) == pack::CHUNKS || bytes.len() >= pack::BYTES {
            self.close_pack();
        }
    }

    /// A small chunk is not needed any more.
    fn forget(&mut self, Spot { pack, at, len }: Spot) {
        if pack == self.open.number {
            self.open.lives.clear(at);
            self.open.needed -= u64::from(len);
        } else {
            self.manifest.chunks.remove_packed(pack, at, len.into());
        }
    }

    /// Gives the open pack its place, and opens the next one.
    fn close_pack(&mut self) {
        let next = OpenPack { number: self.open.number + 1, ..OpenPack::default() };
        let OpenPack { number, mut bytes, lives, needed } = std::mem::replace(&mut self.open, next);
        if !lives.is_empty() {
            let place = self.append(&bytes);
            self.manifest.chunks.insert_pack(number, Pack { place, lives }, needed);
        }
        bytes.clear();
        self.open.bytes = bytes;
    }

    fn append(&mut self, bytes: &[u8]) -> Place {
        let place = Place {
            image: self.manifest.generation,
            offset: self.flushed + self.buffer.len() as u64,
            len: bytes.len() as u32,
            crc: crc(&[bytes]),
        };
        self.buffer.extend_from_slice(bytes);
        place
    }

    /// Removes a chunk.
    pub fn remove(&mut self, key: &ChunkKey) {
        self.manifest.chunks.remove_alone(key);
        self.remove_packed(key);
    }

    fn remove_packed(&mut self, key: &ChunkKey) {
        if let Some(spot) = self.index.remove(key) {
            self.forget(spot);
        }
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
        self.flushed + (self.buffer.len() + self.open.bytes.len()) as u64
    }

    /// Moves chunks out of images that hold less than half of what they did, a bounded amount.
    pub(super) fn move_out_of_old_images(&mut self, disk: &D) -> Result<(), WalError> {
        let chunks = &self.manifest.chunks;
        let mut sparse = chunks.sparse_images();
        sparse.remove(&self.manifest.generation);
        if sparse.is_empty() {
            return Ok(());
        }
        let alone = chunks.alone.iter().map(|(key, place)| (Moved::Alone(*key), *place));
        let packs = chunks.packs.values().map(|pack| (Moved::Pack(*pack), pack.place));
        let mut left = MOVE_MAX;
        let mut moves = Vec::new();
        for (moved, place) in alone.chain(packs) {
            if sparse.contains(&place.image) && u64::from(place.len) <= left {
                left -= u64::from(place.len);
                moves.push((moved, place));
            }
        }
        each_place(disk, &mut moves, |moved, _, bytes| match moved {
            Moved::Alone(key) => self.put(*key, bytes),
            Moved::Pack(pack) => each_packed(pack, bytes, |_, _, key, chunk| self.put(key, chunk)),
        })
    }

    /// Makes all of it safe, and says how many bytes that are.
    pub(super) fn finish(&mut self) -> Result<u64, WalError> {
        self.close_pack();
        self.flush()?;
        let path = image_path(self.manifest.generation);
        if self.reserved {
            self.image.truncate(self.flushed).map_err(WalError::io("truncate", &*path))?;
        }
        self.image.sync().map_err(WalError::io("sync", &*path))?;
        Ok(self.flushed)
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
