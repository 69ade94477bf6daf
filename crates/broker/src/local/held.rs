//! How long the core was held: by the clock, and by the processor time of who held it.
//!
//! Where cores are short the clock says how long the holder waited for one as well, which is no
//! fault of what it did. Those who wait for the core wait by the clock.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A time by both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) clock: Duration,
    pub(crate) cpu: Duration,
}

impl Held {
    /// The longer of two, by each for itself.
    pub(crate) fn longest(self, other: Self) -> Self {
        Self { clock: self.clock.max(other.clock), cpu: self.cpu.max(other.cpu) }
    }
}

/// Measures a hold of this thread's.
pub(crate) struct Hold {
    began: Instant,
    cpu: Duration,
}

impl Hold {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), cpu: cpu_time() }
    }

    pub(crate) fn end(self) -> Held {
        Held { clock: self.began.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

/// Processor time of this thread so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_is_held_up_by_the_clock_and_who_works_by_both() {
        let hold = Hold::begin();
        let (tell, told) = mpsc::channel();
        let began = Instant::now();
        // Another thread works, and this one waits for it.
        let worker = thread::spawn(move || {
            let hold = Hold::begin();
            while began.elapsed() < Duration::from_millis(50) {}
            tell.send(()).unwrap();
            hold.end()
        });
        told.recv().unwrap();
        let waited = hold.end();
        let worked = worker.join().unwrap();
        assert!(waited.clock >= Duration::from_millis(50));
        assert!(waited.cpu < waited.clock / 2, "{waited:?}");
        assert!(worked.cpu > Duration::ZERO && worked.cpu <= worked.clock * 2, "{worked:?}");
        let longest = waited.longest(worked);
        assert_eq!(longest.cpu, worked.cpu.max(waited.cpu));
        assert_eq!(longest.clock, waited.clock.max(worked.clock));
    }
}
