//! Which subscriptions a topic reaches: a trie over tokens, walked without recursion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_model::{QueueNo, SubscriptionId, Topic, TopicPattern, WatchId};

use crate::random::SeededMap;

/// Topics whose route is remembered; past it all routes are found anew.
const ROUTES_MAX: usize = 16_384;

/// Who gets what is published to one topic, each once and in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) queues: Vec<QueueNo>,
    pub(crate) ephemerals: Vec<SubscriptionId>,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, u32>,
    queues: BTreeSet<QueueNo>,
    ephemerals: BTreeSet<SubscriptionId>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && !self.is_heard()
    }

    /// Whether somebody listens here.
    fn is_heard(&self) -> bool {
        !self.queues.is_empty() || !self.ephemerals.is_empty()
    }
}

/// One who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listener {
    Queue(QueueNo),
    Ephemeral(SubscriptionId),
    /// It listens to keys, and to no topic.
    Watch(WatchId),
}

/// All subscriptions by pattern.
#[derive(Debug)]
pub(crate) struct TopicIndex {
    nodes: slab::Slab<Node>,
    root: u32,
    routes: SeededMap<Topic, Arc<Route>>,
    /// Nodes at which somebody listens.
    patterns: usize,
}

impl TopicIndex {
    pub(crate) fn new(routes: SeededMap<Topic, Arc<Route>>) -> Self {
        let mut nodes = slab::Slab::new();
        let root = nodes.insert(Node::default()) as u32;
        Self { nodes, root, routes, patterns: 0 }
    }

    /// Patterns that somebody listens to.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns
    }

    /// Lets `listener` hear what matches `pattern`.
    pub(crate) fn insert(&mut self, pattern: &TopicPattern, listener: Listener) {
        self.routes.clear();
        let mut at = self.root;
        for token in pattern.as_str().split('.') {
            at = match self.nodes[at as usize].children.get(token) {
                Some(child) => *child,
                None => {
                    let child = self.nodes.insert(Node::default()) as u32;
                    self.nodes[at as usize].children.insert(token.into(), child);
                    child
                }
            };
        }
        let node = &mut self.nodes[at as usize];
        self.patterns += usize::from(!node.is_heard());
        match listener {
            Listener::Queue(queue) => node.queues.insert(queue),
            Listener::Ephemeral(id) => node.ephemerals.insert(id),
            Listener::Watch(_) => false,
        };
    }

    /// Ends what [`TopicIndex::insert`] began, and frees the nodes that nobody needs.
    pub(crate) fn remove(&mut self, pattern: &TopicPattern, listener: Listener) {
        self.routes.clear();
        let mut path = vec![];
        let mut at = self.root;
        for token in pattern.as_str().split('.') {
            let Some(child) = self.nodes[at as usize].children.get(token) else { return };
            path.push((at, token));
            at = *child;
        }
        let node = &mut self.nodes[at as usize];
        let was_there = match listener {
            Listener::Queue(queue) => node.queues.remove(&queue),
            Listener::Ephemeral(id) => node.ephemerals.remove(&id),
            Listener::Watch(_) => false,
        };
        self.patterns -= usize::from(was_there && !node.is_heard());
        while let Some((parent, token)) = path.pop() {
            if !self.nodes[at as usize].is_empty() {
                break;
            }
            self.nodes.remove(at as usize);
            self.nodes[parent as usize].children.remove(token);
            at = parent;
        }
    }

    /// Who gets what is published to `topic`.
    pub(crate) fn route(&mut self, topic: &Topic) -> Arc<Route> {
        if let Some(route) = self.routes.get(topic) {
            return Arc::clone(route);
        }
        let route = Arc::new(self.find(topic.as_str()));
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(topic.clone(), Arc::clone(&route));
        route
    }

    fn find(&self, topic: &str) -> Route {
        let mut queues = BTreeSet::new();
        let mut ephemerals = BTreeSet::new();
        let mut here = vec![self.root];
        let mut collect = |node: &Node| {
            queues.extend(&node.queues);
            ephemerals.extend(&node.ephemerals);
        };
        for (depth, token) in topic.split('.').enumerate() {
            let wild = depth > 0 || !token.starts_with('$');
            let mut next = Vec::new();
            for at in here {
                let children = &self.nodes[at as usize].children;
                next.extend(children.get(token));
                if wild {
                    next.extend(children.get("*"));
                    if let Some(tail) = children.get(">") {
                        collect(&self.nodes[*tail as usize]);
                    }
                }
            }
            here = next;
        }
        for at in here {
            collect(&self.nodes[at as usize]);
        }
        Route { queues: queues.into_iter().collect(), ephemerals: ephemerals.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    fn index() -> TopicIndex {
        TopicIndex::new(Random::new(7).map())
    }

    fn queues(index: &mut TopicIndex, topic: &str) -> Vec<u32> {
        let topic = Topic::new(topic).unwrap();
        index.route(&topic).queues.iter().map(|queue| queue.0).collect()
    }

    #[test]
    fn removing_a_subscription_frees_its_nodes_and_leaves_the_others() {
        let mut index = index();
        let pattern = |text| TopicPattern::new(text).unwrap();
        index.insert(&pattern("a.b.c"), Listener::Queue(QueueNo(1)));
        index.insert(&pattern("a.b"), Listener::Queue(QueueNo(2)));
        index.insert(&pattern("a.>"), Listener::Queue(QueueNo(3)));
        assert_eq!((queues(&mut index, "a.b.c"), index.patterns()), (vec![1, 3], 3));
        index.remove(&pattern("a.b.c"), Listener::Queue(QueueNo(1)));
        assert_eq!(queues(&mut index, "a.b.c"), [3]);
        assert_eq!(queues(&mut index, "a.b"), [2, 3]);
        index.remove(&pattern("a.b"), Listener::Queue(QueueNo(2)));
        index.remove(&pattern("a.>"), Listener::Queue(QueueNo(3)));
        assert_eq!((index.nodes.len(), index.patterns()), (1, 0));
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_comparing_token_after_token(
            patterns in proptest::collection::vec("([ab*]\\.){0,3}([ab*>])", 1..12),
            topics in proptest::collection::vec("([ab]\\.){0,4}[ab]", 1..12),
        ) {
            let mut index = index();
            let patterns: Vec<_> =
                patterns.iter().map(|text| TopicPattern::new(text).unwrap()).collect();
            for (no, pattern) in (0..).zip(&patterns) {
                index.insert(pattern, Listener::Queue(QueueNo(no)));
            }
            for topic in &topics {
                let expected: Vec<u32> = (0..)
                    .zip(&patterns)
                    .filter(|(_, pattern)| pattern.matches(topic))
                    .map(|(no, _)| no)
                    .collect();
                prop_assert_eq!(queues(&mut index, topic), expected);
            }
        }
    }
}
