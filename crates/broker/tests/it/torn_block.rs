//! A crash of the machine in the middle of a block's commit: all of it is there, or none.

use std::collections::VecDeque;

use sluice_broker::local::{Driver, Entropy, Input, LocalConfig, Parcel, ParcelContent, start};
use sluice_model::{
    Answer, BlockBuilder, Client, Command, Confirm, Destination, Principal, PublishBlock, Qos,
    QueueName, QueueRequest, QueueSettings, Request, Timestamp,
};
use sluice_wal::{Disk, DiskFile, SimulatedDisk};

const SEGMENT: &str = "00000001.seg";
const SECTOR: usize = 512;
const MESSAGES: u64 = 12;

fn config() -> LocalConfig {
    let mut config = LocalConfig::default();
    config.wal.segment_bytes = 128 << 10;
    config.wal.record_max = 60 << 10;
    // The block is several times as long.
    config.wal.frame_bytes = 4 << 10;
    config.engine.queue.max_message_bytes = 8 << 10;
    config
}

fn started(disk: &SimulatedDisk) -> Driver<SimulatedDisk> {
    let now = Timestamp::from_millis(1_700_000_000_000);
    start(disk.clone(), &config(), now, Entropy { log_id: 1, seed: 1 }).unwrap().driver
}

fn ask(driver: &mut Driver<SimulatedDisk>, command: Command) {
    let now = Timestamp::from_millis(1_700_000_000_001);
    let session =
        driver.open(Client { principal: Principal::Anonymous, peer: [127, 0, 0, 1].into() });
    let mut requests = VecDeque::from([Request { tag: 1, command }]);
    driver.turn(now, Input::Requests { session, written: 0, requests: &mut requests }).unwrap();
    while let Some(commit) = driver.take_commit(now) {
        driver.turn(now, Input::Committed(commit.run())).unwrap();
    }
    let replies: Vec<_> = driver.take_released().collect();
    let refused = |(_, parcel): &(_, Parcel)| {
        matches!(parcel.content, ParcelContent::Answer(Answer::Refused(_)))
    };
    assert!(!replies.iter().any(refused), "{replies:?}");
}

/// Bytes of the segment up to the last that is not zero.
fn used(disk: &SimulatedDisk) -> usize {
    disk.bytes(SEGMENT).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A disk whose last commit is a block for `queue`, and where that begins and ends.
fn written(queue: &QueueName) -> (SimulatedDisk, usize, usize) {
    let disk = SimulatedDisk::new();
    let mut driver = started(&disk);
    let settings = QueueSettings::default();
    let declare = QueueRequest::Declare { name: queue.clone(), settings, update: false };
    ask(&mut driver, Command::Queue(Box::new(declare)));
    let begin = used(&disk);
    let mut messages = BlockBuilder::default();
    for number in 0..MESSAGES {
        messages.push(&[1 + number as u8; 1_500]);
    }
    let to = Destination::Queue(queue.clone());
    let (qos, level, confirm) = (Qos::AtLeastOnce, None, Confirm::Always);
    let messages = messages.finish();
    let block = PublishBlock { to, qos, level, messages, whole: true, confirm, each: false };
    ask(&mut driver, Command::PublishBlock(Box::new(block)));
    assert_eq!(driver.stats().queued, MESSAGES);
    (disk.clone(), begin, used(&disk))
}

#[test]
fn a_whole_block_that_is_torn_between_any_two_sectors_is_not_there() {
    let (disk, begin, end) = written(&QueueName::new("q").unwrap());
    assert!(end - begin > 4 * config().wal.frame_bytes, "it is longer than frames are");
    let snapshot = disk.snapshot();
    for from in (begin.next_multiple_of(SECTOR)..end).step_by(SECTOR) {
        let copy = SimulatedDisk::from_snapshot(&snapshot);
        copy.crash_process();
        let file = copy.open(SEGMENT).unwrap();
        file.write_at(from as u64, &vec![0; end - from]).unwrap();
        file.sync().unwrap();
        assert_eq!(started(&copy).stats().queued, 0, "all from byte {from} on is lost");
    }
    let copy = SimulatedDisk::from_snapshot(&snapshot);
    copy.crash_process();
    assert_eq!(started(&copy).stats().queued, MESSAGES);
}
