//! The lines by which changes are pushed.
//!
//! Who watches the same key is told the same: a worker makes the lines of a change once and keeps them
//! for the next of its connections, until it tells another one.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::WatchEvent;
use sluice_protocol::line::Event;

/// What was told last, and its lines.
struct Made {
    events: Arc<[WatchEvent]>,
    json: bool,
    lines: Bytes,
}

thread_local! {
    static LAST: RefCell<Option<Made>> = const { RefCell::new(None) };
}

/// The lines that tell of these changes, in text or in JSON.
pub(super) fn of_changes(events: &Arc<[WatchEvent]>, json: bool) -> Bytes {
    // Only a change by itself is shared.
    if events.len() != 1 {
        return make(events, json);
    }
    LAST.with_borrow_mut(|last| match last {
        Some(made) if made.json == json && Arc::ptr_eq(&made.events, events) => made.lines.clone(),
        _ => {
            let lines = make(events, json);
            *last = Some(Made { events: Arc::clone(events), json, lines: lines.clone() });
            lines
        }
    })
}

fn make(events: &[WatchEvent], json: bool) -> Bytes {
    let mut lines = String::new();
    for event in events {
        lines += &line(&Event::Change(event), json);
        lines.push('\n');
    }
    lines.into()
}

/// A push in its form.
pub(super) fn line(event: &Event<'_>, json: bool) -> String {
    if json { event.to_json() } else { event.to_text() }
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
}
