use super::*;

/// Every sequence of 1 to `max` of `letters`, joined by `between`.
fn words(letters: &[&str], max: usize, between: &str) -> Vec<String> {
    let mut longest: Vec<String> = letters.iter().map(|letter| (*letter).to_owned()).collect();
    let mut all = longest.clone();
    for _ in 1..max {
        longest = longest
            .iter()
            .flat_map(|word| letters.iter().map(move |letter| format!("{word}{between}{letter}")))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// Topics and queues, with a token that no grant and no pattern names.
fn names() -> Vec<String> {
    words(&["a", "b", "z", "$"], 4, ".")
}

fn keys() -> Vec<String> {
    words(&["a", "b", "^", "$"], 5, "")
}

fn patterns() -> Vec<TopicPattern> {
    words(&["a", "b", "*", ">"], 3, ".")
        .iter()
        .filter_map(|text| TopicPattern::new(text).ok())
        .collect()
}

/// Every grant over a small alphabet.
fn grants() -> Vec<Grant> {
    let scopes = words(&["a", "b", "a^", "b^", ">"], 3, ".").into_iter().chain(words(
        &["a", "b", "^"],
        3,
        "",
    ));
    let scopes: Vec<String> = scopes.collect();
    let all = Action::ALL.iter().flat_map(|action| {
        scopes.iter().filter_map(move |scope| format!("{action}:{scope}").parse().ok())
    });
    let mut all: Vec<Grant> = all.collect();
    all.sort();
    all.dedup();
    all
}

/// Whether a grant's scope, read letter by letter from its text, holds this topic or queue.
fn scope_has_name(grant: &Grant, name: &str) -> bool {
    let text = grant.scope.to_string();
    let scope: Vec<&str> = text.split('.').collect();
    let name: Vec<&str> = name.split('.').collect();
    if name[0].starts_with('$') {
        return text == ">" && ["observe", "admin"].contains(&grant.action.name());
    }
    match scope.split_last() {
        Some((&">", prefix)) => name.len() > prefix.len() && name[..prefix.len()] == *prefix,
        _ => scope == name,
    }
}

fn scope_has_key(grant: &Grant, key: &str) -> bool {
    let text = grant.scope.to_string();
    if key.starts_with('$') {
        return text == ">" && ["observe", "admin"].contains(&grant.action.name());
    }
    match text.chars().last() {
        Some('>') => text == ">",
        Some('^') => key.len() >= text.len() && key[..text.len()] == text,
        _ => text == key,
    }
}

#[test]
fn every_grant_allows_exactly_what_its_language_holds() {
    let (names, keys, patterns) = (names(), keys(), patterns());
    let prefixes: Vec<String> = keys.iter().filter(|key| key.len() <= 3).cloned().collect();
    let below = |prefix: &str| -> Vec<&String> {
        let own = prefix.starts_with('$');
        keys.iter().filter(|key| key.starts_with(prefix) && key.starts_with('$') == own).collect()
    };
    let below: Vec<(&String, Vec<&String>)> =
        prefixes.iter().map(|prefix| (prefix, below(prefix))).collect();
    let matched: Vec<(&TopicPattern, Vec<&String>)> = patterns
        .iter()
        .map(|pattern| (pattern, names.iter().filter(|name| pattern.matches(name)).collect()))
        .collect();
    let mut allowed = 0;
    for grant in grants() {
        let alone: Grants = [grant.clone()].into_iter().collect();
        for action in Action::ALL.iter().copied() {
            let own = grant.action == action;
            let mut check = |resource: Resource<'_>, expected: bool| {
                allowed += u32::from(expected);
                assert_eq!(
                    alone.allow(action, resource),
                    expected,
                    "{grant} {action} {resource:?}"
                );
            };
            for name in &names {
                check(Resource::Name(name), own && scope_has_name(&grant, name));
            }
            for key in &keys {
                check(Resource::Key(key), own && scope_has_key(&grant, key));
            }
            for (pattern, language) in &matched {
                let inside = language.iter().all(|name| scope_has_name(&grant, name));
                check(Resource::Topics(pattern), own && inside);
            }
            for (prefix, language) in &below {
                let inside = language.iter().all(|key| scope_has_key(&grant, key));
                check(Resource::KeysBelow(prefix), own && inside);
            }
            check(Resource::Broker, own && grant.scope == Scope::All);
        }
    }
    assert!(allowed > 10_000, "the alphabet is too small: {allowed}");
}

#[test]
fn several_grants_allow_what_one_of_them_does_and_no_more() {
    let (all, patterns) = (grants(), patterns());
    for (at, first) in all.iter().enumerate().step_by(7) {
        let second = &all[(at * 31 + 5) % all.len()];
        let both: Grants = [second.clone(), first.clone()].into_iter().collect();
        let each = [first, second].map(|grant| Grants::from_iter([grant.clone()]));
        for action in Action::ALL.iter().copied() {
            for resource in patterns.iter().map(Resource::Topics).chain([Resource::Broker]) {
                let expected = each.iter().any(|one| one.allow(action, resource));
                assert_eq!(both.allow(action, resource), expected, "{first} {second} {resource:?}");
            }
        }
    }
}

#[test]
fn all_is_everything_but_what_is_the_brokers() {
    let all = Grants::all();
    assert!(all.is_all() && !Grants::default().is_all());
    for action in Action::ALL.iter().copied() {
        assert!(all.allow(action, Resource::Name("any.name")));
        assert!(all.allow(action, Resource::KeysBelow("")));
        assert!(all.allow(action, Resource::Broker));
        let own = matches!(action, Action::Observe | Action::Admin);
        assert_eq!(all.allow(action, Resource::Name("$sub.jobs")), own, "{action}");
        assert!(!Grants::default().allow(action, Resource::Name("any.name")));
    }
}

#[test]
fn grants_are_written_as_they_are_read() {
    for grant in grants() {
        assert_eq!(grant.to_string().parse(), Ok(grant));
    }
    let texts = ["publish:a.>", "subscribe:>", "kv_read:a^b", "admin:ns^"];
    assert_eq!(
        Grants::parse(texts).map(|grants| grants.to_texts()),
        Ok(texts.map(String::from).into())
    );
    assert_eq!(Grants::parse(["all", "publish:a"]).map(|grants| grants.is_all()), Ok(true));
    assert_eq!(Grants::all().to_texts(), ["all"]);
}

#[test]
#[rustfmt::skip]
fn what_is_no_grant_is_refused_with_the_reason() {
    use Action::{KvRead, Publish};
    let cases = [
        ("publish",           GrantError::Shape),
        ("fly:a",             GrantError::Action),
        ("kv_read:a.>",       GrantError::KeysBelow { action: KvRead }),
        ("publish:a^",        GrantError::NamesBelow { action: Publish }),
        ("publish:",          GrantError::Name(NameError::Empty)),
        ("publish:a.*",       GrantError::Name(NameError::MisplacedWildcard)),
        ("publish:a.>.b",     GrantError::Name(NameError::MisplacedWildcard)),
        ("publish:*.>",       GrantError::Name(NameError::MisplacedWildcard)),
        ("publish:$sys.>",    GrantError::Name(NameError::Reserved)),
        ("admin:$sys",        GrantError::Name(NameError::Reserved)),
        ("kv_write:a b",      GrantError::Name(NameError::ForbiddenCharacter)),
        ("kv_write:*",        GrantError::Name(NameError::MisplacedWildcard)),
        ("publish:a\n",       GrantError::Name(NameError::ForbiddenCharacter)),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Grant>(), Err(expected), "{text}");
    }
}
