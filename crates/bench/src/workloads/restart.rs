//! H: a start after SIGKILL with messages that wait.

use std::thread;
use std::time::{Duration, Instant};

use super::queue::{self, Fill};
use super::{Done, Job};
use crate::compare::{Figure, Figures};
use crate::load::Tally;
use crate::targets::{Service, TargetError};

/// A target that gives nothing after so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked.
const STEP: Duration = Duration::from_micros(500);

/// No end but the count.
const UNTIL_DONE: Duration = Duration::from_secs(3600);

pub(super) fn run(job: Job, service: &mut dyn Service, messages: u64) -> Result<Done, TargetError> {
    let fill = Fill { messages, within: UNTIL_DONE, in_flight: 256 };
    let sent = queue::fill(service, job.message, fill)?.sent;
    service.kill()?;
    let started = Instant::now();
    service.start_again()?;
    let mut tally = Tally::of(job.message);
    let mut first = 0;
    loop {
        let taken = service.consumer().and_then(|mut consumer| {
            Ok(consumer.turn(1, &mut |bytes| first = tally.message(bytes))?)
        });
        match taken {
            Ok(1..) => break,
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            _ if started.elapsed() > PATIENCE => {
                return Err(TargetError::Messages("what was confirmed is gone".into()));
            }
            // It does not serve yet.
            _ => thread::sleep(STEP),
        }
    }
    let elapsed = started.elapsed();
    if first != 1 {
        return Err(TargetError::Messages(format!("message {first} came first")));
    }
    let figures = Figures::from([(Figure::Start, elapsed.as_secs_f64() * 1e3)]);
    Ok(Done { figures, sent })
}
