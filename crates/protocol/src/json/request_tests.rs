use sluice_model::Code;

use super::*;

#[test]
#[rustfmt::skip]
fn what_is_wrong_is_refused_and_named() {
    let id = r#""id": "00000001-0000000000000002""#;
    let cases: &[(&str, &str, Code, &str)] = &[
        ("queue.stat",    "{}", Code::BadRequest, "there is no verb \"queue.stat\"; did you mean queue.stats?"),
        ("queue.stats",   "[]", Code::BadRequest, "the request is an array, not an object"),
        ("queue.stats",   "",   Code::BadRequest, "the field name is missing"),
        ("queue.stats",   r#"{"name": 1}"#, Code::BadRequest, "name is a number, not a string"),
        ("queue.stats",   r#"{"name": null}"#, Code::BadRequest, "name is null, not a string"),
        ("queue.stats",   r#"{"name": ""}"#, Code::Invalid, "name: the name is empty"),
        ("queue.stats",   r#"{"name": "$sys"}"#, Code::Invalid, "name: names beginning with `$` belong to the broker"),
        ("queue.stats",   r#"{"name": "a", "nam": 1}"#, Code::BadRequest, "there is no field \"nam\"; did you mean name?"),
        ("queue.stats",   r#"{"name": "a", "colour": 1}"#, Code::BadRequest, "there is no field \"colour\", only name"),
        ("queue.declare", r#"{"name": "a", "settings": 1}"#, Code::BadRequest, "settings is a number, not an object"),
        ("queue.declare", r#"{"name": "a", "settings": {"lease": 1}}"#, Code::BadRequest, "there is no setting \"lease\"; did you mean lease_ms?"),
        ("queue.declare", r#"{"name": "a", "settings": {"lease_ms": "1000"}}"#, Code::BadRequest, "lease_ms is a string, not a number"),
        ("queue.declare", r#"{"name": "a", "settings": {"lease_ms": 1000.5}}"#, Code::BadRequest, "lease_ms = \"1000.5\" is not a whole number"),
        ("queue.declare", r#"{"name": "a", "settings": {"lease_ms": 1}}"#, Code::Invalid, "lease_ms = 1 is outside 1000 .. 43200000"),
        ("queue.declare", r#"{"name": "a", "settings": {"overflow": 1}}"#, Code::BadRequest, "overflow is a number, not a string"),
        ("queue.declare", r#"{"name": "a", "settings": {"overflow": "fail"}}"#, Code::Invalid, "overflow = \"fail\" is not one of reject, drop_oldest, dead"),
        ("queue.list",    r#"{"limit": 0}"#, Code::Invalid, "limit = 0 is outside 1 .. 1000"),
        ("queue.list",    r#"{"limit": 1001}"#, Code::Invalid, "limit = 1001 is outside 1 .. 1000"),
        ("queue.list",    r#"{"limit": -1}"#, Code::Invalid, "limit = -1 is outside 1 .. 1000"),
        ("queue.list",    r#"{"limit": 1.5}"#, Code::BadRequest, "limit = 1.5 is not a whole number"),
        ("queue.list",    r#"{"limit": true}"#, Code::BadRequest, "limit is true or false, not a whole number"),
        ("queue.list",    r#"{"after": "a b"}"#, Code::Invalid, "after: the name has white space or a control character"),
        ("queue.purge",   r#"{"name": "a", "waiting": false}"#, Code::Invalid, "none of waiting, leased and dead is true"),
        ("queue.purge",   r#"{"name": "a", "dead": "yes"}"#, Code::BadRequest, "dead is a string, not true or false"),
        ("queue.browse",  r#"{"name": "a", "state": "redy"}"#, Code::Invalid, "state = \"redy\" is not one of ready, delayed, leased, dead"),
        ("queue.browse",  r#"{"name": "a", "group": ""}"#, Code::Invalid, "group has 0 bytes, it must have 1 to 128"),
        ("queue.peek",    r#"{"name": "a"}"#, Code::BadRequest, "the field id is missing"),
        ("queue.peek",    r#"{"name": "a", "id": 7}"#, Code::BadRequest, "id is a number, not the id of a message"),
        ("queue.peek",    r#"{"name": "a", "id": "7"}"#, Code::Invalid, "id = \"7\": an id of a message is 8 digits from 0 to f, a hyphen, and 16 more"),
        ("queue.reschedule", &format!(r#"{{"name": "a", {id}}}"#), Code::BadRequest, "the field at_ms is missing"),
        ("queue.redrive", r#"{"name": "a", "ids": [], "reason": "expired"}"#, Code::Invalid, "ids are given, so neither reason nor age_min_ms may be"),
        ("queue.redrive", r#"{"name": "a", "ids": null}"#, Code::BadRequest, "ids is null, not an array"),
        ("queue.redrive", r#"{"name": "a", "ids": [7]}"#, Code::BadRequest, "ids is a number, not the id of a message"),
        ("queue.redrive", r#"{"name": "a", "per_second": 0}"#, Code::Invalid, "per_second = 0 is outside 1 .. 4294967295"),
        ("subscription.delete", r#"{"name": "$sub.a"}"#, Code::Invalid, "name: names beginning with `$` belong to the broker"),
    ];
    for (verb, body, code, message) in cases {
        let refusal = request(verb, body.as_bytes()).unwrap_err();
        assert_eq!((refusal.code, &*refusal.message), (*code, *message), "{verb} {body}");
    }
}

#[test]
fn a_purge_takes_what_waits_unless_it_is_told_otherwise() {
    let purge = |body: &str| match request("queue.purge", body.as_bytes()) {
        Ok(QueueRequest::Purge { what, .. }) => (what.waiting, what.leased, what.dead),
        other => panic!("{other:?}"),
    };
    assert_eq!(purge(r#"{"name": "a"}"#), (true, false, false));
    assert_eq!(purge(r#"{"name": "a", "dead": true}"#), (false, false, true));
    assert_eq!(purge(r#"{"name": "a", "waiting": true, "leased": true}"#), (true, true, false));
}

#[test]
fn a_request_is_bounded_and_what_is_left_out_has_a_default() {
    let long = format!(r#"{{"name": "{}"}}"#, "a".repeat(BODY_BYTES_MAX));
    assert_eq!(request("queue.stats", long.as_bytes()).unwrap_err().code, Code::TooLarge);
    let name = "n".repeat(60_000);
    for body in [format!(r#"{{"{name}": 1}}"#), format!(r#"{{"settings": {{"{name}": 1}}}}"#)] {
        let refusal = request("queue.declare", body.as_bytes()).unwrap_err();
        assert!(refusal.message.len() < 200, "{}", refusal.message);
    }
    let ids_of = |count| vec!["\"00000001-0000000000000002\""; count].join(",");
    let ids = |text: &str| {
        request("queue.redrive", format!(r#"{{"name": "a", "ids": [{text}]}}"#).as_bytes())
    };
    assert_eq!(ids(&ids_of(1_001)).unwrap_err().code, Code::Invalid);
    assert!(ids(&ids_of(1_000)).is_ok());
    let list = QueueRequest::List { kind: QueueKind::Plain, after: None, limit: PAGE_DEFAULT };
    assert_eq!(request("queue.list", b""), Ok(list));
}
