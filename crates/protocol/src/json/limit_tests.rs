use sluice_model::Code;

use super::*;

fn asked(verb: &str, body: &str) -> LimitRequest {
    limit_request(verb, &[], body.as_bytes()).unwrap()
}

#[test]
#[rustfmt::skip]
fn what_can_not_be_asked_names_the_field() {
    let cases = [
        ("limit.put",    r#"{"rate": "5/s"}"#,                                          Code::BadRequest, "the field name is missing"),
        ("limit.put",    r#"{"name": "A", "rate": "5/s"}"#,                             Code::Invalid,    "name \"A\" is not 1 to 64"),
        ("limit.put",    r#"{"name": "a"}"#,                                            Code::Invalid,    "none of rate, window and concurrency"),
        ("limit.put",    r#"{"name": "a", "scope": "keys", "rate": "5/s"}"#,            Code::Invalid,    "scope = \"keys\" is not one of queue, key, client, global"),
        ("limit.put",    r#"{"name": "a", "scope": "key", "rate": "5/s"}"#,             Code::Invalid,    "key is missing, scope is key"),
        ("limit.put",    r#"{"name": "a", "scope": "queue", "key": "x", "rate": "5/s"}"#, Code::Invalid,  "key is given, scope is queue"),
        ("limit.put",    r#"{"name": "a", "queue": "a b", "rate": "5/s"}"#,             Code::Invalid,    "queue \"a b\""),
        ("limit.put",    r#"{"name": "a", "key": "a*b", "rate": "5/s"}"#,               Code::Invalid,    "key \"a*b\""),
        ("limit.put",    r#"{"name": "a", "rate": "5"}"#,                               Code::Invalid,    "rate \"5\" is not like 5/s"),
        ("limit.put",    r#"{"name": "a", "rate": true}"#,                              Code::BadRequest, "rate is true or false, not a string"),
        ("limit.put",    r#"{"name": "a", "rate": "5/s", "per_ms": 10}"#,               Code::Invalid,    "per_ms is given, so rate is a number"),
        ("limit.put",    r#"{"name": "a", "per_ms": 10}"#,                              Code::BadRequest, "the field rate is missing"),
        ("limit.put",    r#"{"name": "a", "rate": 0}"#,                                 Code::Invalid,    "rate \"0/s\" is 0"),
        ("limit.put",    r#"{"name": "a", "burst": 2, "concurrency": 1}"#,              Code::Invalid,    "burst 2 is given without a rate"),
        ("limit.put",    r#"{"name": "a", "window": {"max": 5}}"#,                      Code::BadRequest, "the field window.length_ms is missing"),
        ("limit.put",    r#"{"name": "a", "window": {"max": 5, "length": 5}}"#,         Code::BadRequest, "there is no field \"length\"; did you mean length_ms?"),
        ("limit.put",    r#"{"name": "a", "window": {"max": 4294967296, "length_ms": 5}}"#, Code::Invalid, "window"),
        ("limit.put",    r#"{"name": "a", "window": "5"}"#,                             Code::Invalid,    "window \"5\" is not like 100/1m"),
        ("limit.put",    r#"{"name": "a", "concurrency": -1}"#,                         Code::Invalid,    "concurrency = -1 is outside"),
        ("limit.put",    r#"{"name": "a", "scope": "client", "concurrency": 1}"#,       Code::Invalid,    "concurrency is given, with scope client it means nothing"),
        ("limit.put",    r#"{"name": "a", "scope": "client", "rate": "1/s", "mode": "delay"}"#, Code::BadRequest, "the field max_wait_ms is missing"),
        ("limit.put",    r#"{"name": "a", "scope": "client", "rate": "1/s", "mode": "refuse", "max_wait_ms": 5}"#, Code::Invalid, "max_wait_ms is given, so mode is delay"),
        ("limit.put",    r#"{"name": "a", "scope": "client", "rate": "1/s", "max_wait_ms": 60001}"#, Code::Invalid, "max_wait_ms = 60001 is outside 1 .. 60000"),
        ("limit.put",    r#"{"name": "a", "rate": "1/s", "max_wait_ms": 5}"#,           Code::Invalid,    "delay is given, with scope queue it means nothing"),
        ("limit.put",    r#"{"name": "a", "rate": "1/s", "brust": 5}"#,                 Code::BadRequest, "there is no field \"brust\"; did you mean burst?"),
        ("limit.list",   r#"{"after": "a"}"#,                                           Code::Invalid,    "after is not the next of a page"),
        ("limit.list",   r#"{"limit": 0}"#,                                             Code::Invalid,    "limit = 0 is outside 1 .. 1000"),
        ("limit.delete", r#"{"queue": "a"}"#,                                           Code::BadRequest, "the field name is missing"),
        ("limit.pause",  r#"{"key": "a"}"#,                                             Code::BadRequest, "the field queue is missing"),
        ("limit.pause",  r#"{"queue": "a", "key": ""}"#,                                Code::Invalid,    "key has 0 bytes"),
        ("queue.weigh",  r#"{"name": "a", "group": "g"}"#,                              Code::BadRequest, "the field weight is missing"),
        ("queue.weigh",  r#"{"name": "a", "weight": 2}"#,                               Code::BadRequest, "the field group is missing"),
        ("queue.weigh",  r#"{"name": "a", "group": "g", "weight": 1001}"#,              Code::Invalid,    "weight = 1001 is outside 1 .. 1000"),
        ("queue.explain", r#"{"name": "a", "group": "g", "key": "k"}"#,                 Code::Invalid,    "of id, group and key at most one is given"),
        ("queue.explain", r#"{"group": "g"}"#,                                          Code::BadRequest, "the field name is missing"),
        ("limit.top",    "{}",                                                          Code::BadRequest, "the field name is missing"),
        ("limit.set",    "{}",                                                          Code::BadRequest, "there is no verb \"limit.set\"; did you mean limit."),
    ];
    for (verb, body, code, words) in cases {
        let refusal = limit_request(verb, &[], body.as_bytes()).unwrap_err();
        assert!(refusal.code == code && refusal.message.contains(words), "{body}: {refusal:?}");
    }
}

#[test]
#[rustfmt::skip]
fn what_is_asked_is_written_and_read_as_the_same() {
    let bodies = [
        ("limit.put",    r#"{"name": "a", "rate": "5/s"}"#),
        ("limit.put",    r#"{"name": "a", "key": "tenant:*", "queue": "calls.>", "rate": 2.5, "per_ms": 10000, "burst": 3, "window": {"max": 7, "length_ms": 60000}, "concurrency": 0}"#),
        ("limit.put",    r#"{"name": "a", "scope": "client", "rate": 3, "max_wait_ms": 250}"#),
        ("limit.put",    r#"{"name": "a", "scope": "global", "rate": "100/m", "mode": "delay", "max_wait_ms": 1}"#),
        ("limit.list",   "{}"),
        ("limit.list",   r#"{"name": "a", "after": "a calls.* a key with blanks*", "limit": 7}"#),
        ("limit.list",   r#"{"after": "a >"}"#),
        ("limit.delete", r#"{"name": "a"}"#),
        ("limit.delete", r#"{"name": "a", "queue": "calls"}"#),
        ("limit.delete", r#"{"name": "a", "key": "b*"}"#),
        ("limit.pause",  r#"{"queue": "calls", "key": "tenant:7", "for_ms": 250, "reason": "deploy"}"#),
        ("limit.pause",  r#"{"queue": "calls"}"#),
        ("limit.resume", r#"{"queue": "calls", "key": "tenant:7"}"#),
        ("limit.top",    r#"{"name": "a", "limit": 3}"#),
        ("queue.weigh",  r#"{"name": "a", "group": "eu", "weight": 3}"#),
        ("queue.explain", r#"{"name": "a"}"#),
        ("queue.explain", r#"{"name": "a", "group": "eu"}"#),
        ("queue.explain", r#"{"name": "a", "key": "tenant:7"}"#),
        ("queue.explain", r#"{"name": "a", "id": "00000001-0000000000000002"}"#),
    ];
    for (verb, body) in bodies {
        let request = asked(verb, body);
        let (again, written) = limit_written(&request);
        assert_eq!((again, asked(verb, &written)), (verb, request), "{body} {written}");
    }
}

#[test]
fn rates_and_windows_can_be_said_in_two_ways() {
    let one = asked("limit.put", r#"{"name": "a", "rate": 2.5, "per_ms": 1000, "window": "9/1m"}"#);
    let text = r#"{"name": "a", "rate": "2.5/s", "window": {"max": 9, "length_ms": 60000}}"#;
    assert_eq!(one, asked("limit.put", text));
    let LimitRequest::Put(limit) = one else { panic!("it was put") };
    let shown = LimitShown::from(&*limit);
    assert_eq!(shown.terms(), limit.terms().to_string());
    let text = r#"{"name": "a", "scope": "global", "rate": 9, "burst": 2, "max_wait_ms": 5}"#;
    let LimitRequest::Put(limit) = asked("limit.put", text) else { panic!("it was put") };
    assert_eq!(LimitShown::from(&*limit).terms(), "9/s burst 2 delay 5ms");
}

#[test]
fn a_page_names_where_the_next_one_begins() {
    let put = |body: &str| match asked("limit.put", body) {
        LimitRequest::Put(limit) => *limit,
        other => panic!("{other:?}"),
    };
    let keys = put(r#"{"name": "a", "key": "two words*", "rate": "1/s"}"#);
    let told = |limits, more| limit_answer(&LimitAnswer::List { limits, more });
    let page: Limits = serde_json::from_str(&told(vec![keys.clone()], true)).unwrap();
    let next = format!(r#"{{"after": "{}"}}"#, page.next.unwrap());
    let LimitRequest::List { after, .. } = asked("limit.list", &next) else { panic!() };
    assert_eq!(after, Some((keys.name().into(), keys.matches().clone())));
    let last: Limits = serde_json::from_str(&told(vec![keys], false)).unwrap();
    assert_eq!((last.limits.len(), last.next), (1, None));
    assert_eq!(told(vec![], false), r#"{"limits":[]}"#);
}

#[test]
fn answers_say_what_there_is_to_say_and_no_more() {
    let paused = Paused { until: None, by: Some("ops".into()), reason: Some("deploy".into()) };
    let told = |answer| limit_answer(&answer);
    assert_eq!(told(LimitAnswer::Put { replaced: None }), "{}");
    assert_eq!(told(LimitAnswer::Deleted(2)), r#"{"limits":2}"#);
    assert_eq!(told(LimitAnswer::Paused(paused.clone())), r#"{"by":"ops","reason":"deploy"}"#);
    assert_eq!(told(LimitAnswer::Resumed(true)), r#"{"was_paused":true}"#);
    let figures = KeyFigures {
        matches: LimitMatch { queue: QueuePattern::all(), key: None },
        key: "calls".into(),
        holders: 2,
        lanes: 3,
        tokens: Some(1),
        paused: Some(Paused { until: Some(Timestamp::from_millis(9)), ..paused }),
    };
    assert_eq!(
        told(LimitAnswer::TopKeys(vec![figures])),
        r#"{"keys":[{"key":"calls","limit_queue":">","holders":2,"lanes":3,"tokens":1,"#.to_owned()
            + r#""paused":{"until_at":9,"by":"ops","reason":"deploy"}}]}"#
    );
}
