//! `sluice fetch`: a list of URLs, in one way or in all of them.

mod progress;

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sluice_fetch::urls::{self, Listed};
use sluice_fetch::{
    FetchError, Mode, Options, Plan, Route, SharedError, SharedQueue, Stop, Summary, fetch,
    fetch_shared, report, stop,
};
use sluice_flow::Backoff;
use sluice_model::QueueName;

use crate::args::{FetchArgs, FetchMode};
use crate::commands::client::{self, Interrupts};
use crate::commands::print;
use crate::failure::Failure;
use progress::Bar;

pub(crate) fn run(args: &FetchArgs) -> Result<(), Failure> {
    let options = Arc::new(options(args));
    options.validate().map_err(Failure::usage)?;
    let shared = args.queue.clone().map(|name| shared(args, name)).transpose()?;
    let list = args.urls.as_deref().map_or(Ok(Vec::new()), read)?;
    let plot = plot_path(args);
    // Made beforehand: what can't be written should not be fetched.
    let out = args.out.as_deref().map(create).transpose()?.map(Arc::new);
    if let Some(path) = &plot {
        create(path)?;
    }
    let bars = Bar::is_wanted(args);
    let job = Job { options, list, out, shared, modes: modes(args.mode), bars };
    let runs = client::block_on(run_until_asked(job))?;
    if let Some(path) = &plot {
        let svg = report::svg(&runs).map_err(Failure::other)?;
        std::fs::write(path, svg).map_err(|error| unwritable(path, &error))?;
    }
    tell(args, &runs, plot.as_deref())?;
    let failed: u64 = runs.iter().flat_map(|run| run.errors.values()).sum();
    if runs.len() < modes(args.mode).len() || runs.iter().any(|run| run.left > 0) {
        return Err(Failure::Other("interrupted".to_owned()));
    }
    match args.fail && failed > 0 {
        true => Err(Failure::Other(format!("{failed} URLs ended with an error"))),
        false => Ok(()),
    }
}

/// All that a thread needs to run it.
struct Job {
    options: Arc<Options>,
    list: Vec<Listed>,
    out: Option<Arc<File>>,
    shared: Option<SharedQueue>,
    modes: Vec<Mode>,
    bars: bool,
}

/// Runs every mode; an interrupt ends the one that runs and leaves out the others.
async fn run_until_asked(job: Job) -> Result<Vec<Summary>, Failure> {
    let mut interrupts = Interrupts::new().map_err(Failure::other)?;
    let (stopper, stop) = stop();
    let mut work = tokio::task::spawn_blocking(move || run_all(&job, &stop));
    let worked = tokio::select! {
        worked = &mut work => worked,
        () = interrupts.next() => {
            stopper.stop();
            tokio::select! {
                worked = &mut work => worked,
                // Whoever asks twice does not want to wait.
                () = interrupts.next() => return Err(Failure::Other("interrupted".to_owned())),
            }
        }
    };
    worked.map_err(Failure::other)?.map_err(failed)
}

fn run_all(job: &Job, stop: &Stop) -> Result<Vec<Summary>, FetchError> {
    let mut runs = Vec::new();
    for mode in &job.modes {
        if stop.is_asked() {
            break;
        }
        // What comes from a queue others may have published.
        let urls = job.shared.is_none().then_some(job.list.len() as u64);
        let bar = Arc::new(Bar::new(*mode, urls, job.bars));
        let plan = Plan {
            mode: *mode,
            options: Arc::clone(&job.options),
            out: job.out.clone(),
            watch: Arc::clone(&bar) as _,
            stop: stop.clone(),
        };
        let fetched = match &job.shared {
            None => fetch(plan, &job.list),
            Some(shared) => fetch_shared(plan, shared, &job.list),
        };
        bar.clear();
        runs.push(fetched?);
    }
    Ok(runs)
}

/// The queue of a broker that is to be worked.
fn shared(args: &FetchArgs, name: QueueName) -> Result<SharedQueue, Failure> {
    if args.mode != FetchMode::Async {
        return Err(Failure::usage("--queue goes with --mode async alone"));
    }
    Ok(SharedQueue {
        server: args.server.server.clone(),
        client: client::options(&args.server)?,
        name,
        sets_limits: args.per_host.is_some() || args.rate.is_some(),
        stays: args.stay,
    })
}

fn failed(error: FetchError) -> Failure {
    match error {
        FetchError::Shared(SharedError::Broker(error)) => error.into(),
        error => Failure::other(error),
    }
}

fn options(args: &FetchArgs) -> Options {
    let default = Options::default();
    let max = args.backoff_max.max(args.backoff);
    Options {
        concurrency: args.concurrency,
        per_host: args.per_host.unwrap_or(default.per_host),
        rate: args.rate,
        retries: args.retries,
        backoff: Backoff { min: args.backoff, max, ..default.backoff },
        timeout: args.timeout,
        body_max: args.max_body,
        redirects_max: args.max_redirects,
        pauses_max: args.pauses_max,
        pause_max: args.pause_max,
        route: Route {
            ca: args.site_ca.clone(),
            insecure: args.insecure,
            proxy: args.proxy.clone(),
            direct: args.no_proxy,
            user_agent: args.user_agent.clone().unwrap_or(default.route.user_agent),
        },
    }
}

fn modes(mode: FetchMode) -> Vec<Mode> {
    match mode {
        FetchMode::Async => vec![Mode::Async],
        FetchMode::Threads => vec![Mode::Threads],
        FetchMode::Seq => vec![Mode::Seq],
        FetchMode::All => Mode::ALL.to_vec(),
    }
}

fn plot_path(args: &FetchArgs) -> Option<PathBuf> {
    let default = (args.mode == FetchMode::All).then(|| PathBuf::from("fetch.svg"));
    args.plot.clone().or(default)
}

fn read(path: &Path) -> Result<Vec<Listed>, Failure> {
    let list = match path.to_str() {
        Some("-") => urls::read(stdin().lock()),
        _ => {
            let file = File::open(path).map_err(|error| {
                Failure::Other(format!("can't read {}: {error}", path.display()))
            })?;
            urls::read(BufReader::new(file))
        }
    };
    list.map_err(|error| Failure::Other(format!("{}: {error}", path.display())))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("can't write {}: {error}", path.display()))
}

fn tell(args: &FetchArgs, runs: &[Summary], plot: Option<&Path>) -> Result<(), Failure> {
    if args.json {
        let version = env!("CARGO_PKG_VERSION");
        return print(&format!("{:#}\n", json!({ "version": version, "runs": runs })));
    }
    let mut text = report::text(runs);
    for (what, path) in [("results", args.out.as_deref()), ("plot", plot)] {
        if let Some(path) = path {
            text.push_str(&format!("{what} in {}\n", path.display()));
        }
    }
    print(&text)
}
