//! The full search: whether what some clients did to one key, and were told, can have happened in an order.

use std::collections::HashSet;

/// Something that a client did to the one key, and between which moments; it has no answer where the
/// broker was gone before.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) what: What,
    pub(crate) asked: u64,
    pub(crate) answered: Option<u64>,
}

/// What that was. Where nothing is known of its outcome it may have been done or not.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Put(String),
    /// Only if it was this; whether it was.
    Swap {
        before: String,
        after: String,
        done: Option<bool>,
    },
    PutNew {
        value: String,
        done: Option<bool>,
    },
    /// Whether there was something.
    Delete(Option<bool>),
    Read(Option<String>),
}

impl What {
    /// The state after it, if it can have happened in this one.
    fn after(&self, state: &Option<String>) -> Option<Option<String>> {
        let if_so = |so: bool, done: &Option<bool>, after: Option<String>| match done {
            Some(done) if *done != so => None,
            _ if so => Some(after),
            _ => Some(state.clone()),
        };
        match self {
            Self::Put(value) => Some(Some(value.clone())),
            Self::Swap { before, after, done } => {
                if_so(state.as_ref() == Some(before), done, Some(after.clone()))
            }
            Self::PutNew { value, done } => if_so(state.is_none(), done, Some(value.clone())),
            Self::Delete(there) => if_so(state.is_some(), there, None),
            Self::Read(seen) => (state == seen).then(|| state.clone()),
        }
    }
}

/// Whether there is an order of all that was answered, and of some of the rest, in which each was possible, and
/// none comes before one that was answered before it was asked. Every order is tried.
pub(crate) fn is_linearizable(history: &[Done]) -> bool {
    assert!(history.len() <= 128, "a bit each");
    let answered = |at: &usize| history[*at].answered.is_some();
    let due = (0..history.len()).filter(answered).fold(0_u128, |due, at| due | 1 << at);
    let mut tried = HashSet::new();
    let mut left = vec![(0_u128, None::<String>)];
    while let Some((done, state)) = left.pop() {
        if done & due == due {
            return true;
        }
        if !tried.insert((done, state.clone())) {
            continue;
        }
        let open = |at: &usize| done >> at & 1 == 0;
        let answers = (0..history.len()).filter(open).filter_map(|at| history[at].answered);
        let first_answer = answers.min().unwrap_or(u64::MAX);
        // Those without an answer are tried last.
        let (known, unknown): (Vec<_>, Vec<_>) =
            (0..history.len()).filter(open).partition(answered);
        for at in unknown.into_iter().chain(known) {
            if history[at].asked < first_answer
                && let Some(after) = history[at].what.after(&state)
                // What has no answer and would change nothing may as well not have been done.
                && (after != state || history[at].answered.is_some())
            {
                left.push((done | 1 << at, after));
            }
        }
    }
    false
}

#[test]
fn the_search_finds_out_what_can_not_have_happened() {
    let done = |what, asked, answered| Done { what, asked, answered: Some(answered) };
    let unknown = |what, asked| Done { what, asked, answered: None };
    let put = |value: &str| What::Put(value.to_owned());
    let read = |value: Option<&str>| What::Read(value.map(str::to_owned));
    // Together, either may be first.
    assert!(is_linearizable(&[done(put("a"), 0, 3), done(read(None), 1, 2)]));
    assert!(is_linearizable(&[done(put("a"), 0, 3), done(read(Some("a")), 1, 2)]));
    // One after the other, not.
    assert!(!is_linearizable(&[done(put("a"), 0, 1), done(read(None), 2, 3)]));
    let stale = [done(put("a"), 0, 1), done(put("b"), 2, 3), done(read(Some("a")), 4, 5)];
    assert!(!is_linearizable(&stale));
    let swap = |done| What::Swap { before: "a".to_owned(), after: "b".to_owned(), done };
    let swaps = |first, second| {
        let all = [done(put("a"), 0, 1), done(swap(first), 2, 9), done(swap(second), 3, 8)];
        is_linearizable(&all)
    };
    assert!(!swaps(Some(true), Some(true)) && swaps(Some(true), Some(false)));
    // What has no answer may have been done late, or never, but not twice.
    let lost = || unknown(put("a"), 0);
    assert!(is_linearizable(&[lost(), done(read(None), 1, 2), done(read(Some("a")), 3, 4)]));
    assert!(is_linearizable(&[lost(), done(read(None), 1, 2)]));
    let reads = [done(read(Some("a")), 1, 2), done(read(None), 3, 4)];
    assert!(!is_linearizable(&[&[lost()][..], &reads].concat()));
    let gone = unknown(What::Delete(None), 0);
    assert!(is_linearizable(&[&[lost(), gone][..], &reads].concat()));
}
