//! I: messages are posted over HTTP, and all that was accepted is there.

use std::time::{Duration, Instant};

use super::{Done, Job, confirm};
use crate::load::{Consumer, Message, Tally};
use crate::targets::{Service, TargetError};

/// Messages that are taken at once afterwards.
const TAKE: usize = 100;
/// Nothing more comes when nothing has come for so long.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn run(
    job: Job,
    service: &mut dyn Service,
    connections: usize,
) -> Result<Done, TargetError> {
    let done = confirm::closed(job, service, connections, 1)?;
    match service.consumer() {
        // A null server keeps nothing.
        Err(TargetError::Unsupported) => {}
        consumer => count(consumer?.as_mut(), job.message, done.sent)?,
    }
    Ok(done)
}

/// Takes all there is, which has to be as much as was accepted. Each connection numbers its own
/// messages, so only they themselves and their count tell anything.
fn count(consumer: &mut dyn Consumer, message: Message, sent: u64) -> Result<(), TargetError> {
    let mut tally = Tally::of(message);
    let mut last = Instant::now();
    while last.elapsed() < PATIENCE {
        let mut see = |bytes: &[u8]| {
            tally.message(bytes);
        };
        if consumer.turn(TAKE, &mut see)? > 0 {
            last = Instant::now();
        }
    }
    consumer.finish()?;
    let there = tally.count();
    match tally.wrong_fault() {
        _ if there != sent => {
            Err(TargetError::Messages(format!("{sent} were accepted, {there} were there")))
        }
        Some(fault) => Err(TargetError::Messages(fault)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const MESSAGE: Message = Message { bytes: 8, content: false };

    /// Has so many messages, all of the same number.
    struct Has(usize);

    impl Consumer for Has {
        fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
            let count = count.min(self.0);
            self.0 -= count;
            (0..count).for_each(|_| each(&[1; 8]));
            Ok(count)
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_accepted_has_to_be_there_once() {
        assert!(count(&mut Has(250), MESSAGE, 250).is_ok());
        for there in [249, 251] {
            let fault = count(&mut Has(there), MESSAGE, 250).unwrap_err().to_string();
            assert_eq!(fault, format!("250 were accepted, {there} were there"));
        }
    }
}
