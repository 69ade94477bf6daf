//! Runs a list in one of the modes.

use std::thread;

use sluice_flow::Random;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use std::sync::Arc;

use crate::board::{Board, HostLimits};
use crate::desk::Desk;
use crate::job::Job;
use crate::mode::Mode;
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
    let options = &run.plan.options;
    let workers = match run.plan.mode {
        Mode::Seq => 1,
        // More than there are jobs would only wait.
        Mode::Threads | Mode::Async => urls.len().min(options.concurrency as usize),
    };
    match run.plan.mode {
        Mode::Seq | Mode::Threads => {
            on_threads(&run, &board(&run, urls), workers)?;
        }
        Mode::Async => {
            let runtime = runtime(Builder::new_multi_thread())?;
            runtime.block_on(on_tasks(&run, Arc::new(board(&run, urls)), workers))?;
        }
    }
    let summary = run.summary(urls.len() as u64);
    Ok(summary)
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

fn runtime(mut builder: Builder) -> Result<Runtime, FetchError> {
    builder.enable_all().thread_name("fetch").build().map_err(FetchError::Start)
}

/// Workers on threads of their own, with a client each.
fn on_threads<D: Desk>(run: &Run, desk: &D, workers: usize) -> Result<(), FetchError> {
    let work = || {
        let client = client(&run.plan.options)?;
        runtime(Builder::new_current_thread())?.block_on(run.work(desk, &client))
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| thread::Builder::new().name("fetch".to_owned()).spawn_scoped(scope, work))
            .collect();
        let mut outcome = Ok(());
        for worker in workers {
            let worked = match worker {
                Ok(worker) => {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                Err(error) => Err(FetchError::Start(error)),
            };
            outcome = outcome.and(worked);
        }
        outcome
    })
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
