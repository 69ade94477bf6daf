//! A generation that is kept readable while others follow it, and its copy elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunks::{Chunks, Pack, Place};
use super::manifest::Manifest;
use super::read::{Open, each_chunk, read_place};
use super::{Checkpoints, ChunkKey, FOLDER, image_header, image_path, manifest_path};
use crate::disk::Disk;
use crate::error::WalError;
use crate::format::Position;

/// A generation whose chunks stay readable until this is dropped.
#[derive(Clone, Debug)]
pub struct Held<D: Disk> {
    disk: D,
    log_id: u64,
    manifest: Arc<Manifest>,
}

impl<D: Disk> Checkpoints<D> {
    /// Keeps the newest generation readable; none where there is no generation.
    pub fn hold(&mut self) -> Option<Held<D>> {
        let manifest = Arc::new(self.latest()?.clone());
        self.held.retain(|held| held.strong_count() > 0);
        self.held.push(Arc::downgrade(&manifest));
        Some(Held { disk: self.disk.clone(), log_id: self.log_id, manifest })
    }
}

impl<D: Disk> Held<D> {
    /// Where replay starts from it.
    pub fn position(&self) -> Position {
        self.manifest.position
    }

    /// Visits every chunk of it, in the order of the keys.
    pub(crate) fn for_each<E: From<WalError>>(
        &self,
        mut visit: impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        each_chunk(&self.disk, &self.manifest, &mut visit)
    }

    /// Bytes of its chunks.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.chunks.bytes()
    }

    pub(crate) fn log_id(&self) -> u64 {
        self.log_id
    }

    pub(crate) fn copy(self) -> ImageCopy<D> {
        let Chunks { alone, packs, .. } = &self.manifest.chunks;
        let packs = packs.iter().map(|(number, pack)| Copied::Pack(*number, *pack));
        let alone = alone.iter().map(|(key, place)| Copied::Alone(*key, *place));
        let left = packs.chain(alone).collect();
        let chunks = Chunks::default();
        let manifest = Manifest { chunks, ..(*self.manifest).clone() };
        ImageCopy { held: self, open: Open::new(), left, manifest, at: 0 }
    }
}

/// One generation on its way into an image of its own.
#[derive(Debug)]
pub(crate) struct ImageCopy<D: Disk> {
    held: Held<D>,
    open: Open<D::File>,
    left: VecDeque<Copied>,
    manifest: Manifest,
    /// Bytes given so far.
    at: u64,
}

/// What is still to be copied. A pack is copied as it is, with what is not needed of it.
#[derive(Debug)]
enum Copied {
    Alone(ChunkKey, Place),
    Pack(u32, Pack),
}

impl Copied {
    fn place(&self) -> Place {
        match self {
            Self::Alone(_, place) => *place,
            Self::Pack(_, pack) => pack.place,
        }
    }
}

impl<D: Disk> ImageCopy<D> {
    pub(crate) fn image_path(&self) -> String {
        image_path(self.manifest.generation)
    }

    pub(crate) fn manifest_path(&self) -> String {
        manifest_path(self.manifest.generation)
    }

    /// Appends the next bytes of the image, about `len` of them; none are left if it appends none.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>, len: usize) -> Result<(), WalError> {
        let begun = into.len();
        if self.at == 0 {
            into.extend_from_slice(&image_header());
        }
        while into.len() - begun < len
            && let Some(next) = self.left.pop_front()
        {
            let bytes = read_place(&self.held.disk, &mut self.open, &next.place())?;
            let image = self.manifest.generation;
            let offset = self.at + (into.len() - begun) as u64;
            let place = Place { image, offset, ..next.place() };
            let chunks = &mut self.manifest.chunks;
            match next {
                Copied::Alone(key, _) => chunks.insert_alone(key, place),
                Copied::Pack(number, Pack { lives, .. }) => {
                    chunks.insert_pack(number, Pack { place, lives }, place.len.into());
                }
            }
            into.extend_from_slice(&bytes);
        }
        self.at += (into.len() - begun) as u64;
        Ok(())
    }

    /// The manifest of the image, once all of it was read.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        self.manifest.encode(self.held.log_id)
    }
}

/// The manifest that `bytes` are, as that of another log.
pub(crate) fn relabel(bytes: &[u8], log_id: u64, new_id: u64) -> Option<Vec<u8>> {
    Some(Manifest::decode(bytes, log_id)?.encode(new_id))
}

/// Whether a path is that of an image or a manifest.
pub(crate) fn is_file_of(path: &str) -> bool {
    let name = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
    let number = name
        .and_then(|name| name.strip_suffix(".image").or_else(|| name.strip_suffix(".manifest")));
    number.is_some_and(|number| number.len() == 8 && number.parse::<u32>().is_ok())
}
