//! A desk in front of a queue of this process.

use std::sync::Arc;
use std::time::Duration;

use sluice_broker::local::Entropy;
use sluice_flow::Backoff;

use sluice_model::{Message, Settlement};

use super::{Embedded, Home, Queue, QueueDesk, Taken, Terms, Ticket};
use crate::desk::{Desk, DeskError, Settled};
use crate::host::{Host, Target};
use crate::job::Job;
use crate::options::Options;
use crate::urls::{self, Listed};

const ENTROPY: Entropy = Entropy { log_id: 1, seed: 1 };
/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    let (min, max) = (Duration::from_millis(1), Duration::from_millis(1));
    let backoff = Backoff { min, max, ..Options::default().backoff };
    Options { per_host: 2, backoff, ..Options::default() }
}

fn list(text: &str) -> Vec<Listed> {
    urls::read(text.as_bytes()).unwrap()
}

/// Does something at a desk that serves this list, and comes back when that has ended.
fn at_desk<F: Future<Output = ()>>(text: &str, work: impl FnOnce(Arc<QueueDesk<Embedded>>) -> F) {
    let home = Home::start(&options(), ENTROPY).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let queue = Embedded::open(&home, &options()).await.unwrap();
        let terms = Terms { backoff: options().backoff, seed: 1, stays: false, run: None };
        let desk = Arc::new(QueueDesk::new(queue, terms));
        desk.feed(&list(text)).await.unwrap();
        let all = async { tokio::join!(desk.serve(), work(Arc::clone(&desk))).0.unwrap() };
        tokio::time::timeout(PATIENCE, all).await
    });
    done.unwrap();
}

async fn take(desk: &QueueDesk<Embedded>) -> (Job, Ticket<Embedded>) {
    desk.take().await.unwrap().unwrap()
}

async fn settle(desk: &QueueDesk<Embedded>, taken: (Job, Ticket<Embedded>), settled: Settled) {
    desk.settle(taken.1, taken.0, settled).await.unwrap();
}

/// Nothing can be had although a worker waits; what then comes it does not get.
async fn nothing_comes(desk: &QueueDesk<Embedded>) {
    let waited = tokio::time::timeout(Duration::from_millis(50), desk.take()).await;
    assert!(waited.is_err());
}

#[test]
fn hosts_take_turns_and_none_passes_its_cap() {
    at_desk("http://a/1\nhttp://a/2\nhttp://a/3\nhttp://b/1\n", |desk| async move {
        let mut taken = vec![take(&desk).await, take(&desk).await, take(&desk).await];
        let mut urls: Vec<&str> = taken.iter().map(|(job, _)| job.target.url.as_str()).collect();
        urls.sort_unstable();
        assert_eq!(urls, ["http://a/1", "http://a/2", "http://b/1"]);
        nothing_comes(&desk).await;
        for taken in taken.drain(..) {
            settle(&desk, taken, Settled::Done).await;
        }
        settle(&desk, take(&desk).await, Settled::Done).await;
        assert!(desk.take().await.unwrap().is_none());
    });
}

#[test]
fn what_nobody_settles_is_given_back_and_so_is_what_came_for_somebody_who_had_gone() {
    at_desk("http://a/1\nhttp://a/2\nhttp://a/3\n", |desk| async move {
        let first = take(&desk).await;
        drop(take(&desk).await);
        let again = take(&desk).await;
        assert_eq!(again.0.target.url.as_str(), "http://a/2");
        // The cap is reached: what comes at the end of the first one comes for nobody.
        nothing_comes(&desk).await;
        settle(&desk, first, Settled::Done).await;
        settle(&desk, again, Settled::Released).await;
        for _ in 0..2 {
            settle(&desk, take(&desk).await, Settled::Done).await;
        }
        assert!(desk.take().await.unwrap().is_none());
    });
}

#[test]
fn tries_are_counted_by_the_broker_and_a_redirect_goes_to_the_end_of_its_host() {
    at_desk("http://a/1\n", |desk| async move {
        settle(&desk, take(&desk).await, Settled::Failed("no".to_owned())).await;
        let pause = Some(Duration::from_millis(1));
        settle(&desk, take(&desk).await, Settled::Throttled(pause)).await;
        let taken = take(&desk).await;
        assert_eq!((taken.0.failures, taken.0.throttled, taken.0.requests()), (1, 1, 2));
        let to = taken.0.redirected(Target::read("http://b/").unwrap());
        settle(&desk, taken, Settled::Replaced(to)).await;
        let taken = take(&desk).await;
        assert_eq!((taken.0.target.url.as_str(), taken.0.requests()), ("http://b/", 3));
        assert_eq!((&*taken.0.origin.url, taken.0.origin.line), ("http://a/1", Some(1)));
        settle(&desk, taken, Settled::Done).await;
        assert!(desk.take().await.unwrap().is_none());
    });
}

#[test]
fn of_a_host_that_was_given_up_nothing_waits_for_its_pause() {
    at_desk("http://a/1\nhttp://a/2\nhttp://a/3\n", |desk| async move {
        let (first, second) = (take(&desk).await, take(&desk).await);
        settle(&desk, first, Settled::Throttled(Some(PATIENCE * 2))).await;
        settle(&desk, second, Settled::GivenUp).await;
        for _ in 0..2 {
            settle(&desk, take(&desk).await, Settled::Done).await;
        }
        assert!(desk.take().await.unwrap().is_none());
    });
}

#[test]
fn the_log_goes_with_its_broker() {
    let home = Home::start(&options(), ENTROPY).unwrap();
    let dir = home.dir().to_owned();
    assert!(dir.join("log").is_dir());
    drop(home);
    assert!(!dir.exists());
}

/// A queue that does not let itself be counted, and has nothing.
struct Uncounted;

impl Queue for Uncounted {
    type Lease = ();

    async fn receive(&self, _: usize) -> Result<Vec<Taken<()>>, DeskError> {
        Ok(Vec::new())
    }

    async fn publish(&self, _: Vec<Message>) -> Result<(), DeskError> {
        Ok(())
    }

    async fn settle(&self, (): (), _: Settlement) -> Result<(), DeskError> {
        Ok(())
    }

    async fn left(&self) -> Result<u64, DeskError> {
        Err(DeskError("forbidden".to_owned()))
    }

    async fn lift(&self, _: &Host) -> Result<(), DeskError> {
        Ok(())
    }
}

#[tokio::test]
async fn who_stays_need_not_see_what_is_left() {
    for stays in [false, true] {
        let terms = Terms { backoff: options().backoff, seed: 1, stays, run: None };
        let desk = QueueDesk::new(Uncounted, terms);
        desk.feed(&list("http://a/1\n")).await.unwrap();
        assert_eq!(desk.left(3).await.ok(), stays.then_some(2));
    }
}
