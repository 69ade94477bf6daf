//! Who consumes what in every schedule.

use sluice_model::Qos;

/// Publishers of a schedule.
pub(crate) const PUBLISHERS: usize = 3;
/// Durable subscriptions of a schedule.
pub(crate) const SUBSCRIPTIONS: usize = 5;

/// One consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) pattern: &'static str,
    pub(crate) qos: Qos,
    /// The shared subscription that it consumes; none for one of its own.
    pub(crate) name: Option<&'static str>,
    /// The number of its durable subscription; none for a consumer at most once.
    pub(crate) subscription: Option<usize>,
}

impl Role {
    const fn own(pattern: &'static str, subscription: usize) -> Self {
        Self { pattern, qos: Qos::AtLeastOnce, name: None, subscription: Some(subscription) }
    }

    const fn shares(pattern: &'static str, name: &'static str, subscription: usize) -> Self {
        Self { name: Some(name), ..Self::own(pattern, subscription) }
    }

    const fn at_most_once(pattern: &'static str) -> Self {
        Self { pattern, qos: Qos::AtMostOnce, name: None, subscription: None }
    }

    /// Whether it gets what is published to one of the workload's topics.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.pattern == topic || self.pattern.ends_with(['*', '>'])
    }
}

/// The consumers: what is published to `a.x` reaches five of their subscriptions.
pub(crate) const ROLES: [Role; 7] = [
    Role::own("a.x", 0),
    Role::own("a.y", 1),
    Role::own("a.*", 2),
    Role::own("a.>", 3),
    Role::shares("a.*", "shared", 4),
    Role::shares("a.*", "shared", 4),
    Role::at_most_once("a.>"),
];
