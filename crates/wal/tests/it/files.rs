use bytes::BufMut;
use sluice_wal::{BodyRef, Config, FileDisk, Log, Opened, Prepare, Sequence, Step};

type Record = (u64, Vec<u8>, BodyRef);

fn config() -> Config {
    Config { segment_bytes: 64 << 10, record_max: 16 << 10, ..Config::default() }
}

fn open(root: &std::path::Path) -> Opened<FileDisk> {
    Log::scan(FileDisk::new(root), config(), 77).unwrap().open(1_000).unwrap()
}

fn kept(opened: &Opened<FileDisk>) -> Vec<Record> {
    let mut records = Vec::new();
    opened
        .replay(|record| {
            records.push((record.sequence.0, record.head.to_vec(), record.body));
            Ok(())
        })
        .unwrap();
    records
}

fn append(log: &mut Log<FileDisk>, head: &[u8], body: &[u8]) -> (Sequence, BodyRef) {
    let stamp = log.append(|out| out.put_slice(head), &[body]);
    (stamp.sequence, stamp.body)
}

fn commit(log: &mut Log<FileDisk>, sync: bool) {
    let done = log.take_commit(sync, 1_000).unwrap().run();
    log.finish(done).unwrap();
}

#[test]
fn what_was_committed_is_there_after_a_crash_and_after_a_clean_end_across_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..6u64 {
        let mut opened = open(folder.path());
        assert_eq!(opened.report.clean, round == 0 || round % 2 == 0, "round {round}");
        let records = kept(&opened);
        let heads: Vec<_> = records.iter().map(|(n, head, _)| (*n, head.clone())).collect();
        assert_eq!(heads.len(), expected.len(), "round {round}");
        assert!(heads == expected, "round {round}");
        let reader = opened.log.reader();
        for (sequence, head, body) in &records {
            let bytes = reader.read(*body, Sequence(*sequence)).unwrap();
            assert_eq!(bytes.len(), 100 + head.len());
        }
        for n in 0..500u64 {
            let head = format!("{round}-{n}").into_bytes();
            let body = vec![n as u8; 100 + head.len()];
            let (sequence, at) = append(&mut opened.log, &head, &body);
            expected.push((sequence.0, head));
            if n % 7 == 0 {
                commit(&mut opened.log, n % 2 == 0);
                assert_eq!(opened.log.resident(at).unwrap(), body);
                assert_eq!(reader.read(at, sequence).unwrap(), body);
            }
            if n % 50 == 0 {
                let prepare = if n % 100 == 0 { Prepare::Zeros } else { Prepare::Space };
                opened.log.maintenance().step(prepare).unwrap();
            }
        }
        commit(&mut opened.log, true);
        if round % 2 == 1 {
            let done = opened.log.take_close_mark(1_000).unwrap().run();
            opened.log.finish(done).unwrap();
        }
    }
    let opened = open(folder.path());
    assert!(opened.log.segments().len() > 4);
    let sequences: Vec<u64> = kept(&opened).iter().map(|(n, _, _)| *n).collect();
    assert_eq!(sequences, (1..=3_000).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_is_retired_twice_is_removed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path()).log;
    while log.segments().len() < 3 {
        append(&mut log, b"filler", &[7; 8000]);
        commit(&mut log, true);
    }
    let first = log.segments()[0];
    log.retire(first);
    log.retire(first);
    while log.maintenance().step(Prepare::Space).unwrap() == Step::More {}
    assert!(!log.segments().contains(&first));
    log.retire(first);
    assert_eq!(log.maintenance().step(Prepare::Space).unwrap(), Step::Idle);
}
