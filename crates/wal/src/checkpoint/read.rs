//! Chunks read back from the images that they lie in, and checked.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::chunks::{Chunks, Index, Pack, Place, Spot};
use super::manifest::Manifest;
use super::pack::{self, Packed};
use super::{ChunkKey, image_path};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{Sequence, crc};
use crate::history::damaged;

/// What lies so close together is read at once, and so many bytes at most: a hundred thousand small
/// chunks would be as many reads.
const GAP: u64 = 4 << 10;
const BLOCK: u64 = 256 << 10;

/// Images that are open.
pub(super) type Open<F> = BTreeMap<u32, Arc<F>>;

/// How many of these, which are in the order of their places, are read at once.
pub(super) fn run_of<T>(places: &[(T, Place)]) -> usize {
    let first = places.first().map_or(0, |(_, place)| place.offset);
    let together = places.windows(2).take_while(|pair| {
        let [(_, one), (_, next)] = pair else { return false };
        let is_close = next.offset <= one.end() + GAP && next.offset < first + BLOCK;
        one.image == next.image && is_close
    });
    (1 + together.count()).min(places.len())
}

/// Part of an image.
#[derive(Debug, Default)]
pub(super) struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Reads where a run of chunks or packs lies; it is empty if that can't be read.
    pub(super) fn read<D: Disk, T>(disk: &D, open: &mut Open<D::File>, run: &[(T, Place)]) -> Self {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else {
            return Self::default();
        };
        let Ok(file) = open_image(disk, open, first.image) else { return Self::default() };
        let mut bytes = vec![0; usize::try_from(last.end() - first.offset).unwrap_or(0)];
        let read = file.read_at(first.offset, &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        Self { start: first.offset, bytes }
    }

    /// A chunk or pack of it, if it is sound.
    pub(super) fn get(&self, place: &Place) -> Option<&[u8]> {
        let start = usize::try_from(place.offset.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(start..)?.get(..place.len as usize)?;
        Some(bytes).filter(|bytes| crc(&[bytes]) == place.crc)
    }
}

/// Visits what lies at these places, in their order. Much of it is read at once; what is not sound
/// then is read again by itself, and may be readable, or the reason is told.
pub(super) fn each_place<D: Disk, T, E: From<WalError>>(
    disk: &D,
    places: &mut [(T, Place)],
    mut visit: impl FnMut(&T, &Place, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    places.sort_unstable_by_key(|(_, place)| (place.image, place.offset));
    let mut open = Open::new();
    let mut left = &places[..];
    while !left.is_empty() {
        let (run, rest) = left.split_at(run_of(left));
        let block = Block::read(disk, &mut open, run);
        for (which, place) in run {
            match block.get(place) {
                Some(bytes) => visit(which, place, bytes)?,
                None => visit(which, place, &read_place(disk, &mut open, place)?)?,
            }
        }
        left = rest;
    }
    Ok(())
}

/// Visits the chunks of a pack that are needed, each with its number in the pack and the bytes that it
/// takes there.
pub(super) fn each_packed<E: From<WalError>>(
    Pack { place, lives }: &Pack,
    bytes: &[u8],
    mut visit: impl FnMut(u8, u16, ChunkKey, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut found = 0;
    for (at, chunk) in pack::chunks(bytes).enumerate() {
        let Packed { key, bytes, len } = chunk.ok_or_else(|| no_pack(place))?;
        found += 1;
        if lives.has(at) {
            visit(at as u8, len, key, bytes)?;
        }
    }
    if found == lives.count { Ok(()) } else { Err(no_pack(place).into()) }
}

/// What has the checksum of a pack and is none.
fn no_pack(place: &Place) -> WalError {
    damaged(&image_path(place.image), place.offset, Sequence(0), "a damaged pack of chunks")
}

/// Finds the small chunks again, and how many bytes of each image's packs are needed.
pub(super) fn index<D: Disk>(
    disk: &D,
    packs: &BTreeMap<u32, Pack>,
) -> Result<(Index, BTreeMap<u32, u64>), WalError> {
    let (mut index, mut needed) = (Index::default(), BTreeMap::new());
    each_place(disk, &mut places(packs), |number, place, bytes| {
        let Some(pack) = packs.get(number) else { return Ok(()) };
        let of_image: &mut u64 = needed.entry(place.image).or_default();
        each_packed(pack, bytes, |at, len, key, _| {
            *of_image += u64::from(len);
            index.insert(&key, Spot { pack: *number, at, len });
            Ok::<_, WalError>(())
        })
    })?;
    Ok((index, needed))
}

fn places(packs: &BTreeMap<u32, Pack>) -> Vec<(u32, Place)> {
    packs.iter().map(|(number, pack)| (*number, pack.place)).collect()
}

/// Visits every chunk in the order of the keys.
pub(super) fn each_chunk<D: Disk, E: From<WalError>>(
    disk: &D,
    manifest: &Manifest,
    visit: &mut impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let Chunks { alone, packs, .. } = &manifest.chunks;
    let (mut small, mut contents): (Vec<(ChunkKey, Range<usize>)>, Vec<u8>) = Default::default();
    each_place(disk, &mut places(packs), |number, _, bytes| {
        let Some(pack) = packs.get(number) else { return Ok(()) };
        each_packed(pack, bytes, |_, _, key, chunk| {
            let begun = contents.len();
            contents.extend_from_slice(chunk);
            small.push((key, begun..contents.len()));
            Ok::<_, WalError>(())
        })
    })?;
    small.sort_unstable_by_key(|(key, _)| *key);
    let mut open = Open::new();
    let mut small = small.into_iter().peekable();
    for (key, place) in alone {
        while let Some((small, range)) = small.next_if(|(small, _)| small < key) {
            visit(&small, &contents[range])?;
        }
        visit(key, &read_place(disk, &mut open, place)?)?;
    }
    small.try_for_each(|(key, range)| visit(&key, &contents[range]))
}

/// Reads a chunk or a pack and checks it. `open` keeps the images that it lies in.
pub(super) fn read_place<D: Disk>(
    disk: &D,
    open: &mut Open<D::File>,
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
    open: &mut Open<D::File>,
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
    use super::super::pack::Lives;
    use super::*;

    #[test]
    fn what_lies_close_together_is_read_at_once() {
        let at = |image, offset, len| ((), Place { image, offset, len, crc: 0 });
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
    fn a_block_gives_only_what_is_sound() {
        let bytes = b"onetwo".to_vec();
        let block = Block { start: 100, bytes };
        let place = |offset, len, crc| Place { image: 1, offset, len, crc };
        assert_eq!(block.get(&place(103, 3, crc(&[b"two"]))), Some(&b"two"[..]));
        assert_eq!(block.get(&place(103, 3, crc(&[b"one"]))), None, "damaged");
        assert_eq!(block.get(&place(104, 3, crc(&[b"wo"]))), None, "cut short");
        assert_eq!(block.get(&place(99, 3, 0)), None);
    }

    #[test]
    fn what_is_no_pack_or_has_another_number_of_chunks_is_damaged() {
        let (mut bytes, mut lives) = (Vec::new(), Lives::default());
        for number in 0..3 {
            pack::put(&mut bytes, &[number; 16], b"chunk");
            lives.push();
        }
        lives.clear(1);
        let pack = Pack { place: Place::default(), lives };
        let keys = |pack: &Pack, bytes: &[u8]| {
            let mut keys = Vec::new();
            let visit = |at, _, key: ChunkKey, _: &[u8]| {
                keys.push((at, key[0]));
                Ok::<_, WalError>(())
            };
            each_packed(pack, bytes, visit).map(|()| keys)
        };
        assert_eq!(keys(&pack, &bytes).ok(), Some(vec![(0, 0), (2, 2)]));
        assert!(keys(&pack, &bytes[1..]).is_err());
        lives.push();
        assert!(keys(&Pack { lives, ..pack }, &bytes).is_err());
    }
}
