//! The one table of what each command needs.

use sluice_model::{
    Action, Command, Destination, Keys, KvRequest, LimitRequest, QueueRequest, Resource, Source,
};

/// A grant that a command needs.
pub(super) type Need<'a> = (Action, Resource<'a>);

/// The grants that a command needs, all of them; none where having been let in is enough.
///
/// - A subscription is allowed for its whole pattern when it is made, and looked at again whenever
///   the keys change, so receiving from one needs nothing more. So is a watch.
/// - A lease id can't be guessed: who has it was allowed to receive.
/// - The queue of a subscription is the broker's own (`$sub.NAME`): a key that may not do everything
///   reaches its messages by subscribing alone, which asks for the whole pattern.
pub(super) fn needed<'a>(command: &'a Command, mut need: impl FnMut(Need<'a>)) {
    match command {
        Command::Publish(publish) => need(to_publish(&publish.to)),
        Command::PublishBatch(batch) => {
            batch.messages.iter().for_each(|(to, _)| need(to_publish(to)));
        }
        Command::PublishBlock(block) => need(to_publish(&block.to)),
        Command::Subscribe(subscribe) => {
            need((Action::Subscribe, Resource::Topics(&subscribe.pattern)));
            if !subscribe.settings.is_empty() {
                need((Action::Admin, Resource::Topics(&subscribe.pattern)));
            }
        }
        Command::Receive(receive) => match &receive.from {
            Source::Queue(name) => need((Action::Consume, Resource::Name(name.as_str()))),
            Source::Subscription(_) | Source::Watch(_) => {}
        },
        Command::Queue(request) => need(to_look_after(request)),
        Command::Limit(request) => need(of_limits(request)),
        Command::Kv(request) => {
            if let Some(needed) = of_keys(request) {
                need(needed);
            }
        }
        Command::Unsubscribe { .. }
        | Command::Withdraw { .. }
        | Command::Ack { .. }
        | Command::Nack { .. }
        | Command::Extend { .. }
        | Command::SettleMany(_)
        | Command::Fence
        | Command::Refused(_) => {}
    }
}

fn to_publish(to: &Destination) -> Need<'_> {
    (Action::Publish, Resource::Name(to.as_str()))
}

fn of_keys(request: &KvRequest) -> Option<Need<'_>> {
    let (action, resource) = match request {
        KvRequest::Set { key, .. }
        | KvRequest::Delete { key, .. }
        | KvRequest::Increment { key, .. } => (Action::KvWrite, Resource::Key(key.as_str())),
        KvRequest::Get { key } | KvRequest::Exists { key } => {
            (Action::KvRead, Resource::Key(key.as_str()))
        }
        KvRequest::Scan { keys, .. } | KvRequest::Watch { keys, .. } => {
            (Action::KvRead, to_read(keys))
        }
        // It is the session's own.
        KvRequest::Unwatch { .. } => return None,
    };
    Some((action, resource))
}

/// The keys that somebody wants to read.
pub(super) fn to_read(keys: &Keys) -> Resource<'_> {
    match keys {
        Keys::One(key) => Resource::Key(key.as_str()),
        Keys::Below(prefix) => Resource::KeysBelow(prefix),
    }
}

/// Limits are the broker's, whatever they match; pauses and weights are a queue's.
fn of_limits(request: &LimitRequest) -> Need<'_> {
    let action = match request {
        LimitRequest::List { .. } | LimitRequest::TopKeys { .. } | LimitRequest::Explain { .. } => {
            Action::Observe
        }
        LimitRequest::Put(_)
        | LimitRequest::Delete { .. }
        | LimitRequest::Pause { .. }
        | LimitRequest::Resume { .. }
        | LimitRequest::Weigh { .. } => Action::Admin,
    };
    (action, request.queue().map_or(Resource::Broker, |name| Resource::Name(name.as_str())))
}

fn to_look_after(request: &QueueRequest) -> Need<'_> {
    let action = match request {
        QueueRequest::Browse { .. } | QueueRequest::Peek { .. } => Action::Consume,
        QueueRequest::List { .. } | QueueRequest::Stats { .. } => Action::Observe,
        QueueRequest::Declare { .. }
        | QueueRequest::Delete { .. }
        | QueueRequest::Purge { .. }
        | QueueRequest::Remove { .. }
        | QueueRequest::Cancel { .. }
        | QueueRequest::Reschedule { .. }
        | QueueRequest::Redrive { .. } => Action::Admin,
    };
    // A list names them all.
    (action, request.queue().map_or(Resource::Broker, |name| Resource::Name(name.as_str())))
}
