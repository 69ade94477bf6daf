//! Consumers that take messages from a queue and acknowledge each.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::error::LoadError;
use super::tally::Tally;
use super::template::Message;

/// A consumer's connection.
pub trait Consumer: Send {
    /// Acknowledges what the last turn took and takes up to `count` more, all in one write; has
    /// `each` see every message. Gives how many there were: fewer than `count` only where no more
    /// were ready.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize>;

    /// Acknowledges what the last turn took and waits until the server has taken note.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    fn finish(&mut self) -> io::Result<()>;
}

/// What consumers took together.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Messages.
    pub messages: u64,
    /// From the first request to the last message.
    pub elapsed: Duration,
}

/// Consumers give up when nothing has come for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Empties a queue that holds messages 1 to `messages`, all consumers at once.
///
/// # Errors
/// A consumer failed, or a message was lost, doubled or changed.
pub fn drain(
    consumers: Vec<Box<dyn Consumer>>,
    message: Message,
    messages: u64,
    take: usize,
) -> Result<Taken, LoadError> {
    let left = Left { messages, taken: std::sync::atomic::AtomicU64::new(0) };
    let barrier = Barrier::new(consumers.len() + 1);
    let (started, seen) = thread::scope(|scope| {
        let threads: Vec<_> = consumers
            .into_iter()
            .map(|consumer| scope.spawn(|| one(consumer, message, take, &left, &barrier)))
            .collect();
        barrier.wait();
        let started = Instant::now();
        let joined = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a consumer panicked")))
        });
        joined.collect::<io::Result<Vec<_>>>().map(|seen| (started, seen))
    })?;
    let mut numbers: Vec<u64> = Vec::with_capacity(messages as usize);
    let mut last = started;
    for one in seen {
        // Between consumers there is no order, and what comes back comes later.
        if let Some(fault) = one.tally.shape_fault() {
            return Err(LoadError::Messages(fault));
        }
        numbers.extend(one.numbers);
        last = last.max(one.last);
    }
    numbers.sort_unstable();
    if !numbers.iter().copied().eq(1..=messages) {
        let there = numbers.len();
        numbers.dedup();
        let (doubled, lost) = (there - numbers.len(), messages.abs_diff(numbers.len() as u64));
        let fault = format!("of {messages}, {lost} lost, {doubled} doubled");
        return Err(LoadError::Messages(fault));
    }
    Ok(Taken { messages, elapsed: last - started })
}

struct Left {
    messages: u64,
    taken: std::sync::atomic::AtomicU64,
}

struct Seen {
    tally: Tally,
    numbers: Vec<u64>,
    last: Instant,
}

fn one(
    mut consumer: Box<dyn Consumer>,
    message: Message,
    take: usize,
    left: &Left,
    barrier: &Barrier,
) -> io::Result<Seen> {
    use std::sync::atomic::Ordering::Relaxed;
    let mut tally = Tally::of(message);
    let mut numbers = Vec::with_capacity(left.messages as usize);
    barrier.wait();
    let mut last = Instant::now();
    while left.taken.load(Relaxed) < left.messages {
        let taken = consumer.turn(take, &mut |bytes| numbers.push(tally.message(bytes)))?;
        if taken > 0 {
            last = Instant::now();
            left.taken.fetch_add(taken as u64, Relaxed);
        } else if last.elapsed() > PATIENCE {
            break;
        }
    }
    consumer.finish()?;
    Ok(Seen { tally, numbers, last })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MESSAGE: Message = Message { bytes: 8, content: false };

    /// Has its messages in memory and hands them out in order.
    struct Has(VecDeque<u64>);

    impl Consumer for Has {
        fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
            let count = count.min(self.0.len());
            self.0.drain(..count).for_each(|number| each(&number.to_le_bytes()));
            Ok(count)
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drained(queues: &[&[u64]]) -> Result<Taken, LoadError> {
        let consumers = queues
            .iter()
            .map(|queue| Box::new(Has(queue.iter().copied().collect())) as Box<dyn Consumer>);
        let messages = queues.iter().map(|queue| queue.len() as u64).sum();
        drain(consumers.collect(), MESSAGE, messages, 2)
    }

    #[test]
    fn consumers_may_share_a_queue_in_any_way() {
        assert_eq!(drained(&[&[1, 4, 5], &[2, 3]]).unwrap().messages, 5);
    }

    #[test]
    fn what_is_doubled_or_out_of_order_is_told() {
        let doubled = drained(&[&[1, 3], &[2, 3]]).unwrap_err().to_string();
        assert_eq!(doubled, "of 4, 1 lost, 1 doubled");
        assert!(drained(&[&[2, 1], &[3, 4]]).is_err());
    }
}
