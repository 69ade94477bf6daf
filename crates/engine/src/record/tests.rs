use proptest::prelude::*;

use super::*;

fn samples() -> Vec<Record<'static>> {
    let target = Target::new(QueueNo(7), Seq(1 << 40));
    let timed = Target { expires_at: Timestamp::from_millis(99), ..target };
    let generation = Generation { start: 3, counter: 12 };
    let at = Timestamp::from_millis(1_700_000_000_000);
    let lane = Lane {
        priority: 9,
        cost: 7,
        group: Some("g".into()),
        keys: vec!["stripe:1".into(), "eu".into()],
    };
    let mut settings = QueueSettings::default();
    settings.set_text("lease_ms", "5000").unwrap();
    settings.set_text("jitter", "0.5").unwrap();
    let mark = |scope| DedupeMark { scope, id: 1 << 99, body: 7, until: at };
    let topic = DedupeScope::Topic(Topic::new("a.b").unwrap());
    let id = MessageId { start: 3, counter: 5 };
    let published = |targets: Vec<Target>, lane: Option<Lane>, dedupe: Option<DedupeMark>| {
        let (lane, dedupe) = (lane.map(Cow::Owned), dedupe.map(Cow::Owned));
        Record::Published { at, id, targets: targets.into(), lane, dedupe, content: None }
    };
    let what = Purge { waiting: true, leased: false, dead: true };
    vec![
        Record::Founded { lease_key: *b"0123456789abcdef" },
        Record::Started { start: 3, at, unclean: true },
        Record::Declared {
            queue: QueueNo(7),
            at,
            name: None,
            pattern: Some("a.>".into()),
            owner: "@127.0.0.1".into(),
            settings: Cow::Owned(QueueSettings::default()),
        },
        Record::Declared {
            queue: QueueNo(8),
            at,
            name: Some("billing".into()),
            pattern: None,
            owner: "k1".into(),
            settings: Cow::Owned(settings.clone()),
        },
        Record::Configured { queue: QueueNo(8), settings: Cow::Owned(settings) },
        Record::Ended { queue: QueueNo(7) },
        published(vec![target], None, None),
        published(vec![target, timed], Some(lane.clone()), Some(mark(topic))),
        published(vec![], None, Some(mark(DedupeScope::Queue(QueueNo(9))))),
        Record::Moved { targets: vec![target].into(), body: None },
        Record::Granted { target, generation, at, deadline: at, bound: true },
        Record::Extended { target, at, deadline: at },
        Record::Acked { target, generation },
        Record::Returned { target, cause: Cause::Lost, at, ready_at: at, note: None },
        Record::Buried { target, reason: DeadReason::Rejected, at, note: Some("no".into()) },
        Record::Rescheduled { target, at, ready_at: at },
        Record::Redriven { target, at, fence: generation },
        Record::Purged { queue: QueueNo(7), from: Seq(1), to: Seq(9), what },
        Record::Removed { target, why: Removal::Dropped },
    ]
}

fn samples_of_many() -> Vec<Record<'static>> {
    let (queue, at) = (QueueNo(7), Timestamp::from_millis(1_700_000_000_000));
    let generation = Generation { start: 3, counter: 12 };
    let runs = vec![Run { first: Seq(900), count: 100 }, Run { first: Seq(7), count: 2 }];
    let acked = runs.iter().map(|run| AckedRun { run: *run, generation }).collect::<Vec<_>>();
    vec![
        Record::GrantedMany { queue, generation, at, deadline: at, bound: true, runs: runs.into() },
        Record::AckedMany { queue, runs: acked.into() },
    ]
}

fn samples_of_redrives() -> Vec<Record<'static>> {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let age_min = Some(std::time::Duration::from_secs(60));
    let ids = vec![MessageId { start: 3, counter: 5 }, MessageId::default()];
    let all = [
        Redrive::Matching { reason: None, age_min: None },
        Redrive::Matching { reason: Some(DeadReason::Overflow), age_min },
        Redrive::Ids(ids),
    ];
    let begun = all.map(|which| Record::RedriveBegun {
        queue: QueueNo(7),
        number: 2,
        paced: Cow::Owned(PacedRedrive { asked_at: at, per_second: 9, which }),
    });
    let done = Record::RedriveDone { queue: QueueNo(7), number: 2 };
    begun.into_iter().chain([done]).collect()
}

fn samples_of_keys() -> Vec<Record<'static>> {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mark = DedupeMark { scope: DedupeScope::Keys, id: 1 << 99, body: 7, until: at };
    let set = |value: Vec<u8>, expires_at, dedupe: Option<KeyMark>| Record::KeySet {
        revision: 9,
        key: "users^eu^1".into(),
        kind: ValueKind::Text,
        value: value.into(),
        expires_at,
        dedupe: dedupe.map(Cow::Owned),
    };
    let gone = |expired| Record::KeyGone { revision: 10, key: "users^eu^1".into(), expired };
    vec![
        set(Vec::new(), Timestamp::EPOCH, None),
        set(vec![7; 300], at, Some(KeyMark { mark, sum: -1 })),
        gone(true),
        gone(false),
    ]
}

fn samples_of_limits() -> Vec<Record<'static>> {
    let (queue, at) = (QueueNo(7), Timestamp::from_millis(1_700_000_000_000));
    let limit = |name, scope: &str, pattern, key: Option<&str>, terms: &str| {
        let queue = pattern;
        let key = key.map(|key| sluice_model::KeyPattern::new(key).unwrap());
        let matches = LimitMatch { queue: sluice_model::QueuePattern::new(queue).unwrap(), key };
        Limit::new(name, scope.parse().unwrap(), matches, terms.parse().unwrap()).unwrap()
    };
    let stripe = limit("stripe", "key", "pay.>", Some("stripe:*"), "2.5/s burst 10 window 100/1m");
    let matches = Some(Cow::Owned(stripe.matches().clone()));
    let paused = Paused { until: Some(at), by: Some("ops".into()), reason: None };
    let endless = Paused { until: None, by: None, reason: Some("deploy".into()) };
    let by_hand = |key: Option<&'static str>, pause: Option<Paused>| Record::Paused {
        queue,
        key: key.map(Cow::Borrowed),
        at,
        pause: pause.map(Cow::Owned),
    };
    let throttled =
        |retry_after| Record::Throttled { queue, key: "stripe:7".into(), at, retry_after };
    let lane = Lane { group: Some("g".into()), keys: vec!["k".into()], ..Lane::default() };
    let put = |limit| Record::LimitPut { at, limit: Cow::Owned(limit) };
    vec![
        put(stripe),
        put(limit("q", "queue", "a", None, "concurrency 0")),
        put(limit("c", "client", ">", None, "100/s delay 2s")),
        Record::LimitDeleted { at, name: "stripe".into(), matches },
        Record::LimitDeleted { at, name: "stripe".into(), matches: None },
        by_hand(None, Some(paused)),
        by_hand(Some("stripe:7"), Some(endless)),
        by_hand(Some("stripe:7"), None),
        throttled(None),
        throttled(Some(Duration::from_millis(1_500))),
        Record::Weighed { queue, group: "g".into(), weight: 3 },
        Record::Counted { queue, at, lane: Cow::Owned(lane), count: 4 },
    ]
}

#[test]
fn records_come_back_as_they_were_written_and_never_from_a_part() {
    let rest = samples_of_redrives().into_iter().chain(samples_of_many());
    let rest = rest.chain(samples_of_keys()).chain(samples_of_limits());
    for record in samples().into_iter().chain(rest) {
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
    let published = Record::Published {
        at,
        id,
        targets: vec![target].into(),
        lane: None,
        dedupe: None,
        content: None,
    };
    assert_eq!(
        hex(&published),
        "0502010000000000000100000004000000000000000001000000020000000500000000000000"
    );
    assert_eq!(
        hex(&Record::Acked { target, generation }),
        "08020000000500000000000000010000000300000000000000"
    );
    let (queue, run) = (QueueNo(2), Run { first: Seq(5), count: 100 });
    let runs = vec![run, Run { first: Seq(4), count: 1 }].into();
    let bound = true;
    assert_eq!(
        hex(&Record::GrantedMany { queue, generation, at, deadline: at, bound, runs }),
        "1302000000010000000300000000000000020100000000000002010000000000000102\
         0a64c90101"
    );
    let runs = vec![AckedRun { run, generation }].into();
    assert_eq!(hex(&Record::AckedMany { queue, runs }), "1402000000010a640602");
    let set = Record::KeySet {
        revision: 7,
        key: "a^b".into(),
        kind: ValueKind::Bytes,
        value: b"hi"[..].into(),
        expires_at: at,
        dedupe: None,
    };
    assert_eq!(
        hex(&set),
        "1507000000000000000300615e620302010000000000000268\
         69"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }
}
