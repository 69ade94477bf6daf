//! Scenarios of limits, played through version 2 of the binary protocol, HTTP and the line door alike.
//!
//! A step is a line of words, and so is what comes of it. Leases are numbered as they were taken.

use serde_json::{Value, json};
use sluice_model::{Extras, Lane, LeaseId};
use sluice_protocol::Token;
use sluice_protocol::binary::v2::{
    ControlRef, LeaseSet, PublishHead, ReceiveRef, ServerFrame, SettleHead, Settlement, Source,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Place, client::Http};
use crate::running::PATIENCE;
use crate::version2::client::{Client, messages, put_publish_with};

#[rustfmt::skip]
const SCENARIOS: &[(&str, &[(&str, &str)])] = &[
    ("no more are leased at once than may be, and other keys go by", &[
        (r#"limit {"key":"k*","concurrency":1}"#,  "set"),
        ("put k1 a b",                  "taken"),
        ("put k2 c",                    "taken"),
        ("put - d",                     "taken"),
        ("take 9",                      "a c d"),
        ("take 9",                      "nothing"),
        (r#"explain {"key":"k1"}"#,     "concurrency"),
        ("ack 1",                       "ok"),
        ("take 9",                      "nothing"),
        ("ack 0",                       "ok"),
        (r#"explain {"key":"k1"}"#,     "deliverable"),
        ("take 9",                      "b"),
    ]),
    ("what is given back frees its place", &[
        (r#"limit {"concurrency":1}"#,  "set"),
        ("put - a b",                   "taken"),
        ("take 9",                      "a"),
        ("released 0",                  "ok"),
        ("take 9",                      "a"),
        ("rejected 1",                  "ok"),
        ("take 9",                      "b"),
    ]),
    ("a rate lets its burst by and says when the next may go", &[
        (r#"limit {"rate":"1/h","burst":2}"#, "set"),
        ("put - a b c",                 "taken"),
        ("take 9",                      "a b"),
        ("take 9",                      "nothing yet"),
        ("explain {}",                  "rate"),
        ("unlimit",                     "limits=1"),
        ("take 9",                      "c"),
    ]),
    ("a window counts starts, whatever became of them", &[
        (r#"limit {"key":"k","window":{"max":1,"length_ms":3600000}}"#, "set"),
        ("put k a b",                   "taken"),
        ("take 9",                      "a"),
        ("ack 0",                       "ok"),
        ("take 9",                      "nothing yet"),
        (r#"explain {"key":"k"}"#,      "window"),
        (r#"limit {"key":"k","window":"2/1h"}"#, "replaced"),
        ("take 9",                      "b"),
    ]),
    ("a limit of 0 is closed until it is raised", &[
        (r#"limit {"concurrency":0}"#,  "set"),
        ("put - a",                     "taken"),
        ("take 9",                      "nothing"),
        ("explain {}",                  "concurrency"),
        (r#"limit {"concurrency":1}"#,  "replaced"),
        ("take 9",                      "a"),
    ]),
    ("a key that is throttled waits for everybody and opens one at a time", &[
        ("put k a b",                   "taken"),
        ("put z c",                     "taken"),
        ("take 1",                      "a"),
        ("throttled 0",                 "ok"),
        ("take 9",                      "c"),
        ("take 9",                      "nothing yet"),
        (r#"explain {"key":"k"}"#,      "paused"),
        (r#"resume {"key":"k"}"#,       "was_paused=true"),
        (r#"resume {"key":"k"}"#,       "was_paused=false"),
        ("take 9",                      "a"),
        (r#"explain {"key":"k"}"#,      "concurrency"),
        ("ack 2",                       "ok"),
        ("take 9",                      "b"),
    ]),
    ("a queue is paused and resumed by hand", &[
        ("put - a",                     "taken"),
        (r#"pause {"for_ms":3600000,"reason":"deploy"}"#, "paused deploy"),
        ("take 9",                      "nothing yet"),
        ("explain {}",                  "paused deploy"),
        ("resume {}",                   "was_paused=true"),
        ("take 9",                      "a"),
    ]),
    ("a key is paused and resumed by hand", &[
        ("put k a",                     "taken"),
        (r#"pause {"key":"k","reason":"theirs"}"#, "paused theirs"),
        ("take 9",                      "nothing"),
        (r#"explain {"key":"k"}"#,      "paused theirs"),
        (r#"resume {"key":"k"}"#,       "was_paused=true"),
        ("take 9",                      "a"),
    ]),
    ("what makes no limit is refused", &[
        (r#"limit {}"#,                 "422 invalid"),
        (r#"limit {"rate":"5"}"#,       "422 invalid"),
        (r#"limit {"rate":true}"#,      "400 bad_request"),
        (r#"limit {"speed":"5/s"}"#,    "400 bad_request"),
        ("unlimit",                     "limits=0"),
    ]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_of_limits_ends_the_same_behind_each_door() {
    let place = Place::new().await;
    for door in ["binary", "http", "line"] {
        for (at, (name, steps)) in SCENARIOS.iter().enumerate() {
            let way = match door {
                "binary" => Way::Binary(Client::greeted(place.server.addr).await),
                "http" => Way::Http(Http::connect(place.server.http).await),
                _ => Way::Line(Line::connect(place.server.addr).await),
            };
            let queue = format!("{door}-{at}");
            let mut player = Player { way, queue: queue.clone(), leases: Vec::new() };
            let mut maker = place.client().await;
            maker.ask("PUT", &format!("/v1/queues/{queue}"), b"").await.ok();
            for (step, expected) in *steps {
                assert_eq!(player.plays(step).await, *expected, "{door}: {name}: {step}");
            }
        }
    }
    place.stop().await;
}

/// A client of the line door that speaks JSON.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn connect(addr: std::net::SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(addr).await.unwrap()))
    }

    async fn asks(&mut self, action: &str, mut fields: Value) -> Value {
        fields["action"] = action.into();
        self.0.write_all(format!("{fields}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

enum Way {
    Binary(Client),
    Http(Http),
    Line(Line),
}

struct Player {
    way: Way,
    queue: String,
    /// What was taken.
    leases: Vec<LeaseId>,
}

/// The code of an error, or what was answered.
fn judged(answer: Value) -> Result<Value, String> {
    let error = &answer["error"];
    match error["code"].as_str() {
        Some(code) => Err(format!("{} {code}", error["status"])),
        None => Ok(answer),
    }
}

impl Player {
    async fn plays(&mut self, step: &str) -> String {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "put" => self.puts(words[0], &words[1..]).await,
            "take" => self.takes(rest.parse().unwrap()).await,
            "limit" | "unlimit" | "pause" | "resume" | "explain" => {
                let fields = if rest.is_empty() { "{}" } else { rest };
                let fields: Value = serde_json::from_str(fields).unwrap();
                match self.asks(word, fields).await {
                    Ok(answer) => told(word, &answer),
                    Err(refused) => refused,
                }
            }
            how => self.settles(how, self.leases[rest.parse::<usize>().unwrap()]).await,
        }
    }

    async fn asks(&mut self, word: &str, mut fields: Value) -> Result<Value, String> {
        let queue = self.queue.clone();
        match &mut self.way {
            Way::Binary(client) => {
                let (verb, own) = match word {
                    "limit" => ("limit.put", "queue"),
                    "unlimit" => ("limit.delete", "name"),
                    "pause" => ("limit.pause", "queue"),
                    "resume" => ("limit.resume", "queue"),
                    _ => ("queue.explain", "name"),
                };
                fields[own] = queue.clone().into();
                if word == "limit" {
                    fields["name"] = queue.into();
                }
                let json = fields.to_string();
                client.says(|out| ControlRef { verb, json: &json }.put(out, 1).unwrap()).await;
                let heard = client.hears().await;
                match heard.read() {
                    ServerFrame::Result(json) => Ok(serde_json::from_str(json).unwrap()),
                    ServerFrame::Error(error) => Err(format!("{} {}", error.status, error.code)),
                    other => panic!("{other:?}"),
                }
            }
            Way::Http(http) => {
                let heard = match word {
                    "limit" => {
                        fields["queue"] = queue.clone().into();
                        let body = fields.to_string();
                        http.ask("PUT", &format!("/v1/limits/{queue}"), body.as_bytes()).await
                    }
                    "unlimit" => http.ask("DELETE", &format!("/v1/limits/{queue}"), b"").await,
                    "explain" => {
                        let key = fields["key"].as_str().map(|key| format!("?key={key}"));
                        let key = key.unwrap_or_default();
                        http.get(&format!("/v1/queues/{queue}/explain{key}")).await
                    }
                    word => http.post(&format!("/v1/queues/{queue}/{word}"), fields).await,
                };
                judged(heard.json())
            }
            Way::Line(line) => {
                match word {
                    "limit" => {
                        fields["name"] = queue.clone().into();
                        fields["queue"] = queue.into();
                    }
                    "unlimit" => fields["name"] = queue.into(),
                    _ => fields["queue"] = queue.into(),
                }
                let mut answer = judged(line.asks(word, fields).await)?;
                Ok(answer["result"].take())
            }
        }
    }

    async fn puts(&mut self, key: &str, payloads: &[&str]) -> String {
        let keys: Vec<&str> = if key == "-" { Vec::new() } else { vec![key] };
        match &mut self.way {
            Way::Binary(client) => {
                let keys = keys.iter().map(|key| (*key).into()).collect();
                let extras = Extras { lane: Lane { keys, ..Lane::default() }, ..Extras::default() };
                let all: Vec<_> =
                    payloads.iter().map(|payload| (payload.as_bytes(), Some(&extras))).collect();
                let head = PublishHead::at_least_once(&self.queue);
                let head = PublishHead { to_queue: true, whole: true, ..head };
                client.says(|out| put_publish_with(out, 2, &head, &all)).await;
                assert!(matches!(client.hears().await.read(), ServerFrame::Confirm(_)));
            }
            Way::Http(http) => {
                let message = |payload| json!({"payload": payload, "keys": keys});
                let all: Vec<Value> = payloads.iter().map(message).collect();
                let path = format!("/v1/queues/{}/messages", self.queue);
                http.post(&path, json!({"messages": all})).await.ok();
            }
            Way::Line(line) => {
                for payload in payloads {
                    let message = json!({"queue": self.queue, "payload": payload, "keys": keys});
                    judged(line.asks("ENQUEUE", message).await).unwrap();
                }
            }
        }
        "taken".to_owned()
    }

    /// The payloads, or that there is nothing; `yet` where it was told when there will be.
    async fn takes(&mut self, max: u16) -> String {
        let (mut payloads, mut later) = (Vec::new(), false);
        let mut lease = |token: &Value| {
            let Token(lease) = token.as_str().unwrap().parse().unwrap();
            self.leases.push(lease);
        };
        match &mut self.way {
            Way::Binary(client) => {
                let from = Source::Queue(&self.queue);
                let receive = ReceiveRef { max, wait_ms: 0, lease_ms: 0, unbound: true, from };
                client.says(|out| receive.put(out, 3).unwrap()).await;
                loop {
                    let heard = client.hears().await;
                    match heard.read() {
                        ServerFrame::Deliver(_) => {}
                        ServerFrame::Empty(next) => {
                            later = next != u32::MAX;
                            break;
                        }
                        other => panic!("{other:?}"),
                    }
                    let got = messages(&heard);
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    for one in &got {
                        lease(&json!(Token(one.token.unwrap()).to_string()));
                        payloads.push(text(&one.payload));
                    }
                    if got.last().is_none_or(|got| !got.more) {
                        break;
                    }
                }
            }
            Way::Http(http) => {
                let path = format!("/v1/queues/{}/receive", self.queue);
                let heard = http.post(&path, json!({"max": max})).await.ok();
                for message in heard["messages"].as_array().unwrap() {
                    lease(&message["token"]);
                    payloads.push(message["payload"].as_str().unwrap().to_owned());
                }
                later = !heard["next_eligible_ms"].is_null();
            }
            Way::Line(line) => {
                for _ in 0..max {
                    let answer = line.asks("DEQUEUE", json!({"queue": self.queue})).await;
                    later = !answer["next_eligible_ms"].is_null();
                    let message = &judged(answer).unwrap()["result"];
                    if message.is_null() {
                        break;
                    }
                    lease(&message["lease"]);
                    payloads.push(message["payload"].as_str().unwrap().to_owned());
                }
            }
        }
        match (payloads.is_empty(), later) {
            (true, true) => "nothing yet".to_owned(),
            (true, false) => "nothing".to_owned(),
            (false, _) => payloads.join(" "),
        }
    }

    async fn settles(&mut self, how: &str, lease: LeaseId) -> String {
        let token = Token(lease).to_string();
        let mut fields = match how {
            "ack" => json!({}),
            "throttled" => json!({"outcome": how, "retry_after_ms": 3_600_000}),
            how => json!({"outcome": how}),
        };
        match &mut self.way {
            Way::Binary(client) => {
                let (outcome, delay) = match how {
                    "ack" => (Settlement::Ack, None),
                    "released" => (Settlement::Released, None),
                    "rejected" => (Settlement::Rejected, None),
                    _ => (Settlement::Throttled, Some(std::time::Duration::from_secs(3_600))),
                };
                let head = SettleHead { report: true, outcome, delay, note: "" };
                client.says(|out| head.put(out, 4, LeaseSet::Tokens(&[lease])).unwrap()).await;
                let heard = client.hears().await;
                let ServerFrame::Settled(settled) = heard.read() else { panic!("{how}") };
                assert_eq!(settled.refused().count(), 0, "{how}");
            }
            Way::Http(http) => {
                fields["tokens"] = json!([token]);
                let path = if how == "ack" { "/v1/ack" } else { "/v1/nack" };
                assert_eq!(http.post(path, fields).await.ok()["results"][0]["ok"], true, "{how}");
            }
            Way::Line(line) => {
                fields["lease"] = token.into();
                let action = if how == "ack" { "ACK" } else { "NACK" };
                judged(line.asks(action, fields).await).unwrap();
            }
        }
        "ok".to_owned()
    }
}

fn told(word: &str, answer: &Value) -> String {
    let why = |of: &Value| of.as_str().map(|why| format!(" {why}")).unwrap_or_default();
    match word {
        "limit" if answer["replaced"].is_null() => "set".to_owned(),
        "limit" => "replaced".to_owned(),
        "unlimit" => format!("limits={}", answer["limits"]),
        "resume" => format!("was_paused={}", answer["was_paused"]),
        "pause" => format!("paused{}", why(&answer["reason"])),
        _ if answer["deliverable"] == true => "deliverable".to_owned(),
        _ => {
            let reasons = answer["reasons"].as_array().unwrap().iter();
            // Nobody waits for a message here.
            let reasons = reasons.filter(|reason| reason["reason"] != "no_consumer");
            let told = |reason: &Value| {
                format!("{}{}", reason["reason"].as_str().unwrap(), why(&reason["why"]))
            };
            let told: Vec<String> = reasons.map(told).collect();
            if told.is_empty() { "deliverable".to_owned() } else { told.join(" ") }
        }
    }
}
