//! Runs a list in one of the modes.

use std::sync::Arc;
use std::thread;

use sluice_broker::local::Entropy;
use sluice_flow::Random;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::board::{Board, HostLimits};
use crate::desk::{Desk, DeskError};
use crate::job::Job;
use crate::mode::Mode;
use crate::options::THREADS_MAX;
use crate::queue::{Embedded, Home, Queue, QueueDesk, Terms};
use crate::request::client;
use crate::tally::Summary;
use crate::urls::Listed;
use crate::work::{FetchError, Plan, Run};

/// Fetches a list, in the calling thread and others; comes back when every URL has its result, or
/// the run was stopped.
///
/// # Errors
/// No requests can be made, results can't be written, or what hands out URLs has failed.
pub fn fetch(plan: Plan, urls: &[Listed]) -> Result<Summary, FetchError> {
    let run = Arc::new(Run::new(plan));
    let workers = workers(run.plan.mode, run.plan.options.concurrency, urls.len());
    match run.plan.mode {
        Mode::Seq | Mode::Threads => {
            on_threads(&run, &board(&run, urls), workers)?;
        }
        Mode::Async => {
            let (entropy, seed) = (Entropy { log_id: random()?, seed: random()? }, random()?);
            // Made before the runtime, it ends behind the tasks that ask it.
            let home = Home::start(&run.plan.options, entropy)?;
            multi_thread()?.block_on(async {
                let queue = Embedded::open(&home, &run.plan.options).await?;
                let backoff = run.plan.options.backoff;
                let desk = QueueDesk::new(queue, Terms { backoff, seed, stays: false, run: None });
                on_queue(&run, Arc::new(desk), urls, workers).await
            })?;
        }
    }
    Ok(run.summary(urls.len() as u64))
}

/// How many work at once: more than there are URLs would only wait.
fn workers(mode: Mode, concurrency: u32, urls: usize) -> usize {
    let most = match mode {
        Mode::Seq => 1,
        Mode::Threads => concurrency.min(THREADS_MAX),
        Mode::Async => concurrency,
    };
    urls.min(most as usize)
}

fn board(run: &Run, urls: &[Listed]) -> Board {
    let options = &run.plan.options;
    let limits = HostLimits {
        per_host: options.per_host,
        // Checked with all options.
        rate: options.token_limit().unwrap_or_default(),
        backoff: options.backoff,
    };
    let seed = getrandom::u64().unwrap_or_else(|_| Random::new(urls.len() as u64).number());
    Board::new(limits, seed, urls.iter().cloned().map(Job::new))
}

pub(crate) fn random() -> Result<u64, DeskError> {
    getrandom::u64().map_err(|error| DeskError(format!("no random bits: {error}")))
}

pub(crate) fn multi_thread() -> Result<Runtime, FetchError> {
    runtime(Builder::new_multi_thread())
}

fn runtime(mut builder: Builder) -> Result<Runtime, FetchError> {
    builder.enable_all().thread_name("fetch").build().map_err(FetchError::Start)
}

/// Workers on threads of their own, with a client each.
fn on_threads<D: Desk>(run: &Run, desk: &D, workers: usize) -> Result<(), FetchError> {
    let ready = || Ok((runtime(Builder::new_current_thread())?, client(&run.plan.options)?));
    let work = || {
        let (runtime, client) = run.heed(ready())?;
        runtime.block_on(run.work(desk, &client))
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| thread::Builder::new().name("fetch".to_owned()).spawn_scoped(scope, work))
            .map(|spawned| run.heed(spawned.map_err(FetchError::Start)))
            .collect();
        let mut outcome = Ok(());
        for worker in workers {
            let joined = worker.map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            outcome = outcome.and(joined.flatten());
        }
        outcome
    })
}

/// Workers as tasks, with what comes from a queue that is fed meanwhile.
pub(crate) async fn on_queue<Q: Queue>(
    run: &Arc<Run>,
    desk: Arc<QueueDesk<Q>>,
    urls: &[Listed],
    workers: usize,
) -> Result<(), FetchError> {
    let serve = async { run.heed(desk.serve().await.map_err(FetchError::from)) };
    let feed = async {
        tokio::select! {
            fed = desk.feed(urls) => run.heed(fed.map_err(FetchError::from)),
            () = run.over() => Ok(()),
        }
    };
    let work = async {
        let worked = run.heed(on_tasks(run, Arc::clone(&desk), workers).await);
        desk.close();
        worked
    };
    let (served, fed, worked) = tokio::join!(serve, feed, work);
    served.and(fed).and(worked)
}

/// Workers as tasks, with one client.
async fn on_tasks<D: Desk + 'static>(
    run: &Arc<Run>,
    desk: Arc<D>,
    workers: usize,
) -> Result<(), FetchError> {
    let client = client(&run.plan.options)?;
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (run, desk, client) = (Arc::clone(run), Arc::clone(&desk), client.clone());
        tasks.spawn(async move { run.work(&*desk, &client).await });
    }
    let mut outcome = Ok(());
    while let Some(worked) = tasks.join_next().await {
        let worked = match worked {
            Ok(worked) => worked,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        outcome = outcome.and(worked);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::options::{Options, Route};
    use crate::stop::stop;
    use crate::urls;

    #[test]
    fn nobody_goes_on_where_a_worker_could_not_start() {
        let route = Route { direct: true, ..Options::default().route };
        let options = Arc::new(Options { route, ..Options::default() });
        let (mode, watch, stop) = (Mode::Threads, Arc::new(()), stop().1);
        let run = Run::new(Plan { mode, options, out: None, watch, stop });
        let listed = urls::read(&b"http://127.0.0.1:1/"[..]).unwrap();
        let failed = run.heed::<()>(Err(FetchError::Start(io::ErrorKind::WouldBlock.into())));
        assert!(failed.is_err());
        on_threads(&run, &board(&run, &listed), 1).unwrap();
        assert_eq!(run.summary(1).left, 1);
    }

    #[test]
    fn threads_are_bounded_whatever_is_asked_for() {
        assert_eq!(workers(Mode::Threads, 9_000, 1 << 20), THREADS_MAX as usize);
        assert_eq!(workers(Mode::Async, 9_000, 1 << 20), 9_000);
        assert_eq!((workers(Mode::Seq, 50, 9), workers(Mode::Threads, 50, 9)), (1, 9));
    }
}
