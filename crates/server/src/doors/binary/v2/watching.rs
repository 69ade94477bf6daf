//! WATCH: a consumer of what happens to keys.

use sluice_model::{
    Answer, Code, Command, Key, Keys, KvAnswer, KvRequest, Qos, Revision, Source, WatchEvent,
};
use sluice_protocol::binary::v2::{CREDIT_MAX, ChangesWriter, WatchRef, Watching};

use super::consuming::Opening;
use super::deliveries::Written;
use super::pending::Kind;
use super::session::Session;
use crate::doors::Output;
use crate::doors::binary::common::Io;

impl Session {
    pub(super) fn watch(&mut self, id: u64, frame: WatchRef<'_>, io: &mut Io<'_>) {
        let keys = match frame.below {
            true => Keys::below(frame.keys),
            false => Key::new(frame.keys).map(Keys::One),
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => return self.refuse(id, Code::Invalid, error.to_string(), io),
        };
        if self.is_full() {
            return self.too_many_consumers(id, io);
        }
        self.receiving.opening.push_back(Opening {
            from: None,
            // Nothing is leased, so credit alone says how many may come.
            qos: Qos::AtMostOnce,
            push: true,
            credit: frame.credit.min(CREDIT_MAX),
            lease: None,
            number: None,
        });
        let request = KvRequest::Watch { keys, from: frame.from };
        self.push(io.requests, id, Kind::Watch, Command::Kv(request));
    }

    /// The watch is there, or refused.
    pub(super) fn watching(&mut self, id: u64, answer: Answer, output: &mut Output) {
        let Some(mut opening) = self.receiving.opening.pop_front() else { return };
        let answer = match answer {
            Answer::Kv(answer) => answer,
            Answer::Refused(refusal) => return self.write_error(id, &refusal, output),
            _ => return debug_assert!(false, "an answer to another kind of request"),
        };
        let KvAnswer::Watching { watch, revision } = answer else { return };
        opening.from = Some(Source::Watch(watch));
        let consumer = self.opened(id, &opening);
        self.write(output, |out| Watching { consumer, revision }.put(out, id));
    }

    /// Writes changes for a watch, in as many frames as they take.
    pub(super) fn tell_changes(
        &mut self,
        consumer: u64,
        events: &[WatchEvent],
        output: &mut Output,
    ) -> Written {
        let length_max = self.length_max;
        self.write(output, |out| {
            let mut rest = events;
            while let Some((first, behind)) = rest.split_first() {
                let Ok(mut writer) = ChangesWriter::begin(out, consumer, length_max) else {
                    return;
                };
                let fitting = rest.iter().take_while(|event| writer.push(event)).count();
                if fitting == 0 {
                    let fits = writer.push(&missing(first));
                    debug_assert!(fits, "a gap is shorter than the shortest longest frame");
                }
                writer.finish();
                rest = rest.get(fitting..).filter(|_| fitting > 0).unwrap_or(behind);
            }
        });
        Written { messages: events.len() as u32, ..Written::default() }
    }
}

/// What is told of a change that no frame of the client holds.
fn missing(event: &WatchEvent) -> WatchEvent {
    let resumed_at = match event {
        WatchEvent::Put(entry) => Revision(entry.revision.0 + 1),
        WatchEvent::Deleted { revision, .. } | WatchEvent::Expired { revision, .. } => {
            Revision(revision.0 + 1)
        }
        WatchEvent::Gap { resumed_at } => *resumed_at,
    };
    WatchEvent::Gap { resumed_at }
}
