//! One table of scenarios, played through version 2 of the binary protocol and through HTTP: the
//! same steps, the same outcomes.
//!
//! A step is a line of words, and so is what comes of it. Leases are numbered as they were taken.

use serde_json::{Value, json};
use sluice_model::{Extras, Lane, LeaseId};
use sluice_protocol::binary::v2::{
    ControlRef, LeaseSet, PublishHead, ReceiveRef, RefusedLease, ServerFrame, SettleHead,
    Settlement, Source, put_extend,
};

use crate::http::{Place, client::Http};
use crate::version2::client::{Client, Heard, messages, put_publish_with};

#[rustfmt::skip]
const SCENARIOS: &[(&str, &[(&str, &str)])] = &[
    ("messages come out in their order and are gone once acknowledged", &[
        ("queue.declare {}",           "created=true"),
        ("queue.declare {}",           "created=false"),
        ("put a b",                    "taken"),
        ("put c",                      "taken"),
        ("take 2",                     "a b"),
        ("ack 0 1",                    "ok ok"),
        ("take 9",                     "c"),
        ("take 9",                     "nothing"),
        ("count",                      "ready=0 leased=1 dead=0"),
        ("ack 2",                      "ok"),
        ("count",                      "ready=0 leased=0 dead=0"),
    ]),
    ("what is urgent comes first", &[
        ("queue.declare {}",           "created=true"),
        ("put a",                      "taken"),
        ("urgent b",                   "taken"),
        ("take 2",                     "b a"),
    ]),
    ("what is given back comes again", &[
        ("queue.declare {}",           "created=true"),
        ("put a",                      "taken"),
        ("take 1",                     "a"),
        ("extend 0",                   "ok"),
        ("released 0",                 "ok"),
        ("take 1",                     "a"),
        ("ack 1",                      "ok"),
        ("take 1",                     "nothing"),
    ]),
    ("what is rejected is dead until it is redriven", &[
        ("queue.declare {}",           "created=true"),
        ("put a",                      "taken"),
        ("take 1",                     "a"),
        ("rejected 0",                 "ok"),
        ("count",                      "ready=0 leased=0 dead=1"),
        ("take 1",                     "nothing"),
        ("queue.redrive {}",           "goes_on=false messages=1"),
        ("take 1",                     "a"),
    ]),
    ("failures are counted to the last", &[
        (r#"queue.declare {"settings":{"max_failures":1}}"#, "created=true"),
        ("put a",                      "taken"),
        ("take 1",                     "a"),
        ("failed 0",                   "ok"),
        ("count",                      "ready=0 leased=0 dead=1"),
    ]),
    ("a lease that another has now settles nothing", &[
        ("queue.declare {}",           "created=true"),
        ("put a b",                    "taken"),
        ("take 2",                     "a b"),
        ("released 0",                 "ok"),
        ("take 1",                     "a"),
        ("ack 0 1",                    "409 ok"),
        ("extend 0",                   "409"),
        ("failed 0",                   "409"),
        ("ack 2",                      "ok"),
    ]),
    ("a full queue refuses until there is room", &[
        (r#"queue.declare {"settings":{"max_messages":1}}"#, "created=true"),
        ("put a",                      "taken"),
        ("put b",                      "429 queue_full"),
        ("take 1",                     "a"),
        ("ack 0",                      "ok"),
        ("put b",                      "taken"),
    ]),
    ("what is too large is refused", &[
        (r#"queue.declare {"settings":{"max_message_bytes":1024}}"#, "created=true"),
        ("large",                      "413 too_large"),
        ("put a",                      "taken"),
    ]),
    ("there is nothing in a queue that is not there", &[
        ("put a",                      "404 not_found"),
        ("take 1",                     "404 not_found"),
        ("queue.stats {}",             "404 not_found"),
        ("queue.delete {}",            "404 not_found"),
    ]),
    ("a queue of which somebody holds messages is deleted by force alone", &[
        ("queue.declare {}",           "created=true"),
        ("put a b",                    "taken"),
        ("take 1",                     "a"),
        ("queue.delete {}",            "409 conflict"),
        (r#"queue.delete {"force":true}"#, "messages=2"),
        ("put a",                      "404 not_found"),
    ]),
    ("a purge takes what waits", &[
        ("queue.declare {}",           "created=true"),
        ("put a b c",                  "taken"),
        ("take 1",                     "a"),
        ("queue.purge {}",             "messages=2"),
        ("count",                      "ready=0 leased=1 dead=0"),
        ("ack 0",                      "ok"),
    ]),
    ("settings are checked", &[
        (r#"queue.declare {"settings":{"lease_ms":1}}"#, "422 invalid"),
        (r#"queue.declare {"settings":{"lease":1}}"#,    "400 bad_request"),
        (r#"queue.update {"settings":{"ttl_ms":1000}}"#, "created=true"),
        (r#"queue.update {"settings":{"ttl_ms":0}}"#,    "created=false"),
    ]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_ends_the_same_behind_each_door() {
    let place = Place::new().await;
    for (door, number) in ["binary", "http"].into_iter().zip(0..) {
        for (at, (name, steps)) in SCENARIOS.iter().enumerate() {
            let queue = format!("s{number}-{at}");
            let way = match door {
                "binary" => Way::Binary(Client::greeted(place.server.addr).await),
                _ => Way::Http(Http::connect(place.server.http).await),
            };
            let mut player = Player { way, queue, leases: Vec::new(), tokens: Vec::new() };
            for (step, expected) in *steps {
                assert_eq!(player.plays(step).await, *expected, "{door}: {name}: {step}");
            }
        }
    }
    place.stop().await;
}

enum Way {
    Binary(Client),
    Http(Http),
}

struct Player {
    way: Way,
    queue: String,
    /// What was taken over the binary door, and over HTTP.
    leases: Vec<LeaseId>,
    tokens: Vec<String>,
}

impl Player {
    async fn plays(&mut self, step: &str) -> String {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "put" => self.puts(&words, 5).await,
            "urgent" => self.puts(&words, 9).await,
            "large" => self.puts(&[&"x".repeat(2_000)], 5).await,
            "take" => self.takes(rest.parse().unwrap()).await,
            "count" => {
                let counts = self.asks("queue.stats", "{}").await.unwrap()["counts"].take();
                let (ready, leased) = (&counts["ready"], &counts["leased"]);
                format!("ready={ready} leased={leased} dead={}", counts["dead"])
            }
            verb if verb.starts_with("queue.") => match self.asks(verb, rest).await {
                Ok(Value::Object(fields)) => {
                    let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
                    fields.collect::<Vec<_>>().join(" ")
                }
                Ok(other) => other.to_string(),
                Err(refused) => refused,
            },
            how => {
                let leases: Vec<usize> = words.iter().map(|word| word.parse().unwrap()).collect();
                self.settles(how, &leases).await
            }
        }
    }

    async fn asks(&mut self, verb: &str, fields: &str) -> Result<Value, String> {
        let mut fields: Value = serde_json::from_str(fields).unwrap();
        match &mut self.way {
            Way::Binary(client) => {
                fields["name"] = self.queue.clone().into();
                let json = fields.to_string();
                client.says(|out| ControlRef { verb, json: &json }.put(out, 1).unwrap()).await;
                let heard = client.hears().await;
                match heard.read() {
                    ServerFrame::Result(json) => Ok(serde_json::from_str(json).unwrap()),
                    _ => Err(refused(&heard)),
                }
            }
            Way::Http(http) => {
                let path = format!("/v1/queues/{}", self.queue);
                let (method, path) = match verb {
                    "queue.declare" => ("PUT", path),
                    "queue.update" => ("PATCH", path),
                    "queue.stats" => ("GET", path),
                    "queue.delete" if fields["force"] == true => {
                        ("DELETE", format!("{path}?force=true"))
                    }
                    "queue.delete" => ("DELETE", path),
                    "queue.purge" => ("POST", format!("{path}/purge")),
                    "queue.redrive" => ("POST", format!("{path}/redrive")),
                    other => panic!("{other} has no route here"),
                };
                let in_body = !matches!(method, "GET" | "DELETE");
                let body = if in_body { fields.to_string() } else { String::new() };
                let heard = http.ask(method, &path, body.as_bytes()).await;
                if heard.status == 200 { Ok(heard.json()) } else { Err(told(&heard.json())) }
            }
        }
    }

    async fn puts(&mut self, payloads: &[&str], priority: u8) -> String {
        match &mut self.way {
            Way::Binary(client) => {
                let lane = Lane { priority, ..Lane::default() };
                let extras = Extras { lane, ..Extras::default() };
                let all: Vec<_> =
                    payloads.iter().map(|payload| (payload.as_bytes(), Some(&extras))).collect();
                let head = PublishHead::at_least_once(&self.queue);
                let head = PublishHead { to_queue: true, whole: true, ..head };
                client.says(|out| put_publish_with(out, 2, &head, &all)).await;
                let heard = client.hears().await;
                match heard.read() {
                    ServerFrame::Confirm(_) => "taken".to_owned(),
                    _ => refused(&heard),
                }
            }
            Way::Http(http) => {
                let message = |payload| json!({"payload": payload, "priority": priority});
                let all: Vec<Value> = payloads.iter().map(message).collect();
                let path = format!("/v1/queues/{}/messages", self.queue);
                let heard = http.post(&path, json!({"messages": all})).await;
                if heard.status == 200 { "taken".to_owned() } else { told(&heard.json()) }
            }
        }
    }

    async fn takes(&mut self, max: u16) -> String {
        let payloads: Vec<String> = match &mut self.way {
            Way::Binary(client) => {
                // Bound to no connection, as over HTTP.
                let from = Source::Queue(&self.queue);
                let receive = ReceiveRef { max, wait_ms: 0, lease_ms: 0, unbound: true, from };
                client.says(|out| receive.put(out, 3).unwrap()).await;
                let mut payloads = Vec::new();
                loop {
                    let heard = client.hears().await;
                    match heard.read() {
                        ServerFrame::Deliver(_) => {}
                        ServerFrame::Empty(_) => break,
                        _ => return refused(&heard),
                    }
                    let got = messages(&heard);
                    self.leases.extend(got.iter().map(|got| got.token.unwrap()));
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    payloads.extend(got.iter().map(|got| text(&got.payload)));
                    if got.last().is_none_or(|got| !got.more) {
                        break;
                    }
                }
                payloads
            }
            Way::Http(http) => {
                let path = format!("/v1/queues/{}/receive", self.queue);
                let heard = http.post(&path, json!({"max": max})).await;
                if heard.status != 200 {
                    return told(&heard.json());
                }
                let taken = heard.json()["messages"].take();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let taken = taken.as_array().unwrap();
                self.tokens.extend(taken.iter().map(|message| text(&message["token"])));
                taken.iter().map(|message| text(&message["payload"])).collect()
            }
        };
        if payloads.is_empty() { "nothing".to_owned() } else { payloads.join(" ") }
    }

    async fn settles(&mut self, how: &str, leases: &[usize]) -> String {
        let became: Vec<String> = match &mut self.way {
            Way::Binary(client) => {
                let named: Vec<LeaseId> = leases.iter().map(|lease| self.leases[*lease]).collect();
                let outcome = match how {
                    "failed" => Settlement::Failed,
                    "released" => Settlement::Released,
                    "rejected" => Settlement::Rejected,
                    _ => Settlement::Ack,
                };
                let (leases, head) = (LeaseSet::Tokens(&named), SettleHead::ACK);
                client
                    .says(|out| match how {
                        "extend" => put_extend(out, 4, true, 5_000, leases).unwrap(),
                        _ => SettleHead { report: true, outcome, ..head }
                            .put(out, 4, leases)
                            .unwrap(),
                    })
                    .await;
                let heard = client.hears().await;
                let ServerFrame::Settled(settled) = heard.read() else { panic!("{how}") };
                let refused: Vec<(LeaseId, u16)> = settled
                    .refused()
                    .map(|one| match one {
                        RefusedLease::Token { lease, status, .. } => (lease, status),
                        RefusedLease::Tag { .. } => panic!("no tag was named"),
                    })
                    .collect();
                let became = |lease: &LeaseId| {
                    let refused = refused.iter().find(|(refused, _)| refused == lease);
                    refused.map_or("ok".to_owned(), |(_, status)| status.to_string())
                };
                named.iter().map(became).collect()
            }
            Way::Http(http) => {
                let tokens: Vec<&String> =
                    leases.iter().map(|lease| &self.tokens[*lease]).collect();
                let heard = match how {
                    "ack" => http.post("/v1/ack", json!({"tokens": tokens})).await,
                    "extend" => {
                        http.post("/v1/extend", json!({"tokens": tokens, "by_ms": 5000})).await
                    }
                    how => http.post("/v1/nack", json!({"tokens": tokens, "outcome": how})).await,
                };
                let results = heard.ok()["results"].take();
                let became = |result: &Value| match result["ok"] == true {
                    true => "ok".to_owned(),
                    false => result["error"]["status"].to_string(),
                };
                results.as_array().unwrap().iter().map(became).collect()
            }
        };
        became.join(" ")
    }
}

fn refused(heard: &Heard) -> String {
    match heard.read() {
        ServerFrame::Error(error) => format!("{} {}", error.status, error.code),
        other => panic!("{other:?}"),
    }
}

fn told(answer: &Value) -> String {
    let error = &answer["error"];
    format!("{} {}", error["status"], error["code"].as_str().unwrap())
}
