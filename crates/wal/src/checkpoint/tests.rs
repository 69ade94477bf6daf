//! Generations of images: what they hold, and what a crash leaves of them.

use std::collections::BTreeMap;

use super::*;
use crate::disk::SimulatedDisk;

type Model = BTreeMap<ChunkKey, Vec<u8>>;

fn open() -> (SimulatedDisk, Checkpoints<SimulatedDisk>) {
    let disk = SimulatedDisk::new();
    let (checkpoints, damaged) = Checkpoints::open(disk.clone(), 7).unwrap();
    assert_eq!(damaged, 0);
    (disk, checkpoints)
}

fn found(checkpoints: &Checkpoints<SimulatedDisk>) -> Vec<(ChunkKey, Vec<u8>)> {
    let mut found = Vec::new();
    let visit = |key: &ChunkKey, bytes: &[u8]| {
        found.push((*key, bytes.to_vec()));
        Ok::<_, WalError>(())
    };
    checkpoints.for_each(visit).unwrap();
    found
}

/// Any sequence will do; this one is Knuth's.
fn next(number: &mut u64) -> u64 {
    *number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *number >> 33
}

#[test]
fn every_generation_holds_what_was_put_last_of_each_chunk_in_the_order_of_the_keys() {
    let (disk, mut checkpoints) = open();
    let (mut model, mut number) = (Model::new(), 5);
    for generation in 0..60 {
        let mut writer = match generation % 20 {
            19 => {
                model.clear();
                checkpoints.begin_anew(Position::default()).unwrap()
            }
            _ => checkpoints.begin(Position::default()).unwrap(),
        };
        for _ in 0..next(&mut number) % 700 {
            let mut key = ChunkKey::default();
            key[7] = (next(&mut number) % 40) as u8;
            key[15] = (next(&mut number) % 20) as u8;
            let len = match next(&mut number) % 40 {
                0 => pack::ALONE + 1 + next(&mut number) as usize % 9_000,
                1 => pack::ALONE,
                _ => next(&mut number) as usize % 60,
            };
            match next(&mut number) % 5 {
                0 => {
                    writer.remove(&key);
                    model.remove(&key);
                }
                _ => {
                    let bytes = vec![generation as u8; len];
                    writer.put(key, &bytes).unwrap();
                    model.insert(key, bytes);
                }
            }
        }
        match generation % 7 {
            // It is lost, and the next one holds everything.
            6 => {
                drop(writer);
                let mut writer = checkpoints.begin_anew(Position::default()).unwrap();
                for (key, bytes) in &model {
                    writer.put(*key, bytes).unwrap();
                }
                checkpoints.publish(writer, Sequence(0), 1).unwrap();
            }
            _ => checkpoints.publish(writer, Sequence(0), 1).unwrap(),
        }
        if generation % 5 == 4 {
            checkpoints = Checkpoints::open(disk.clone(), 7).unwrap().0;
        }
        assert!(found(&checkpoints).into_iter().eq(model.clone()), "generation {generation}");
        let (image, manifest) = checkpoints.whole_bytes();
        let needed: usize = model.values().map(Vec::len).sum();
        assert!(image >= needed as u64 && manifest > 0);
    }
}

#[test]
fn what_images_hold_is_the_same_however_often_a_generation_is_given_up() {
    let (disk, mut checkpoints) = open();
    for (count, byte) in [(100, 1), (40, 2)] {
        let mut writer = checkpoints.begin(Position::default()).unwrap();
        for number in 0..count {
            writer.put([number; 16], &[byte; 50]).unwrap();
        }
        writer.put([200 + byte; 16], &[byte; pack::ALONE + 1]).unwrap();
        checkpoints.publish(writer, Sequence(0), 1).unwrap();
    }
    let published = checkpoints.latest().unwrap().chunks.clone();
    for _ in 0..3 {
        let writer = checkpoints.begin(Position::default()).unwrap();
        assert_eq!(writer.manifest.chunks, published);
    }
    let mut again = Checkpoints::open(disk, 7).unwrap().0;
    let writer = again.begin(Position::default()).unwrap();
    assert_eq!(writer.manifest.chunks, published, "read back");
}

#[test]
fn the_manifest_of_many_small_chunks_takes_less_than_a_byte_for_each() {
    let (_, mut checkpoints) = open();
    let mut writer = checkpoints.begin(Position::default()).unwrap();
    for number in 0..10_000_u32 {
        let mut key = ChunkKey::default();
        key[4..8].copy_from_slice(&number.to_be_bytes());
        writer.put(key, &[1; 20]).unwrap();
    }
    checkpoints.publish(writer, Sequence(0), 1).unwrap();
    let (image, manifest) = checkpoints.whole_bytes();
    assert!(manifest < 5_000, "{manifest}");
    assert!(image < 10_000 * 30, "{image}");
    let read = found(&checkpoints);
    assert_eq!(read.len(), 10_000);
}
/// Chunks in packs and alone, those of `byte`.
fn put_all(writer: &mut CheckpointWriter<SimulatedDisk>, model: &mut Model, byte: u8) {
    for number in 0..60_u8 {
        // Some are replaced by each generation, some stay in the images of earlier ones.
        if number % 3 != byte % 3 {
            continue;
        }
        let key = [number; 16];
        if number % 5 == byte % 5 {
            writer.remove(&key);
            model.remove(&key);
            continue;
        }
        let len = if number % 4 == 0 { pack::ALONE + 500 } else { 40 };
        writer.put(key, &vec![byte; len]).unwrap();
        model.insert(key, vec![byte; len]);
    }
}

#[test]
fn a_crash_in_any_operation_of_a_publication_leaves_the_generation_before_or_this_one() {
    let mut after = [0, 0];
    for seed in 0..4 {
        let disk = SimulatedDisk::with_faults(seed);
        let (mut checkpoints, _) = Checkpoints::open(disk.clone(), 7).unwrap();
        let mut model = Model::new();
        for byte in 1..=4 {
            let mut writer = checkpoints.begin(Position::default()).unwrap();
            put_all(&mut writer, &mut model, byte);
            checkpoints.publish(writer, Sequence(0), 1).unwrap();
        }
        let before = (disk.snapshot(), model);
        for operation in 1.. {
            let disk = SimulatedDisk::from_snapshot(&before.0);
            disk.reseed(seed * 1_000 + operation);
            let (mut checkpoints, _) = Checkpoints::open(disk.clone(), 7).unwrap();
            disk.crash_at_operation(disk.operations() + operation);
            let mut next = before.1.clone();
            let published = checkpoints.begin(Position::default()).and_then(|mut writer| {
                put_all(&mut writer, &mut next, 5);
                checkpoints.publish(writer, Sequence(0), 1)
            });
            let lived = !disk.is_dead();
            disk.crash_power();
            let (checkpoints, damaged) = Checkpoints::open(disk, 7).unwrap();
            assert_eq!(damaged, 0, "seed {seed}, operation {operation}");
            let found: Model = found(&checkpoints).into_iter().collect();
            let is_next = found == next;
            assert!(is_next || found == before.1, "seed {seed}, operation {operation}");
            assert!(is_next || published.is_err(), "what was published is there");
            after[usize::from(is_next)] += 1;
            if lived {
                break;
            }
        }
    }
    assert!(after[0] > 20 && after[1] > 4, "{after:?}");
}
