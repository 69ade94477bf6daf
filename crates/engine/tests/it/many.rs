//! One record for all that a receive hands over, one for all that a settlement acks.

use sluice_engine::{Record, Run};
use sluice_model::{
    Answer, Command, Confirm, Extras, LeaseId, Seq, SessionId, SettleMany, Settlement,
};

use crate::rig::{Rig, config, peer};

fn rig_with(messages: u64) -> (Rig, SessionId) {
    let mut config = config();
    config.batch_max = 5_000;
    config.session_out_max = 64 << 20;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    for n in 0..messages {
        rig.put(client, "mail", &n.to_string(), Extras::default()).unwrap();
    }
    (rig, client)
}

fn ack_many(rig: &mut Rig, client: SessionId, leases: Vec<LeaseId>) {
    let (how, confirm) = (Settlement::Ack, Confirm::Always);
    let settle = Command::SettleMany(Box::new(SettleMany { leases, how, confirm }));
    let answer = rig.answer(client, settle);
    assert_eq!(answer, Answer::SettledMany { refused: vec![], deadline: None });
}

/// The records behind `before`.
fn written(rig: &Rig, before: u64) -> Vec<Record<'_>> {
    (before + 1..=rig.tape.last()).map(|n| rig.tape.record(n)).collect()
}

#[test]
fn a_receive_and_a_settlement_of_many_are_a_record_each_and_come_back_from_it() {
    let (mut rig, client) = rig_with(300);
    let before = rig.tape.last();
    let leases: Vec<_> = rig.take(client, "mail", 280).iter().map(|got| got.lease()).collect();
    let [Record::GrantedMany { runs, .. }] = &written(&rig, before)[..] else { panic!() };
    assert_eq!(runs[..], [Run { first: Seq(0), count: 280 }]);
    // All but two, the last ones first.
    let before = rig.tape.last();
    let mut most: Vec<_> = leases.iter().rev().copied().collect();
    let (last, tenth) = (most.remove(0), most.remove(269));
    ack_many(&mut rig, client, most);
    let [Record::AckedMany { runs, .. }] = &written(&rig, before)[..] else { panic!() };
    let runs: Vec<_> = runs.iter().map(|acked| (acked.run.first.0, acked.run.count)).collect();
    assert_eq!(runs, [(0, 9), (10, 269)]);
    rig.restart(rig.tape.last(), false, true);
    let client = rig.open(peer(1));
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.acked, stats.counts.ready, stats.counts.leased), (278, 20, 2));
    for lease in [last, tenth] {
        assert_eq!(rig.ack(client, lease), Ok(false));
    }
    assert_eq!(rig.ack(client, leases[0]), Ok(true), "it is known which were acked");
    let next = rig.take(client, "mail", 1)[0].lease();
    assert!(next.generation > last.generation && next.seq == Seq(280));
}

#[test]
fn more_than_a_record_holds_are_several() {
    let (mut rig, client) = rig_with(2_100);
    let before = rig.tape.last();
    let leases: Vec<_> = rig.take(client, "mail", 2_100).iter().map(|got| got.lease()).collect();
    let granted = |record: &Record<'_>| match record {
        Record::GrantedMany { runs, .. } => runs.iter().map(|run| run.count).sum::<u32>(),
        other => panic!("{other:?}"),
    };
    let counts: Vec<_> = written(&rig, before).iter().map(granted).collect();
    assert_eq!(counts, [1_024, 1_024, 52]);
    let before = rig.tape.last();
    ack_many(&mut rig, client, leases);
    let acked = |record: &Record<'_>| match record {
        Record::AckedMany { runs, .. } => runs.iter().map(|acked| acked.run.count).sum::<u32>(),
        other => panic!("{other:?}"),
    };
    let counts: Vec<_> = written(&rig, before).iter().map(acked).collect();
    assert_eq!(counts, [1_024, 1_024, 52]);
}
