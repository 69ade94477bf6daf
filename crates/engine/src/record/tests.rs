use proptest::prelude::*;

use super::*;

fn samples() -> Vec<Record<'static>> {
    let target = Target::new(QueueNo(7), Seq(1 << 40));
    let timed = Target { expires_at: Timestamp::from_millis(99), ..target };
    let generation = Generation { start: 3, counter: 12 };
    let at = Timestamp::from_millis(1_700_000_000_000);
    let extras = Extras {
        priority: 9,
        cost: 7,
        group: Some("g".into()),
        keys: vec!["stripe:1".into(), "eu".into()],
        dedupe_id: Some("d".into()),
        ..Extras::default()
    };
    let id = MessageId { start: 3, counter: 5 };
    let published = |targets: Vec<Target>, extras: Option<Extras>| Record::Published {
        at,
        id,
        targets: targets.into(),
        extras: extras.map(Cow::Owned),
        content: None,
    };
    vec![
        Record::Founded { lease_key: *b"0123456789abcdef" },
        Record::Started { start: 3, at, unclean: true },
        Record::Subscribed {
            queue: QueueNo(7),
            at,
            name: None,
            pattern: "a.>".into(),
            owner: "@127.0.0.1".into(),
        },
        Record::Subscribed {
            queue: QueueNo(8),
            at,
            name: Some("billing".into()),
            pattern: "a".into(),
            owner: "k1".into(),
        },
        Record::Unsubscribed { queue: QueueNo(7) },
        published(vec![target], None),
        published(vec![target, timed], Some(extras)),
        Record::Moved { targets: vec![target].into(), body: None },
        Record::Granted { target, generation, deadline: at, bound: true },
        Record::Acked { target, generation },
        Record::Returned { target, cause: Cause::Lost, ready_at: at },
        Record::Buried { target, reason: DeadReason::Corrupt, at },
        Record::Removed { target, why: Removal::Dropped },
    ]
}

#[test]
fn records_come_back_as_they_were_written_and_never_from_a_part() {
    for record in samples() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "{record:?} cut at {cut}");
        }
        bytes.push(0);
        assert_eq!(Record::decode(&bytes), Err(RecordError::Long(1)), "{record:?}");
    }
}

/// The bytes on disk are a contract: a change here needs a new format version.
#[test]
fn golden_bytes_of_the_commonest_records_stay() {
    let hex = |record: &Record<'_>| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let target = Target::new(QueueNo(2), Seq(5));
    let generation = Generation { start: 1, counter: 3 };
    let at = Timestamp::from_millis(0x0102);
    let id = MessageId { start: 1, counter: 4 };
    let published =
        Record::Published { at, id, targets: vec![target].into(), extras: None, content: None };
    assert_eq!(
        hex(&published),
        "0502010000000000000100000004000000000000000001000000020000000500000000000000"
    );
    assert_eq!(
        hex(&Record::Acked { target, generation }),
        "08020000000500000000000000010000000300000000000000"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }
}
