//! H: a start after SIGKILL with messages that wait.

use std::thread;
use std::time::{Duration, Instant};

use super::{Run, queue};
use crate::compare::{Figure, Figures};
use crate::load::Tally;
use crate::targets::{Service, TargetError};

/// A target that gives nothing after so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked.
const STEP: Duration = Duration::from_micros(500);

pub(super) fn run(run: Run<'_>, service: &mut dyn Service) -> Result<Figures, TargetError> {
    queue::fill(service, run.message(), run.plan.scale.waiting)?;
    service.kill()?;
    let started = Instant::now();
    service.start_again()?;
    let mut tally = Tally::of(run.message());
    let mut first = 0;
    loop {
        let taken = service.consumer().and_then(|mut consumer| {
            Ok(consumer.turn(1, &mut |bytes| first = tally.message(bytes))?)
        });
        match taken {
            Ok(1..) => break,
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            _ if started.elapsed() > PATIENCE => return Err(TargetError::Lost),
            // It does not serve yet.
            _ => thread::sleep(STEP),
        }
    }
    let elapsed = started.elapsed();
    if first != 1 {
        return Err(std::io::Error::other(format!("message {first} came first")).into());
    }
    Ok(Figures::from([(Figure::Start, elapsed.as_secs_f64() * 1e3)]))
}
