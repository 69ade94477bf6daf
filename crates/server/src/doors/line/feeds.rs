//! What is pushed to a connection: its subscriptions and its watches.
//!
//! ```text
//! opening --reply--> announced --its answer left--> hungry <--it ends--- fed
//!    |                                                '---- receive ------^
//!    '-- ending: the reply to UNSUBSCRIBE or UNWATCH, and to the receive, are still to come --> gone
//! ```
//!
//! One receive of each stays in the broker, which ends it when it has brought its part or finds no
//! room: it is asked anew as far as the client takes what was pushed before. What comes faster waits
//! there, bounded, and what is lost there is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluice_model::{Command, Keys, KvRequest, Receive, Source, TopicPattern};

/// Most subscriptions and watches of one connection.
pub(super) const FEEDS_MAX: usize = 1_024;
/// Messages or changes that one receive asks for, and stays for.
const FEED_MAX: u32 = 256;
/// How long a receive waits for what is to be pushed, before it is asked again.
const FEED_WAIT: Duration = Duration::from_secs(3_600);

/// What is listened to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Topics(TopicPattern),
    Keys(Keys),
}

impl Wish {
    /// As clients name it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Topics(pattern) => pattern.as_str(),
            Self::Keys(Keys::One(key)) => key.as_str(),
            Self::Keys(Keys::Below(prefix)) => prefix,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// The broker has not said yet that it is there.
    Opening,
    /// The answer that says so has not left yet.
    Announced,
    Hungry,
    /// A receive waits, and goes on to when it has brought something.
    Fed,
}

/// A subscription or a watch.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) wish: Wish,
    /// In which form it is pushed.
    pub(super) json: bool,
    pub(super) source: Option<Source>,
    pub(super) appetite: Appetite,
    /// It ends: nothing more is pushed.
    pub(super) ending: bool,
    /// The line that asked for its end before there was anything to end.
    pub(super) end_asked_by: Option<u64>,
    /// The broker has said that it has ended.
    pub(super) ended: bool,
}

/// All of a connection.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    /// In the order of their numbers. Mostly it is one, which is found whenever something is pushed.
    feeds: Vec<(u64, Feed)>,
    by_wish: BTreeMap<Wish, u64>,
    last: u64,
    /// In the order in which they are asked for, so that none waits for others' plenty; some of them may be
    /// gone or end.
    hungry: VecDeque<u64>,
}

impl Feeds {
    pub(super) fn len(&self) -> usize {
        self.feeds.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_wish.is_empty()
    }

    /// The one for this wish, unless it ends.
    pub(super) fn of(&self, wish: &Wish) -> Option<u64> {
        self.by_wish.get(wish).copied()
    }

    /// Notes one that the broker is asked for, and says which number it has.
    pub(super) fn open(&mut self, wish: Wish, json: bool) -> u64 {
        self.last += 1;
        self.by_wish.insert(wish.clone(), self.last);
        let feed = Feed {
            wish,
            json,
            source: None,
            appetite: Appetite::Opening,
            ending: false,
            end_asked_by: None,
            ended: false,
        };
        self.feeds.push((self.last, feed));
        self.last
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.feeds.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Feed> {
        let place = self.place(number)?;
        self.feeds.get_mut(place).map(|(_, feed)| feed)
    }

    /// The answer that it is there has left.
    pub(super) fn begin(&mut self, number: u64) {
        self.become_hungry(number, Appetite::Announced);
    }

    /// A receive has ended.
    pub(super) fn answered(&mut self, number: u64) {
        self.become_hungry(number, Appetite::Fed);
    }

    fn become_hungry(&mut self, number: u64, from: Appetite) {
        if let Some(feed) = self.get_mut(number)
            && feed.appetite == from
        {
            feed.appetite = Appetite::Hungry;
            self.hungry.push_back(number);
        }
        self.forget_if_over(number);
    }

    /// Nothing more is pushed from it; what ends it, if there is something to end.
    pub(super) fn end(&mut self, number: u64) -> Option<Command> {
        let place = self.place(number)?;
        let (_, feed) = self.feeds.get_mut(place)?;
        feed.ending = true;
        self.by_wish.remove(&feed.wish);
        match feed.source.as_ref()? {
            Source::Subscription(subscription) => {
                Some(Command::Unsubscribe { subscription: *subscription })
            }
            Source::Watch(watch) => Some(Command::Kv(KvRequest::Unwatch { watch: *watch })),
            Source::Queue(_) => None,
        }
    }

    /// The broker says that it has ended, or that there never was one.
    pub(super) fn ended(&mut self, number: u64) {
        let place = self.place(number);
        if let Some((_, feed)) = place.and_then(|place| self.feeds.get_mut(place)) {
            feed.ended = true;
            feed.ending = true;
            // One that ends otherwise than by a wish: it may be wished for again.
            if self.by_wish.get(&feed.wish) == Some(&number) {
                self.by_wish.remove(&feed.wish);
            }
        }
        self.forget_if_over(number);
    }

    fn forget_if_over(&mut self, number: u64) {
        let Some(place) = self.place(number) else { return };
        let over = |feed: &Feed| feed.ended && feed.appetite != Appetite::Fed;
        if self.feeds.get(place).is_some_and(|(_, feed)| over(feed)) {
            self.feeds.remove(place);
        }
    }

    /// What to ask the broker for one that is hungry.
    pub(super) fn feed_next(&mut self) -> Option<(u64, Receive)> {
        loop {
            let number = self.hungry.pop_front()?;
            let Some(feed) = self.get_mut(number).filter(|feed| !feed.ending) else {
                continue;
            };
            let Some(from) = feed.source.clone() else { continue };
            feed.appetite = Appetite::Fed;
            let wait = Some(FEED_WAIT);
            let receive =
                Receive { max: FEED_MAX, wait, gaps: true, stays: true, ..Receive::one(from) };
            return Some((number, receive));
        }
    }

    /// The numbers of those whose receive waits.
    pub(super) fn fed(&self) -> impl Iterator<Item = u64> + '_ {
        let fed = self.feeds.iter().filter(|(_, feed)| feed.appetite == Appetite::Fed);
        fed.map(|(number, _)| *number)
    }
}
