//! Clients that nothing is measured of.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that serve them.
const THREADS: usize = 8;
/// How exact their timers are, which count from when a thread's runtime began.
const TICK: Duration = Duration::from_millis(1);

/// Threads that run when no other wants to: in the place of their clients there would be thousands
/// of other machines, which take no processor from who is measured here, and whose clocks do not
/// tick together.
pub(super) struct Background(Vec<Runtime>);

impl Background {
    /// Starts them.
    pub(super) fn start() -> io::Result<Self> {
        let mut runtimes = Vec::with_capacity(THREADS);
        for _ in 0..THREADS {
            runtimes.push(idle()?);
            sleep(TICK / THREADS as u32);
        }
        Ok(Self(runtimes))
    }

    /// Where the client with that number is served.
    pub(super) fn place(&self, number: usize) -> &Handle {
        self.0[number % THREADS].handle()
    }

    /// Ends them, and what is left of their clients.
    pub(super) fn stop(self) {
        self.0.into_iter().for_each(Runtime::shutdown_background);
    }
}

fn idle() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder.on_thread_start(|| {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        // A thread that may not runs as it is.
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    });
    builder.build()
}
