//! The stages of an older server's plan, one after another.

use std::net::TcpStream;

use sluice_bench::process::Broker;

use super::{Client, PATIENCE, set};
use crate::setup::Place;

#[test]
fn it_listens_where_it_says() {
    let place = Place::new();
    let broker = place.broker();
    assert_eq!(Client::connect(&broker).ask("PING"), "PONG");
    assert_eq!(Client::connect(&broker).ask("  ping \r"), "PONG");
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let place = Place::new();
    let broker = place.broker();
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&broker)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("ECHO {number}\n"));
    }
    for (number, client) in clients.iter_mut().enumerate().rev() {
        assert_eq!(client.next(), number.to_string());
    }
}

#[test]
fn text_and_json_are_echoed_exactly() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    for text in ["", " ", "two  words ", "tab\there", "hällo \u{1f600}", "PING"] {
        assert_eq!(client.ask(&format!("ECHO {text}")), text);
    }
    let lines = [
        r#"{"action":"ECHO"}"#,
        r#"{ "b" : 1.10, "action" : "echo", "a" : [1, 1e400], "text" : "\u00e4\"" }"#,
        r#"{"action":"ECHO","id":{"z":1,"a":2},"big":123456789012345678901234567890}"#,
    ];
    for line in lines {
        assert_eq!(client.ask(line), line);
    }
    // What begins like a push is none.
    assert_eq!(client.ask("ECHO *message"), "ERR use JSON");
}

#[test]
fn clients_that_vanish_harm_nobody() {
    let place = Place::new();
    let broker = place.broker();
    let mut witness = Client::connect(&broker);
    for round in 0..50 {
        let mut client = Client::connect(&broker);
        client.send(["ECHO half a line", "PING\nPING\n", "DEQUEUE q 60000\n"][round % 3]);
        if round % 2 == 0 {
            // Closed with answers unread, which resets the connection.
            rustix::net::sockopt::set_socket_linger(
                client.0.get_ref(),
                Some(std::time::Duration::ZERO),
            )
            .unwrap();
        }
        drop(client);
        assert_eq!(witness.ask("PING"), "PONG");
    }
}

#[test]
fn a_signal_ends_it_gracefully() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    assert_eq!(client.ask("SET key value"), "OK");
    client.send("DEQUEUE jobs 60000\n");
    // The answer to a later line may not overtake, so it is known that the wait has begun.
    let mut other = Client::connect(&broker);
    assert_eq!(other.ask("PING"), "PONG");
    let began = std::time::Instant::now();
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
    assert!(began.elapsed() < PATIENCE, "a request that waits does not keep it from ending");
    assert_eq!(other.line(), None);
    let last = client.line();
    assert!(last.is_none() || last.as_deref() == Some("EMPTY"), "{last:?}");
    let broker = place.broker();
    assert_eq!(Client::connect(&broker).ask("GET key"), "value");
}

#[test]
fn no_socket_stays_open() {
    let place = Place::new();
    let broker = place.broker();
    let addr = broker.tcp_addr();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(&broker)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("SUBSCRIBE a"), "OK"));
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), None));
    assert!(TcpStream::connect(addr).is_err());
    // Nor does one keep the next broker from the same port.
    let broker = place.launch().at(&addr.to_string()).start().unwrap();
    assert_eq!((broker.tcp_addr(), Client::connect(&broker).ask("PING")), (addr, "PONG".into()));
}

#[test]
fn shutdown_says_bye_and_ends_with_0() {
    let place = Place::new();
    let mut broker = place.broker();
    let addr = broker.tcp_addr();
    let mut client = Client::connect(&broker);
    assert_eq!(client.ask("SET key value"), "OK");
    assert_eq!(client.ask("SHUTDOWN"), "BYE");
    assert_eq!(client.line(), None);
    let status = broker.ends_within(PATIENCE).unwrap().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn shutdown_by_a_key_needs_the_grant() {
    let place = Place::new();
    let config = place.config("allowed_api_keys = [\"may-do-all\"]\n");
    let mut broker = place.launch().arg("--config").arg(config).start().unwrap();
    let mut client = Client::connect(&broker);
    assert_eq!(client.ask("SHUTDOWN"), "ERR unauthenticated");
    assert_eq!(client.ask("AUTH wrong"), "ERR invalid API key");
    assert_eq!(client.ask("PING"), "PONG");
    assert_eq!(client.ask("AUTH may-do-all"), "OK");
    assert_eq!(client.json(r#"{"action": "AUTH", "key": "x"}"#)["error"]["code"], "bad_request");
    assert_eq!(client.ask("SHUTDOWN"), "BYE");
    assert_eq!(broker.ends_within(PATIENCE).unwrap().unwrap().code(), Some(0));
}

#[test]
#[rustfmt::skip]
fn what_is_malformed_is_an_error_and_the_connection_lives_on() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    let long = "x".repeat(70_000);
    let cases: [(&[u8], &str); 12] = [
        (b"FLY",                     "ERR unknown command"),
        (b"",                        "ERR unknown command"),
        (b"PING me",                 "ERR unknown command"),
        (b"\xff\xfe",                "ERR invalid UTF-8"),
        (long.as_bytes(),            "ERR line too long"),
        (b"ENQUEUE",                 "ERR usage: ENQUEUE [name=value ...] queue payload"),
        (b"ACK 12",                  "ERR a lease has 64 hexadecimal digits"),
        (b"GET missing",             "ERR there is no such key"),
        (b"{",                       "bad_request"),
        (b"{\"action\": \"GET\", }", "bad_request"),
        (b"{} {}",                   "bad_request"),
        (b"{\"a\": \"\xff\"}",       "bad_request"),
    ];
    for (line, said) in cases {
        client.send([line, b"\n"].concat());
        let answer = client.next();
        match said.starts_with("ERR") {
            true => assert_eq!(answer, said),
            false => assert!(answer.contains(said), "{answer}"),
        }
        assert_eq!(client.ask("PING"), "PONG", "{said}");
    }
    let too_long = client.json(&format!("{{\"action\":\"ECHO\",\"a\":\"{long}\"}}"));
    assert_eq!((&too_long["error"]["code"], &too_long["error"]["status"]), (&"too_large".into(), &413.into()));
    assert_eq!(client.ask("QUIT"), "BYE");
    assert_eq!(client.line(), None);
}

#[test]
fn nothing_that_is_sent_crashes_it() {
    let place = Place::new();
    let broker = place.broker();
    let mut state = 1u64;
    let mut byte = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let words: [&[u8]; 8] =
        [b"SET ", b"GET ", b"{\"action\":", b"\"ECHO\"", b"}\n", b"\n", b"[[[[", b"DEQUEUE q\n"];
    for _ in 0..100 {
        let mut noise = b" ".to_vec();
        for _ in 0..50 {
            let word = words[usize::from(byte()) % words.len()];
            noise.extend_from_slice(word);
            noise.extend((0..byte() % 20).map(|_| byte()));
        }
        let mut client = Client::connect(&broker);
        client.send(&noise);
        client.close_half();
        while client.0.get_ref().peek(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {
            std::io::Read::read(&mut client.0, &mut [0; 4096]).unwrap();
        }
    }
    assert_eq!(Client::connect(&broker).ask("PING"), "PONG");
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
}

#[test]
#[rustfmt::skip]
fn errors_name_the_field() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    let cases = [
        (r#"{"key": "a"}"#,                                                    "bad_request", "action is missing"),
        (r#"{"action": 7}"#,                                                   "bad_request", "action is not a string"),
        (r#"{"action": "FLY"}"#,                                               "bad_request", "fly"),
        (r#"{"action": "ENQUEU", "key": "a"}"#,                                   "bad_request", "did you mean enqueue?"),
        (r#"{"action": "SET", "key": "a"}"#,                                   "bad_request", "value is missing"),
        (r#"{"action": "SET", "key": 1, "value": 1}"#,                         "bad_request", "key is a number"),
        (r#"{"action": "SET", "key": "a", "value": 1, "vale": 2}"#,            "bad_request", "\"vale\"; did you mean value?"),
        (r#"{"action": "SET", "key": "a", "value": {"base64": "?"}}"#,         "invalid",     "value"),
        (r#"{"action": "SET", "key": "a", "value": 1, "ttl_ms": "soon"}"#,     "bad_request", "ttl_ms"),
        (r#"{"action": "GET", "key": "a b"}"#,                                 "invalid",     "key"),
        (r#"{"action": "GET", "key": "a", "namespace": "x^"}"#,                "invalid",     "namespace"),
        (r#"{"action": "GET", "key": "a", "key": "b"}"#,                       "bad_request", "\"key\" is there twice"),
        (r#"{"action": "ENQUEUE", "queue": "q"}"#,                             "bad_request", "payload is missing"),
        (r#"{"action": "ENQUEUE", "queue": "q", "payload": 1}"#,               "bad_request", "payload"),
        (r#"{"action": "DEQUEUE", "queue": "q", "wait_ms": -1}"#,              "invalid",     "wait_ms"),
        (r#"{"action": "SUBSCRIBE", "topic": "a..b"}"#,                        "invalid",     "topic"),
        (r#"{"action": "ACK", "lease": "zz"}"#,                                "invalid",     "lease"),
    ];
    for (line, code, words) in cases {
        let said = client.json(&line.replacen('{', r#"{"id": {"n": [1.50]}, "#, 1));
        assert_eq!(said["error"]["code"], code, "{line}: {said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(words), "{line}: {said}");
        assert_eq!(said["id"].to_string(), r#"{"n":[1.5]}"#);
    }
    let raw = client.ask(r#"{"action": "PING", "id": 12345678901234567890123.0}"#);
    assert_eq!(raw, r#"{"result":"PONG","id":12345678901234567890123.0}"#);
    let deep = format!(r#"{{"action": "ECHO", "a": {}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert!(client.ask(&deep).contains("deeper than 32"));
}

#[test]
fn values_are_stored_read_and_deleted() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    assert!(
        client.json(r#"{"action": "SET", "key": "foo", "value": "bar"}"#)["result"].is_object()
    );
    assert_eq!(client.ask(r#"{ "action": "GET", "key": "foo" }"#), r#"{"result":"bar"}"#);
    assert_eq!(client.ask("GET foo"), "bar");
    let values =
        [r#"{"a":[1.10,null]}"#, "7", "true", "null", "\"\"", r#"{"base64":"AP8="}"#, "[]"];
    for value in values {
        client.json(&format!(r#"{{"action": "SET", "key": "v", "value": {value}}}"#));
        let said = client.ask(r#"{"action": "GET", "key": "v"}"#);
        assert_eq!(said, format!(r#"{{"result":{value}}}"#));
    }
    // An object may have more fields than a request.
    let fields: Vec<_> = (0..100).map(|number| format!("\"f{number}\":{number}")).collect();
    let wide = format!("{{{}}}", fields.join(","));
    client.json(&format!(r#"{{"action": "SET", "key": "v", "value": {wide}}}"#));
    assert_eq!(client.ask("GET v"), wide);
    assert!(client.json(r#"{"action": "DEL", "key": "foo"}"#)["result"].is_object());
    for line in [r#"{"action": "GET", "key": "foo"}"#, r#"{"action": "DEL", "key": "foo"}"#] {
        let said = client.json(line);
        assert_eq!(
            (&said["error"]["code"], &said["error"]["status"]),
            (&"not_found".into(), &404.into())
        );
    }
    client.json(r#"{"action": "SET", "key": "v", "value": {"base64": "AP8="}}"#);
    assert_eq!(client.ask("GET v"), "ERR use JSON");
    assert_eq!(client.ask("SET n 41"), "OK");
    assert_eq!(
        (client.ask("INCR n"), client.ask("EXISTS n"), client.ask("EXISTS m")),
        ("42".into(), "1".into(), "0".into())
    );
    assert_eq!(client.ask("TTL n"), "NEVER");
    client.json(r#"{"action": "SET", "key": "short", "value": 1, "ttl_ms": 60000}"#);
    assert!(
        client.json(r#"{"action": "TTL", "key": "short"}"#)["result"].as_u64().unwrap() <= 60_000
    );
}

#[test]
fn a_namespace_keeps_its_keys_apart() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    let set = |client: &mut Client, namespace: &str, value: u32| {
        let line = format!(r#"{{"action": "SET", "key": "k", {namespace} "value": {value}}}"#);
        assert!(client.json(&line)["result"].is_object());
    };
    set(&mut client, "", 1);
    set(&mut client, r#""namespace": "users","#, 2);
    set(&mut client, r#""namespace": "users^eu","#, 3);
    assert_eq!(
        (client.ask("GET k"), client.ask("GET users^k"), client.ask("GET users^eu^k")),
        ("1".into(), "2".into(), "3".into())
    );
    assert_eq!(client.ask("KEYS users^"), "users^eu^k users^k");
    assert_eq!(client.ask("KEYS"), "k users^eu^k users^k");
    let page =
        client.json(r#"{"action": "SCAN", "namespace": "users", "limit": 1}"#)["result"].take();
    assert_eq!((&page["entries"][0]["value"], &page["next"]), (&3.into(), &"users^eu^k".into()));
    let page = client.json(r#"{"action": "KEYS", "namespace": "users", "after": "users^eu^k"}"#);
    assert_eq!(page["result"].to_string(), r#"{"keys":["users^k"]}"#);
}

#[test]
fn idle_connections_close_and_subscribed_ones_do_not() {
    let place = Place::new();
    let broker = set(&place, "idle_timeout = \"500ms\"");
    let mut listening = Client::connect(&broker);
    assert_eq!(listening.ask("SUBSCRIBE a"), "OK");
    let mut waiting = Client::connect(&broker);
    waiting.send("DEQUEUE jobs 2000\n");
    let mut idle = Client::connect(&broker);
    assert_eq!(idle.ask("PING"), "PONG");
    assert_eq!(idle.line(), None);
    assert_eq!(waiting.next(), "EMPTY");
    assert_eq!(Client::connect(&broker).ask("PUBLISH a still there"), "OK 1");
    assert_eq!(listening.next(), "*message a still there");
}

#[test]
fn faults_of_clients_are_logged_as_theirs() {
    let place = Place::new();
    let broker = place
        .launch()
        .arg("--log-level")
        .arg("debug")
        .arg("--log-format")
        .arg("json")
        .start()
        .unwrap();
    let mut client = Client::connect(&broker);
    assert_eq!(client.ask("GET a\u{1b}[0m"), "ERR the name has white space or a control character");
    assert_eq!(client.ask("PING"), "PONG");
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let fault = |whose: &'static str| {
        lines
            .iter()
            .filter(move |line| line.to_string().contains(&format!("\"fault\":\"{whose}\"")))
    };
    let refused = fault("client").next().expect("it is logged");
    assert!(!refused.to_string().contains("backtrace"), "{refused}");
    assert_eq!(fault("server").count(), 0);
}

#[test]
fn limits_are_told_with_the_time_to_retry() {
    let place = Place::new();
    let broker: Broker = place
        .launch()
        .arg("--client-rate")
        .arg("1")
        .arg("--client-burst")
        .arg("2")
        .start()
        .unwrap();
    let mut client = Client::connect(&broker);
    let answers: Vec<_> = (0..5).map(|_| client.ask("PING")).collect();
    let limited = answers.iter().find(|answer| *answer != "PONG").expect("one is refused");
    assert!(
        limited.starts_with("ERR rate limited, retry after ") && limited.ends_with(" ms"),
        "{limited}"
    );
    let said = client.json(r#"{"action": "PING"}"#);
    assert_eq!(said["error"]["code"], "rate_limited");
    assert!(said["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    // Whatever settles is not limited.
    assert!(client.ask(&format!("ACK {}", "0".repeat(64))).starts_with("ERR there is"));
}
