//! What requests are about is fetched from memory beforehand, and nothing depends on it.

use sluice_engine::Target;
use sluice_model::{Command, Confirm, Extras, QueueNo, Receive, Request, Seq, Source};

use crate::rig::{Rig, config, peer, put, queue};

#[test]
fn whatever_requests_are_about_may_be_fetched_and_nothing_has_changed() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    for name in ["mail", "news"] {
        rig.declare(client, name, &[]);
        rig.put(client, name, "one", Extras::default()).unwrap();
    }
    let held = rig.take(client, "mail", 1)[0].lease();
    rig.take_image();
    let gone = sluice_model::LeaseId { queue: QueueNo(7), ..held };
    let receive = |name| Command::Receive(Receive::one(Source::Queue(queue(name))));
    let commands = [
        put("mail", "two", Extras::default()),
        receive("news"),
        receive("nowhere"),
        Command::Ack { lease: held, confirm: Confirm::Always },
        Command::Ack { lease: gone, confirm: Confirm::Always },
        Command::Fence,
    ];
    let requests = commands.map(|command| Request { tag: 1, command });
    let engine = &rig.engine;
    assert_eq!(engine.fetch(&requests), requests.len());
    let many = || requests.iter().cycle();
    let together = engine.fetch(many().take(1_000));
    assert!(together > requests.len() && together < 100, "a part of them: {together}");
    let targets = [Target::new(QueueNo(1), Seq(0)), Target::new(QueueNo(7), Seq(9))];
    assert_eq!(engine.fetch_targets([&targets[..1], &targets[1..], &[]]), 3);
    engine.check();
    let pieces = rig.engine.take_image();
    assert!(pieces.len() <= 1, "no queue has changed: {pieces:?}");
}
