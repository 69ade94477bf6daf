//! Replies that are ready at once, of several sessions, taken together.

use std::collections::VecDeque;

use sluice_broker::local::{Entropy, Input, LocalConfig, start};
use sluice_model::{Client, Command, Key, KvRequest, Principal, Request, Timestamp};
use sluice_wal::SimulatedDisk;

#[test]
fn replies_that_nobody_took_between_two_turns_go_to_those_who_asked() {
    let (disk, config) = (SimulatedDisk::with_faults(1), LocalConfig::default());
    let (now, entropy) =
        (Timestamp::from_millis(1_700_000_000_000), Entropy { log_id: 1, seed: 1 });
    let mut driver = start(disk, &config, now, entropy).unwrap().driver;
    let client = Client { principal: Principal::Anonymous, peer: [127, 0, 0, 1].into() };
    let sessions = [driver.open(client.clone()), driver.open(client)];
    let mut asked = Vec::new();
    for (tag, at) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let read = KvRequest::Get { key: Key::new("absent").unwrap() };
        let mut requests = VecDeque::from([Request { tag, command: Command::Kv(read) }]);
        let session = sessions[at];
        driver.turn(now, Input::Requests { session, written: 0, requests: &mut requests }).unwrap();
        assert!(requests.is_empty());
        asked.push((session, tag));
    }
    let released: Vec<_> = driver.take_released().collect();
    let answered = |of| {
        released.iter().filter(|(session, _)| *session == of).map(|it| it.1.tag).collect::<Vec<_>>()
    };
    assert_eq!([answered(sessions[0]), answered(sessions[1])], [[1, 3], [2, 4]]);
}
