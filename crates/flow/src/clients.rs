//! A bucket for each client, in memory that doesn't depend on how many there are.
//!
//! Up to `clients_max` clients have a bucket of their own. A bucket that is full again equals a
//! fresh one, so its place is given to the next client; the one that is full first gives way
//! first. While none of them is, all further clients share one bucket, which allows each of them
//! no more than its own would. Whoever gets a place later begins with what is left in the shared
//! one. So the table never lets a client by its limit, whoever else comes, and locks nobody out.
//!
//! ```text
//! heads: hash -> slot        slots: client, bucket, next of its hash, place in the order
//! order: slots as a binary heap, the bucket that is full first on top
//! ```

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use crate::leaky::{Departure, LeakyLimit, Waiting};
use crate::rate::{Rate, RateError};
use crate::token::{Bucket, Charge, Limited};

/// Most bytes that a client takes in a full table; the name of a principal, which is shared with
/// whoever handed it in, comes on top.
pub const CLIENT_BYTES: usize = 52;

const NONE: u32 = u32::MAX;

/// The address that a peer counts under: its own, or of IPv6 its network of 64 bits, which is
/// what one household or host is given.
pub fn peer_group(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

/// Whom a limit of clients counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(Kind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Address(IpAddr),
    Principal(Arc<str>),
}

impl Client {
    /// One without a key: its address, of IPv6 its /64.
    pub fn address(peer: IpAddr) -> Self {
        Self(Kind::Address(peer_group(peer)))
    }

    /// The holder of a key, wherever it comes from.
    pub fn principal(id: Arc<str>) -> Self {
        Self(Kind::Principal(id))
    }
}

#[derive(Debug)]
struct Slot {
    client: Client,
    bucket: Bucket,
    /// The next slot with the same head.
    next: u32,
    /// Where `order` has this slot.
    place: u32,
}

/// The clients of one limit.
#[derive(Debug)]
pub struct Clients {
    limit: LeakyLimit,
    /// Of the hash, so that nobody can choose clients that share a head.
    seed: (u64, u64),
    heads: Box<[u32]>,
    slots: Vec<Slot>,
    order: Vec<u32>,
    max: usize,
    /// The bucket of those who have no slot.
    shared: Bucket,
}

impl Clients {
    /// A table of at most `clients_max` clients, at least 1; `seed` should be random.
    pub fn new(limit: LeakyLimit, clients_max: u32, seed: (u64, u64)) -> Self {
        let max = clients_max.clamp(1, 1 << 30) as usize;
        let heads = vec![NONE; max.next_power_of_two()].into_boxed_slice();
        let (slots, order) = (Vec::with_capacity(max), Vec::with_capacity(max));
        Self { limit, seed, heads, slots, order, max, shared: Bucket::default() }
    }

    /// Charges `cost` to the client and says when it may go on; see [`LeakyLimit::depart`].
    ///
    /// # Errors
    /// It is over its limit; nothing was charged.
    pub fn depart(&mut self, client: &Client, cost: u32, now: u64) -> Result<Departure, Limited> {
        let slot = self.find(client).or_else(|| self.settle(client, now));
        let Some(slot) = slot else { return self.limit.depart(&mut self.shared, cost, now) };
        let departure = self.limit.depart(&mut self.slots[slot].bucket, cost, now);
        self.reorder(slot);
        departure
    }

    /// Gives back what was charged and not used; see [`LeakyLimit::refund`]. A client without a
    /// place gets nothing back.
    pub fn refund(&mut self, client: &Client, charge: Charge, now: u64) {
        if let Some(slot) = self.find(client) {
            self.limit.refund(&mut self.slots[slot].bucket, charge, now);
            self.reorder(slot);
        }
    }

    /// Changes the limit of all clients; see [`LeakyLimit::change`]. Takes a few nanoseconds a client.
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back. Nothing has changed then.
    pub fn change(
        &mut self,
        rate: Rate,
        burst: u32,
        waiting: Waiting,
        now: u64,
    ) -> Result<(), RateError> {
        let change = self.limit.change(rate, burst, waiting, now)?;
        // The order by fullness stays as it was.
        for slot in &mut self.slots {
            change.carry_behind_waiting(&mut slot.bucket);
        }
        change.carry_behind_waiting(&mut self.shared);
        Ok(())
    }

    /// The limit of all clients.
    pub fn limit(&self) -> &LeakyLimit {
        &self.limit
    }

    /// How many clients have a bucket of their own, also those whose is full again.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no client was seen yet.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes that the table takes, whoever comes.
    pub fn heap_bytes(&self) -> usize {
        let numbers = self.heads.len() + self.order.capacity();
        self.slots.capacity() * size_of::<Slot>() + numbers * size_of::<u32>()
    }

    fn head(&self, client: &Client) -> usize {
        let mut hasher = SipHasher24::new_with_keys(self.seed.0, self.seed.1);
        client.hash(&mut hasher);
        // Their number is a power of two.
        hasher.finish() as usize & (self.heads.len() - 1)
    }

    fn find(&self, client: &Client) -> Option<usize> {
        let mut at = self.heads[self.head(client)];
        while at != NONE {
            let slot = &self.slots[at as usize];
            if slot.client == *client {
                return Some(at as usize);
            }
            at = slot.next;
        }
        None
    }

    /// Gives the client a slot: a new one, or that of a client whose bucket is full again.
    fn settle(&mut self, client: &Client, now: u64) -> Option<usize> {
        let head = self.head(client);
        let slot = if self.slots.len() < self.max {
            // Below 2^30.
            let place = self.slots.len() as u32;
            self.slots.push(Slot {
                client: client.clone(),
                bucket: self.shared,
                next: NONE,
                place,
            });
            self.order.push(place);
            place as usize
        } else {
            let slot = self.order[0] as usize;
            if !self.limit.limit().is_idle(self.slots[slot].bucket, now) {
                return None;
            }
            self.unlink(slot);
            self.slots[slot].client = client.clone();
            self.slots[slot].bucket = self.shared;
            slot
        };
        self.slots[slot].next = self.heads[head];
        self.heads[head] = slot as u32;
        Some(slot)
    }

    fn unlink(&mut self, slot: usize) {
        let head = self.head(&self.slots[slot].client);
        let (wanted, next) = (slot as u32, self.slots[slot].next);
        if self.heads[head] == wanted {
            self.heads[head] = next;
            return;
        }
        let mut at = self.heads[head] as usize;
        while self.slots[at].next != wanted {
            at = self.slots[at].next as usize;
        }
        self.slots[at].next = next;
    }

    /// Moves a slot to where its bucket belongs.
    fn reorder(&mut self, slot: usize) {
        let mut place = self.slots[slot].place as usize;
        while place > 0 && self.bucket_at(place) < self.bucket_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let children = (2 * place + 1..2 * place + 3).filter(|child| *child < self.order.len());
            let Some(first) = children.min_by_key(|child| self.bucket_at(*child)) else { return };
            if self.bucket_at(place) <= self.bucket_at(first) {
                return;
            }
            self.swap(place, first);
            place = first;
        }
    }

    fn bucket_at(&self, place: usize) -> Bucket {
        self.slots[self.order[place] as usize].bucket
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.order.swap(one, other);
        for place in [one, other] {
            self.slots[self.order[place] as usize].place = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::token::TokenLimit;

    /// So many a second.
    fn limit(rate: u64, burst: u32) -> LeakyLimit {
        let limit = TokenLimit::new(Rate::per_second(rate).unwrap(), burst).unwrap();
        LeakyLimit::new(limit, Waiting::NONE)
    }

    fn client(number: u32) -> Client {
        Client::address(IpAddr::V4(Ipv4Addr::from(number)))
    }

    fn check_links(clients: &Clients) {
        for (at, slot) in clients.slots.iter().enumerate() {
            assert_eq!(clients.find(&slot.client), Some(at));
            assert_eq!(clients.order[slot.place as usize], at as u32);
            let parent = clients.bucket_at((slot.place as usize).saturating_sub(1) / 2);
            assert!(parent <= slot.bucket);
        }
        let linked = |head: &u32| {
            let next = |at: &u32| Some(clients.slots[*at as usize].next).filter(|at| *at != NONE);
            std::iter::successors(Some(*head).filter(|at| *at != NONE), next).count()
        };
        assert_eq!(clients.heads.iter().map(linked).sum::<usize>(), clients.slots.len());
    }

    #[test]
    fn networks_and_keys_are_clients() {
        let address = |text: &str| Client::address(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1:2:3"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(Client::principal("a".into()), Client::principal("b".into()));
    }

    #[test]
    fn the_memory_of_a_full_table_is_stated_and_stays() {
        let mut clients = Clients::new(limit(1, 1), 50_000, (1, 2));
        let bytes = clients.heap_bytes();
        assert!(bytes <= CLIENT_BYTES * 50_000, "{bytes}");
        for number in 0..200_000 {
            clients.depart(&client(number), 1, u64::from(number) * 10).ok();
        }
        assert_eq!((clients.heap_bytes(), clients.len()), (bytes, 50_000));
        check_links(&clients);
    }

    #[test]
    fn idle_clients_give_way_and_busy_ones_never() {
        let mut clients = Clients::new(limit(1, 2), 2, (1, 2));
        assert!(clients.depart(&client(1), 2, 0).is_ok());
        assert!(clients.depart(&client(2), 1, 0).is_ok());
        // No place: those who come share a bucket.
        assert!(clients.depart(&client(3), 1, 500_000).is_ok());
        assert!(clients.depart(&client(4), 1, 500_000).is_ok());
        assert_eq!(clients.depart(&client(5), 1, 500_000), Err(Limited { eligible_at: 1_500_000 }));
        // The second one is full again; whoever takes its place has what the shared bucket has.
        assert_eq!(
            clients.depart(&client(5), 1, 1_000_000),
            Err(Limited { eligible_at: 1_500_000 })
        );
        assert_eq!(clients.find(&client(2)), None);
        assert_eq!(
            clients.depart(&client(1), 2, 1_000_000),
            Err(Limited { eligible_at: 2_000_000 })
        );
        assert!(clients.find(&client(1)).is_some());
        check_links(&clients);
    }

    proptest! {
        #[test]
        fn a_table_allows_each_client_no_more_than_a_bucket_of_its_own_would(
            max in 1u32..6,
            steps in prop::collection::vec((0u32..10, 1u32..4, 0u64..1_500_000, 0u8..20), 1..200),
        ) {
            let mut clients = Clients::new(limit(3, 3), max, (7, 8));
            // Each client has a bucket of its own, for ever, which is charged with the same.
            let mut own: BTreeMap<u32, Bucket> = BTreeMap::new();
            let (mut plain, mut now) = (TokenLimit::new(Rate::per_second(3).unwrap(), 3).unwrap(), 0);
            for (number, cost, wait, step) in steps {
                now += if step % 2 == 0 { 0 } else { wait };
                if step == 19 {
                    let rate = Rate::per_second(u64::from(cost) * 3).unwrap();
                    clients.change(rate, cost, Waiting::NONE, now).unwrap();
                    let change = plain.change(rate, cost, now).unwrap();
                    for number in 0..10 {
                        change.carry_behind_waiting(own.entry(number).or_default());
                    }
                }
                if let Ok(departure) = clients.depart(&client(number), cost, now) {
                    prop_assert_eq!(departure.at, now);
                    let bucket = own.entry(number).or_default();
                    let charge = plain.take(bucket, cost, now);
                    prop_assert!(charge.is_ok());
                    if let (15..18, Ok(charge)) = (step, charge) {
                        clients.refund(&client(number), departure.charge, now);
                        plain.refund(bucket, charge, now);
                    }
                }
                check_links(&clients);
                prop_assert!(clients.len() <= max as usize);
            }
        }
    }
}
