//! Limits, their texts, and which apply.

use proptest::prelude::*;

use super::*;

fn limit(name: &str, queue: &str, key: Option<&str>, terms: &str) -> Result<Limit, LimitError> {
    let key = key.map(KeyPattern::new).transpose()?;
    let scope = if key.is_some() { LimitScope::Key } else { LimitScope::Queue };
    let matches = LimitMatch { queue: QueuePattern::new(queue)?, key };
    Limit::new(name, scope, matches, terms.parse()?)
}

#[test]
#[rustfmt::skip]
fn terms_are_read_in_any_order_and_written_in_one() {
    let cases = [
        ("5/s",                                     "5/s"),
        ("100/m",                                   "100/m"),
        ("2.50/s burst 10",                         "2.5/s burst 10"),
        ("burst 3 0.001/1000ms",                    "0.001/s burst 3"),
        ("200/300s",                                "200/5m"),
        ("1/24h",                                   "1/d"),
        ("window 100/1m",                           "window 100/m"),
        ("concurrency 0",                           "concurrency 0"),
        ("concurrency 4 window 7/90s 4000000/s",    "4000000/s window 7/90s concurrency 4"),
        ("10/s burst 20 delay 2s",                  "10/s burst 20 delay 2000ms"),
        ("10/s refuse",                             "10/s"),
        ("3/1500ms",                                "3/1500ms"),
    ];
    for (text, written) in cases {
        let terms: LimitTerms = text.parse().unwrap();
        assert_eq!(terms.to_string(), written);
        assert_eq!(written.parse(), Ok(terms));
    }
}

#[test]
#[rustfmt::skip]
fn what_is_wrong_is_named() {
    let cases = [
        ("x",  ">",    None,       "",                   "none of rate, window and concurrency is given"),
        ("X",  ">",    None,       "5/s",                "name \"X\" is not 1 to 64 of a-z, 0-9, `.`, `_` and `-`"),
        ("x",  "a..b", None,       "5/s",                "queue \"a..b\": the name has an empty token"),
        ("x",  "$sys", None,       "5/s",                "queue \"$sys\": names beginning with `$` belong to the broker"),
        ("x",  ">",    Some("a*b"), "5/s",               "key \"a*b\" is not 1 to 128 bytes with `*` at the end or nowhere"),
        ("x",  ">",    None,       "5",                  "\"5\" is not part of a limit; it is like \"2.5/s burst 10 window 100/1m concurrency 4\""),
        ("x",  ">",    None,       "5/s 6/s",            "\"6/s\" is not part of a limit; it is like \"2.5/s burst 10 window 100/1m concurrency 4\""),
        ("x",  ">",    None,       "5/week",             "rate \"5/week\" is not like 5/s, 2.5/s or 100/10m, with at most three digits behind the point"),
        ("x",  ">",    None,       "0.0001/s",           "rate \"0.0001/s\" is not like 5/s, 2.5/s or 100/10m, with at most three digits behind the point"),
        ("x",  ">",    None,       "0/s",                "rate \"0/s\" is 0; concurrency 0 closes a key"),
        ("x",  ">",    None,       "4000.5/s",           "rate \"4000.5/s\" is above 4000000, or above 4000 with a fraction"),
        ("x",  ">",    None,       "0.5/366d",           "rate \"0.5/366d\" is below one in 366 days"),
        ("x",  ">",    None,       "1/367d",             "rate \"1/367d\" has a period outside 1ms .. 366d"),
        ("x",  ">",    None,       "5/s burst 0",        "burst 0 is not at least 1"),
        ("x",  ">",    None,       "1/d burst 367",      "burst 367 takes longer than 366 days to come back at this rate"),
        ("x",  ">",    None,       "concurrency 1 burst 2", "burst 2 is given without a rate"),
        ("x",  ">",    None,       "window 0/s",         "window \"0/s\" has a max outside 1 .. 100000"),
        ("x",  ">",    None,       "window 5/0s",        "window \"5/0ms\" has a length outside 1ms .. 366d"),
        ("x",  ">",    None,       "5/s delay 1s",       "delay is given, with scope queue it means nothing"),
    ];
    for (name, queue, key, terms, expected) in cases {
        let error = limit(name, queue, key, terms).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let request = |scope, queue: &str, terms: &str| {
        let matches = LimitMatch { queue: queue.parse().unwrap(), key: None };
        Limit::new("x", scope, matches, terms.parse().unwrap())
    };
    let cases = [
        (LimitScope::Key,    ">", "5/s",            "key is missing, scope is key"),
        (LimitScope::Client, "a", "5/s",            "queue is a, with scope client it must be > (all of them)"),
        (LimitScope::Global, ">", "concurrency 1",  "concurrency is given, with scope global it means nothing"),
        (LimitScope::Global, ">", "window 1/s",     "window is given, with scope global it means nothing"),
        (LimitScope::Client, ">", "5/s delay 2m",   "max_wait_ms 120000 is outside 1 .. 60000"),
    ];
    for (scope, queue, terms, expected) in cases {
        assert_eq!(request(scope, queue, terms).unwrap_err().to_string(), expected);
    }
    assert!(request(LimitScope::Client, ">", "5/s burst 9 delay 2s").is_ok());
}

#[test]
fn the_most_specific_match_of_a_name_wins_and_all_names_apply() {
    let mut set = LimitSet::default();
    let limits = [
        limit("stripe", ">", Some("stripe:*"), "5/s"),
        limit("stripe", "mail.>", Some("stripe:*"), "6/s"),
        limit("stripe", ">", Some("stripe:vip"), "7/s"),
        limit("all", ">", Some("*"), "8/s"),
        limit("queue", "mail.out", None, "9/s"),
    ];
    for (number, limit) in limits.into_iter().enumerate() {
        set.set(limit.unwrap(), number).unwrap();
    }
    let applied = |queue: &str, keys: &[&str]| -> Vec<(usize, Option<usize>)> {
        let mut found = Vec::new();
        set.of_message(&set.of_queue(queue), keys, |it| found.push((it.with, it.key)));
        found
    };
    let (first, second) = (Some(0), Some(1));
    assert_eq!(applied("jobs", &["stripe:1", "stripe:1"]), [(3, first), (0, first)]);
    assert_eq!(applied("mail.out", &["stripe:1"]), [(4, None), (3, first), (1, first)]);
    let found = applied("mail.in", &["eu", "stripe:vip"]);
    assert_eq!(found, [(3, first), (3, second), (2, second)]);
    assert_eq!(applied("$sub.audit", &["stripe:1"]), []);
}

#[test]
fn a_tie_another_scope_and_too_many_alike_are_refused() {
    let mut set = LimitSet::default();
    let mut put = |name: &str, queue: &str, key: Option<&str>| {
        set.set(limit(name, queue, key, "5/s").unwrap(), ()).map(|old| old.is_some())
    };
    assert_eq!(put("x", "a.*.c", Some("k*")), Ok(false));
    assert_eq!(put("x", "a.*.c", Some("k*")), Ok(true));
    let tie = Err(LimitError::Tie { queue: "a.*.c".to_owned() });
    assert_eq!(put("x", "a.>", Some("k*")), tie);
    assert_eq!(put("x", "a.*.*", Some("k*")), tie);
    // No queue is matched by both, they differ in how specific they are, or they are of other keys.
    assert_eq!(put("x", "a.*.d", Some("k*")), Ok(false));
    assert_eq!(put("x", "a.b.>", Some("k*")), Ok(false));
    assert_eq!(put("x", "a.>", Some("kk*")), Ok(false));
    let differs = LimitError::ScopeDiffers { is: LimitScope::Key, asked: LimitScope::Queue };
    assert_eq!(put("x", "b", None), Err(differs));
    for number in 0..MATCHES_MAX {
        assert_eq!(put(&format!("n{number}"), "q", None), Ok(false));
    }
    assert_eq!(put("another", "q", None), Err(LimitError::TooManyAlike));
    assert_eq!(put("n0", "q", None), Ok(true));
}

fn texts(choices: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(choices)
}

proptest! {
    #[test]
    fn what_applies_is_what_going_through_all_of_them_finds(
        steps in prop::collection::vec((
            texts(&["x", "y", "z"]),
            texts(&[">", "*", "a.>", "a.*", "*.b", "a.b", "a.b.>", "a.*.c", "a.*.*", "b", "$sub.a"]),
            prop::option::weighted(0.8, texts(&["*", "k*", "k:*", "k:1", "k:1*", "k", "é*", "é"])),
            any::<bool>(),
        ), 1..60),
        queues in prop::collection::vec(texts(&["a", "b", "a.b", "a.c", "a.b.c", "a.x.c", "x.b", "$sub.a"]), 4),
        keys in prop::collection::vec(texts(&["k", "k:1", "k:12", "k:2", "e", "é", "éa", "è"]), 0..4),
    ) {
        let (mut set, mut naive) = (LimitSet::default(), Vec::<(Limit, usize)>::new());
        let mut cached = Vec::new();
        for (number, (name, queue, key, remove)) in steps.into_iter().enumerate() {
            let new = limit(name, queue, key, "5/s").unwrap();
            let same = |old: &(Limit, usize)| old.0.name() == name && old.0.matches() == new.matches();
            if remove && number % 3 == 0 {
                let removed = set.remove(name, new.matches());
                prop_assert_eq!(removed.is_some(), naive.iter().any(same));
                naive.retain(|old| !same(old));
            } else if set.set(new.clone(), number).is_ok() {
                naive.retain(|old| !same(old));
                naive.push((new, number));
            }
            prop_assert_eq!(set.len(), naive.len());
            for (at, queue) in queues.iter().enumerate() {
                if cached.len() <= at { cached.push(set.of_queue(queue)); }
                if set.is_stale(&cached[at]) { cached[at] = set.of_queue(queue); }
                let mut found = Vec::new();
                set.of_message(&cached[at], &keys, |it| found.push((it.key, it.with)));
                found.sort_unstable();
                let mut expected = Vec::new();
                for key in std::iter::once(None).chain((0..keys.len()).map(Some)) {
                    if key.is_some_and(|at| keys[..at].contains(&keys[at])) { continue }
                    for name in ["x", "y", "z"] {
                        let applies = |limit: &Limit| {
                            let matches = limit.matches();
                            limit.name() == name && matches.queue.matches(queue) && match (key, &matches.key) {
                                (Some(at), Some(pattern)) => pattern.matches(keys[at]),
                                (None, None) => true,
                                _ => false,
                            }
                        };
                        let rank = |limit: &Limit| {
                            let matches = limit.matches();
                            (matches.key.as_ref().map(KeyPattern::specificity), matches.queue.specificity())
                        };
                        let all: Vec<_> = naive.iter().filter(|(limit, _)| applies(limit)).collect();
                        let Some(best) = all.iter().map(|(limit, _)| rank(limit)).max() else { continue };
                        let winners: Vec<_> = all.iter().filter(|(limit, _)| rank(limit) == best).collect();
                        prop_assert_eq!(winners.len(), 1, "a tie was let in");
                        expected.push((key, winners[0].1));
                    }
                }
                expected.sort_unstable();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
