//! One session's guard: what its principal may do, as of the directory in force.
//!
//! ```text
//! welcome --principal gone, or a subscription outside its grants--> revoked, for good
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    Action, Answer, Command, Destination, Keys, KvAnswer, KvRequest, LimitRequest, Principal,
    Publish, QueueName, Receive, Reply, Request, Resource, Source, TopicPattern, WatchId,
};

use super::needs::{needed, to_read};
use super::{Access, Standing, authorize};

/// One session's guard.
pub(crate) struct Guard {
    access: Arc<Access>,
    principal: Principal,
    /// Which directory `standing` is from.
    version: u64,
    standing: Standing,
    revoked: bool,
    /// Where a publish was allowed to last: publishers mostly stay with one.
    last_destination: Option<Destination>,
    /// What it listens to.
    patterns: BTreeSet<TopicPattern>,
    /// What it watches.
    watches: BTreeMap<WatchId, Keys>,
    /// By its tag.
    asked: BTreeMap<u64, Asked>,
}

impl Guard {
    pub(crate) fn new(access: Arc<Access>, principal: Principal) -> Self {
        // The version first: a replacement in between is noticed at the first use.
        let version = access.version();
        let standing = access.standing(&principal);
        let revoked = standing == Standing::Unknown;
        Self {
            access,
            principal,
            version,
            standing,
            revoked,
            last_destination: None,
            patterns: BTreeSet::new(),
            watches: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Whether the session is over because its principal is gone, or may no longer hear what it
    /// listens to.
    pub(crate) fn is_revoked(&mut self) -> bool {
        if self.version != self.access.version() {
            self.renew();
        }
        self.revoked
    }

    fn renew(&mut self) {
        self.version = self.access.version();
        self.standing = self.access.standing(&self.principal);
        self.last_destination = None;
        let may =
            |action, resource: Resource<'_>| authorize(&self.standing, action, resource).is_ok();
        let may_hear = |pattern: &TopicPattern| may(Action::Subscribe, Resource::Topics(pattern));
        let may_watch = |keys: &Keys| may(Action::KvRead, to_read(keys));
        let may_get = |asked: &Asked| match asked {
            Asked::Topics(pattern) => may_hear(pattern),
            Asked::Keys(keys) => may_watch(keys),
            Asked::EndOf(_) => true,
            Asked::Queue(queue) => may(Action::Consume, Resource::Name(queue.as_str())),
        };
        let hears_all = self.patterns.iter().all(may_hear)
            && self.watches.values().all(may_watch)
            && self.asked.values().all(may_get);
        self.revoked |= self.standing == Standing::Unknown || !hears_all;
    }

    /// Turns the requests that are not allowed into refusals, each in its place.
    pub(crate) fn check(&mut self, requests: &mut VecDeque<Request>) {
        // Nobody is asked; if that changes, every anonymous session is revoked.
        if self.standing == Standing::Unlimited && self.principal == Principal::Anonymous {
            return requests.iter_mut().for_each(|request| self.leave_owned(request));
        }
        for request in requests {
            self.check_one(request);
        }
    }

    /// Refuses what would change a limit that is the configuration's.
    fn leave_owned(&self, request: &mut Request) {
        let Command::Limit(asked) = &request.command else { return };
        let name = match &**asked {
            LimitRequest::Put(limit) => limit.name(),
            LimitRequest::Delete { name, .. } => name,
            _ => return,
        };
        if let Some(refusal) = self.access.owned(name) {
            request.command = Command::Refused(Box::new(refusal));
        }
    }

    fn check_one(&mut self, request: &mut Request) {
        if self.standing != Standing::Unlimited && !self.is_as_before(&request.command) {
            let mut refused = None;
            needed(&request.command, |(action, resource)| {
                refused = refused.take().or(authorize(&self.standing, action, resource).err());
            });
            if let Some(refusal) = refused {
                self.access.count_forbidden();
                request.command = Command::Refused(Box::new(refusal));
                return;
            }
        }
        match &request.command {
            // Cloned only where it is another one.
            Command::Publish(Publish { to, .. }) if self.is_another(to) => {
                self.last_destination = Some(to.clone());
            }
            Command::PublishBlock(block) if self.is_another(&block.to) => {
                self.last_destination = Some(block.to.clone());
            }
            // One that found no room is checked again at its next try.
            Command::Subscribe(subscribe) => {
                self.asked.entry(request.tag).or_insert(Asked::Topics(subscribe.pattern.clone()));
            }
            Command::Receive(Receive { from: Source::Queue(queue), wait: Some(_), .. }) => {
                self.asked.entry(request.tag).or_insert(Asked::Queue(queue.clone()));
            }
            Command::Kv(kv) => {
                let asked = match kv {
                    KvRequest::Watch { keys, .. } => Asked::Keys(keys.clone()),
                    KvRequest::Unwatch { watch } => Asked::EndOf(*watch),
                    _ => return,
                };
                self.asked.entry(request.tag).or_insert(asked);
            }
            Command::Limit(_) => self.leave_owned(request),
            _ => {}
        }
    }

    /// Whether it publishes to where it was allowed to last.
    fn is_as_before(&self, command: &Command) -> bool {
        let to = match command {
            Command::Publish(publish) => &publish.to,
            Command::PublishBlock(block) => &block.to,
            _ => return false,
        };
        self.last_destination.as_ref() == Some(to)
    }

    /// Whether publishing there has to be looked up the next time, too, unless it is remembered.
    fn is_another(&self, to: &Destination) -> bool {
        self.standing != Standing::Unlimited && self.last_destination.as_ref() != Some(to)
    }

    /// Learns from the replies which subscriptions and watches there are.
    pub(crate) fn learn(&mut self, replies: &[Reply]) {
        if self.asked.is_empty() {
            return;
        }
        for reply in replies {
            if reply.answer.goes_on() {
                continue;
            }
            match (self.asked.remove(&reply.tag), &reply.answer) {
                (Some(Asked::Topics(pattern)), Answer::Subscribed { .. }) => {
                    self.patterns.insert(pattern);
                }
                (Some(Asked::Keys(keys)), Answer::Kv(KvAnswer::Watching { watch, .. })) => {
                    self.watches.insert(*watch, keys);
                }
                (Some(Asked::EndOf(watch)), Answer::Kv(_)) => {
                    self.watches.remove(&watch);
                }
                _ => {}
            }
        }
    }
}

/// What the backend has not answered yet, and needs the grant still when it does.
enum Asked {
    /// A subscription.
    Topics(TopicPattern),
    /// A receive that waits.
    Queue(QueueName),
    /// A watch.
    Keys(Keys),
    /// That a watch ends.
    EndOf(WatchId),
}
