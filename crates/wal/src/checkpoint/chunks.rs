//! Which chunks a generation has, where they lie, and what they take of each image.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::ChunkKey;
use super::pack::Lives;

/// Where a chunk or a pack lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The generation whose image holds it.
    pub(super) image: u32,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Place {
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// Small chunks that lie together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) place: Place,
    pub(super) lives: Lives,
}

/// All chunks of a generation, and what they take of each image, so that nobody has to look
/// through them to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    /// Those that lie alone.
    pub(super) alone: BTreeMap<ChunkKey, Place>,
    /// Those of the others, by numbers that mean nothing.
    pub(super) packs: BTreeMap<u32, Pack>,
    images: BTreeMap<u32, Share>,
}

/// What a generation needs of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Chunks that lie alone, and packs.
    pieces: u64,
    bytes: u64,
    /// Where the last of them ends that was ever needed, as far as is known.
    end: u64,
}

impl Chunks {
    /// A chunk lies alone, and not where it lay alone before.
    pub(super) fn insert_alone(&mut self, key: ChunkKey, place: Place) {
        let before = self.alone.insert(key, place);
        self.need(&place, place.len.into());
        if let Some(before) = before {
            self.forget(before.image, before.len.into(), true);
        }
    }

    pub(super) fn remove_alone(&mut self, key: &ChunkKey) {
        if let Some(before) = self.alone.remove(key) {
            self.forget(before.image, before.len.into(), true);
        }
    }

    /// A pack was written; `bytes` of it are needed.
    pub(super) fn insert_pack(&mut self, number: u32, pack: Pack, bytes: u64) {
        self.packs.insert(number, pack);
        self.need(&pack.place, bytes);
    }

    /// A chunk of a pack, which takes so many bytes of it, is not needed any more.
    pub(super) fn remove_packed(&mut self, number: u32, at: u8, bytes: u64) {
        let Some(pack) = self.packs.get_mut(&number) else { return };
        pack.lives.clear(at);
        let (image, is_gone) = (pack.place.image, pack.lives.is_empty());
        if is_gone {
            self.packs.remove(&number);
        }
        self.forget(image, bytes, is_gone);
    }

    /// Of the packs of each image so many bytes are needed: who reads a manifest learns of it from
    /// the packs.
    pub(super) fn recount(&mut self, packed: &BTreeMap<u32, u64>) {
        for (image, share) in &mut self.images {
            share.bytes = packed.get(image).copied().unwrap_or(0);
        }
        for place in self.alone.values() {
            if let Some(share) = self.images.get_mut(&place.image) {
                share.bytes += u64::from(place.len);
            }
        }
    }

    fn need(&mut self, place: &Place, bytes: u64) {
        let share = self.images.entry(place.image).or_default();
        share.pieces += 1;
        share.bytes += bytes;
        share.end = share.end.max(place.end());
    }

    fn forget(&mut self, image: u32, bytes: u64, piece: bool) {
        let Some(share) = self.images.get_mut(&image) else { return };
        share.bytes -= bytes;
        share.pieces -= u64::from(piece);
        if share.pieces == 0 {
            self.images.remove(&image);
        }
    }

    /// The images that they lie in.
    pub(super) fn images(&self) -> impl Iterator<Item = u32> {
        self.images.keys().copied()
    }

    /// Images that hold less than half of what they did.
    pub(super) fn sparse_images(&self) -> BTreeSet<u32> {
        let sparse = self.images.iter().filter(|(_, share)| share.bytes * 2 < share.end);
        sparse.map(|(image, _)| *image).collect()
    }

    /// Bytes of all of them where they lie, with what lies between them in packs.
    pub(super) fn bytes(&self) -> u64 {
        let packs = self.packs.values().map(|pack| &pack.place);
        self.alone.values().chain(packs).map(|place| u64::from(place.len)).sum()
    }
}

/// Where small chunks lie, by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    spots: HashMap<Halves, Spot, BuildHasherDefault<KeyHasher>>,
}

/// A key's halves, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Halves {
    high: u64,
    low: u64,
}

/// Where in which pack a chunk is, and the bytes that it takes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) pack: u32,
    pub(super) at: u8,
    pub(super) len: u16,
}

impl Index {
    pub(super) fn insert(&mut self, key: &ChunkKey, spot: Spot) -> Option<Spot> {
        self.spots.insert(Halves::of(key), spot)
    }

    pub(super) fn remove(&mut self, key: &ChunkKey) -> Option<Spot> {
        self.spots.remove(&Halves::of(key))
    }
}

impl Halves {
    fn of(key: &ChunkKey) -> Self {
        let number = u128::from_be_bytes(*key);
        Self { high: (number >> 64) as u64, low: number as u64 }
    }
}

impl Hash for Halves {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
        state.write_u64(self.high);
    }
}

/// Keys are numbers that the owner gives out: nobody chooses them so that they collide, and nobody
/// goes over them in the order of their hashes. Numbers that follow each other have places that do,
/// because those of an image often come in a row and no cache holds all of the index.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The map takes places from the low bits and tells those in one place apart by the high ones.
        self.0 ^ self.0.wrapping_mul(GOLDEN) >> 57 << 57
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        let above = (number >> 32).wrapping_mul(GOLDEN) >> 32;
        self.0 = (self.0 ^ above).wrapping_mul(GOLDEN).wrapping_add(number);
    }
}

/// 2 to the 64th divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> ChunkKey {
        [number; 16]
    }

    fn alone(image: u32, offset: u64, len: u32) -> Place {
        Place { image, offset, len, crc: 0 }
    }

    fn pack(image: u32, len: u32, count: u16) -> Pack {
        let mut lives = Lives::default();
        for _ in 0..count {
            lives.push();
        }
        Pack { place: alone(image, 0, len), lives }
    }

    #[test]
    fn shares_of_images_are_those_of_their_chunks_whatever_comes_and_goes() {
        let mut chunks = Chunks::default();
        let mut number = 7_u64;
        for step in 0..5_000_u64 {
            // Any sequence will do; this one is Knuth's.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = key((number >> 33) as u8 % 64);
            let (image, len) = ((step / 500) as u32, (number >> 40) as u32 % 100);
            match (number >> 60) % 4 {
                0 => chunks.remove_alone(&key),
                _ => chunks.insert_alone(key, alone(image, step * 100, len)),
            }
            let mut images: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            for place in chunks.alone.values() {
                let share = images.entry(place.image).or_default();
                *share = (share.0 + 1, share.1 + u64::from(place.len));
            }
            let told = chunks.images.iter().map(|(image, it)| (*image, (it.pieces, it.bytes)));
            assert_eq!(told.collect::<BTreeMap<_, _>>(), images);
            assert_eq!(chunks.bytes(), images.values().map(|(_, bytes)| bytes).sum::<u64>());
        }
    }

    #[test]
    fn a_pack_goes_with_its_last_chunk_and_its_image_with_that() {
        let mut chunks = Chunks::default();
        chunks.insert_pack(3, pack(1, 30, 3), 30);
        chunks.insert_alone(key(1), alone(2, 0, 10));
        assert_eq!(chunks.bytes(), 40);
        chunks.remove_packed(3, 1, 10);
        assert!(chunks.images().eq([1, 2]) && chunks.sparse_images().is_empty());
        chunks.remove_packed(3, 0, 10);
        assert_eq!(chunks.sparse_images(), BTreeSet::from([1]));
        assert_eq!(chunks.bytes(), 40, "it is as long as before");
        chunks.remove_packed(3, 2, 10);
        assert!(chunks.images().eq([2]) && chunks.packs.is_empty());
    }

    #[test]
    fn an_image_is_sparse_when_less_than_half_of_it_is_needed() {
        let mut chunks = Chunks::default();
        for number in 0..4 {
            chunks.insert_alone(key(number), alone(1, u64::from(number) * 10, 10));
        }
        chunks.remove_alone(&key(3));
        chunks.insert_alone(key(2), alone(2, 0, 10));
        assert!(chunks.sparse_images().is_empty(), "half of it is needed");
        chunks.remove_alone(&key(0));
        assert_eq!(chunks.sparse_images(), BTreeSet::from([1]));
        chunks.remove_alone(&key(1));
        assert!(chunks.sparse_images().is_empty(), "it goes by itself");
    }

    #[test]
    fn hashes_of_numbers_in_a_row_are_in_a_row_and_others_are_apart() {
        let hash = |kind: u8, queue: u32, chunk: u64| {
            let mut key = ChunkKey::default();
            key[0] = kind;
            key[4..8].copy_from_slice(&queue.to_be_bytes());
            key[8..].copy_from_slice(&chunk.to_be_bytes());
            let mut hasher = KeyHasher::default();
            Halves::of(&key).hash(&mut hasher);
            hasher.finish()
        };
        let place = |hash: u64| hash as u32 % (1 << 20);
        assert!(
            (0..1_000)
                .all(|no| place(hash(5, no + 1, 0)) == (place(hash(5, no, 0)) + 1) % (1 << 20))
        );
        let tags: BTreeSet<u64> = (0..1_000).map(|no| hash(5, no, 0) >> 57).collect();
        assert_eq!(tags.len(), 128);
        let all = (0..4).flat_map(|kind| (0..50).map(move |no| (kind, no)));
        let all = all.flat_map(|(kind, no)| (0..50).map(move |chunk| hash(kind, no, chunk)));
        let places: BTreeSet<u32> = all.map(place).collect();
        assert!(places.len() > 9_800, "{}", places.len());
    }
}
