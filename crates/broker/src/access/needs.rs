//! The one table of what each command needs.

use sluice_model::{Action, Command, Resource};

/// The grant that a command needs; none where having been let in is enough.
///
/// - A subscription is allowed for its whole pattern when it is made, and looked at again whenever
///   the keys change, so receiving from one needs nothing more.
/// - A lease id can't be guessed: who has it was allowed to receive.
pub(super) fn needed(command: &Command) -> Option<(Action, Resource<'_>)> {
    match command {
        Command::Publish(publish) => {
            Some((Action::Publish, Resource::Name(publish.topic.as_str())))
        }
        Command::Subscribe(subscribe) => {
            Some((Action::Subscribe, Resource::Topics(&subscribe.pattern)))
        }
        Command::Receive { .. }
        | Command::Ack { .. }
        | Command::Nack { .. }
        | Command::Fence
        | Command::Refused(_) => None,
    }
}
