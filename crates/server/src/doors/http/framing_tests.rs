//! What is one request, and what could be two.

use super::*;

fn framing() -> Framing {
    Framing::new(512, 8)
}

/// Looks at everything at once and at byte after byte; both come to the same fault.
fn fault(bytes: &[u8]) -> Option<Fault> {
    let (_, whole) = framing().observe(bytes);
    let mut single = framing();
    let slowly = bytes.iter().find_map(|byte| single.observe(&[*byte]).1);
    assert_eq!(whole.is_some(), slowly.is_some(), "{:?}", String::from_utf8_lossy(bytes));
    whole
}

#[test]
fn requests_behind_one_another_are_told_apart() {
    let requests: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /enqueue HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ];
    let all = requests.concat();
    let ends: Vec<usize> = (1..=requests.len()).map(|n| requests[..n].concat().len()).collect();
    for step in [1, 2, 3, 7, all.len()] {
        let mut framing = framing();
        let mut seen = 0;
        for part in all.chunks(step) {
            assert_eq!(framing.observe(part), (part.len(), None));
            seen += part.len();
            let is_between = !framing.is_in_head() && !framing.is_in_body();
            if step == 1 {
                assert_eq!(is_between, ends.contains(&seen), "{seen}");
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_two_servers_could_read_in_two_ways_is_refused() {
    let cases = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01 / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for case in cases {
        assert!(matches!(fault(case.as_bytes()), Some(Fault::Malformed(_))), "{case:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_lines() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(600));
    assert_eq!(fault(long.as_bytes()), Some(Fault::HeadTooLarge));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(8));
    assert_eq!(fault(many.as_bytes()), Some(Fault::TooManyHeaders));
    let few = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(7));
    assert_eq!(fault(few.as_bytes()), None);
}

#[test]
fn hyper_sees_what_came_before_a_fault() {
    let good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = [&good[..], b"GET / HTTP/1.1\nHost: a\r\n\r\n"].concat();
    let (seen, fault) = framing().observe(&all);
    assert_eq!(seen, good.len());
    assert!(fault.is_some());
}
