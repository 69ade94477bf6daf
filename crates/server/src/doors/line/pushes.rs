//! The lines by which changes and messages are pushed.
//!
//! Who listens to the same is told the same: a worker makes the lines of a change, or of a message, once
//! and keeps them for the next of its connections, until it tells another one.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{Carried, WatchEvent};
use sluice_protocol::line::Event;

/// What was told last, and its lines.
struct Made {
    of: Told,
    json: bool,
    lines: Bytes,
}

enum Told {
    Changes(Arc<[WatchEvent]>),
    Message(Carried),
}

thread_local! {
    static LAST: RefCell<Option<Made>> = const { RefCell::new(None) };
}

/// The lines that tell of these changes, in text or in JSON.
pub(super) fn of_changes(events: &Arc<[WatchEvent]>, json: bool) -> Bytes {
    let make = || events.iter().map(|event| line(&Event::Change(event), json)).collect::<String>();
    // Only a change by itself is shared.
    if events.len() != 1 {
        return make().into();
    }
    let same = |told: &Told| matches!(told, Told::Changes(told) if Arc::ptr_eq(told, events));
    made_once(json, same, make, || Told::Changes(Arc::clone(events)))
}

/// The line that brings this message, likewise.
pub(super) fn of_message(carried: &Carried, json: bool) -> Bytes {
    let Carried { topic, sender, published_at, headers, payload, .. } = carried;
    let published_at = *published_at;
    let make = || line(&Event::Message { topic, sender, published_at, headers, payload }, json);
    let same = |told: &Told| matches!(told, Told::Message(told) if told == carried);
    made_once(json, same, make, || Told::Message(carried.clone()))
}

fn made_once(
    json: bool,
    same: impl Fn(&Told) -> bool,
    make: impl Fn() -> String,
    keep: impl Fn() -> Told,
) -> Bytes {
    LAST.with_borrow_mut(|last| match last {
        Some(made) if made.json == json && same(&made.of) => made.lines.clone(),
        _ => {
            let lines = Bytes::from(make());
            *last = Some(Made { of: keep(), json, lines: lines.clone() });
            lines
        }
    })
}

/// A push in its form.
pub(super) fn line(event: &Event<'_>, json: bool) -> String {
    let mut line = if json { event.to_json() } else { event.to_text() };
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use sluice_model::{Key, Revision};

    use super::*;

    fn deleted(key: &str, revision: u64) -> Arc<[WatchEvent]> {
        let event =
            WatchEvent::Deleted { key: Key::new(key).unwrap(), revision: Revision(revision) };
        Arc::new([event])
    }

    #[test]
    fn the_lines_of_a_change_are_made_once_for_each_form_and_never_taken_for_anothers() {
        let (first, second) = (deleted("a", 1), deleted("b", 2));
        let text = of_changes(&first, false);
        assert_eq!(text, "*del a\n");
        assert_eq!(of_changes(&first, false).as_ptr(), text.as_ptr(), "it is shared");
        let json = "{\"event\":\"del\",\"key\":\"a\",\"revision\":1}\n";
        assert_eq!(of_changes(&first, true), json);
        assert_eq!(of_changes(&second, true), json.replace("\"a\"", "\"b\"").replace('1', "2"));
        assert_eq!(of_changes(&second, false), "*del b\n");
        assert_eq!(of_changes(&deleted("a", 3), false), "*del a\n");
        let both: Arc<[WatchEvent]> = first.iter().chain(&*second).cloned().collect();
        assert_eq!(of_changes(&both, false), "*del a\n*del b\n");
    }

    #[test]
    fn the_line_of_a_message_is_that_of_no_other_one() {
        let message = |payload: &'static str, sender: &'static str| Carried {
            topic: "t".into(),
            sender: sender.into(),
            payload: payload.into(),
            ..Carried::default()
        };
        let (first, again) = (message("x", "a"), message("x", "a"));
        let text = of_message(&first, false);
        assert_eq!(text, "*message t x\n");
        assert_eq!(of_message(&again, false).as_ptr(), text.as_ptr(), "it is shared");
        assert_eq!(of_message(&message("y", "a"), false), "*message t y\n");
        let of_a = of_message(&first, true);
        let of_b = of_message(&message("x", "b"), true);
        assert!(of_a.starts_with(b"{") && of_a != of_b, "who sent it is in it");
    }
}
