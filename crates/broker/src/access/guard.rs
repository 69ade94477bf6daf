//! One session's guard: what its principal may do, as of the directory in force.
//!
//! ```text
//! welcome --principal gone, or a subscription outside its grants--> revoked, for good
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    Action, Answer, Command, Principal, Reply, Request, Resource, Topic, TopicPattern,
};

use super::needs::needed;
use super::{Access, Standing, authorize};

/// One session's guard.
pub(crate) struct Guard {
    access: Arc<Access>,
    principal: Principal,
    /// Which directory `standing` is from.
    version: u64,
    standing: Standing,
    revoked: bool,
    /// The topic that was allowed last: publishers mostly stay with one.
    last_topic: Option<Topic>,
    /// What it listens to, or has asked to.
    patterns: BTreeSet<TopicPattern>,
    /// Those of them that the backend has not answered yet, by their tags.
    asked: VecDeque<(u64, TopicPattern)>,
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
            last_topic: None,
            patterns: BTreeSet::new(),
            asked: VecDeque::new(),
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
        self.last_topic = None;
        let may_hear = |pattern| {
            authorize(&self.standing, Action::Subscribe, Resource::Topics(pattern)).is_ok()
        };
        let asked = self.asked.iter().map(|(_, pattern)| pattern);
        let hears_all = self.patterns.iter().chain(asked).all(may_hear);
        self.revoked |= self.standing == Standing::Unknown || !hears_all;
    }

    /// Turns the requests that are not allowed into refusals, each in its place.
    pub(crate) fn check(&mut self, requests: &mut VecDeque<Request>) {
        // Nobody is asked; if that changes, every anonymous session is revoked.
        if self.standing == Standing::Unlimited && self.principal == Principal::Anonymous {
            return;
        }
        for request in requests {
            self.check_one(request);
        }
    }

    fn check_one(&mut self, request: &mut Request) {
        if let Command::Publish(publish) = &request.command
            && (self.standing == Standing::Unlimited
                || self.last_topic.as_ref() == Some(&publish.topic))
        {
            return;
        }
        let Some((action, resource)) = needed(&request.command) else { return };
        if let Err(refusal) = authorize(&self.standing, action, resource) {
            self.access.count_forbidden();
            request.command = Command::Refused(Box::new(refusal));
            return;
        }
        match &request.command {
            Command::Publish(publish) => self.last_topic = Some(publish.topic.clone()),
            // One that found no room is checked again at its next try.
            Command::Subscribe(subscribe)
                if !self.asked.iter().any(|(tag, _)| *tag == request.tag) =>
            {
                self.asked.push_back((request.tag, subscribe.pattern.clone()));
            }
            _ => {}
        }
    }

    /// Learns from the replies which subscriptions there are.
    pub(crate) fn learn(&mut self, replies: &[Reply]) {
        if self.asked.is_empty() {
            return;
        }
        for reply in replies {
            let Some(at) = self.asked.iter().position(|(tag, _)| *tag == reply.tag) else {
                continue;
            };
            if let Some((_, pattern)) = self.asked.remove(at)
                && matches!(reply.answer, Answer::Subscribed { .. })
            {
                self.patterns.insert(pattern);
            }
        }
    }
}
