//! `sluice publish`: one message, or one a line. Success means that the broker has them safe.

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sluice_bench::v1::{Client, ClientError};

use crate::args::PublishArgs;
use crate::commands::{api_key, connect};
use crate::failure::Failure;

/// Bytes gathered before they are sent.
const BATCH: usize = 128 << 10;
/// Batches on their way before the next waits: each ends with a fence.
const BATCHES_MAX: usize = 8;
/// How long a broker that went away is waited for, and how often it is tried.
const RECONNECT_MAX: Duration = Duration::from_secs(30);
const RECONNECT_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let key = api_key(&args.server)?;
    let client = connect(&args.server, key.as_deref())?;
    let mut publisher =
        Publisher { client, args, key, unconfirmed: VecDeque::new(), published: 0, resent: 0 };
    match args.payload.as_deref() {
        Some(payload) if payload != "-" => publisher.add(payload.as_bytes())?,
        _ => publisher.add_lines()?,
    }
    publisher.finish()
}

struct Publisher<'a> {
    client: Client,
    args: &'a PublishArgs,
    key: Option<String>,
    /// Batches sent whose fence is not answered, as they were sent. A broker that comes back gets
    /// them again: whether it has them already is not known.
    unconfirmed: VecDeque<Vec<u8>>,
    published: u64,
    resent: u64,
}

impl Publisher<'_> {
    fn add(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.client.publish(&self.args.topic, self.args.qos, message)?;
        self.published += 1;
        if self.client.waiting().len() >= BATCH { self.send() } else { Ok(()) }
    }

    fn add_lines(&mut self) -> Result<(), Failure> {
        let bar = progress_bar(self.args);
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(Failure::other)? == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.add(&line)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Sends what was gathered, with a fence behind it, and waits while too much is on its way.
    fn send(&mut self) -> Result<(), Failure> {
        self.client.ping()?;
        self.unconfirmed.push_back(self.client.waiting().to_vec());
        if let Err(error) = self.client.flush() {
            self.reconnect(error)?;
        }
        while self.unconfirmed.len() >= BATCHES_MAX {
            self.await_fence()?;
        }
        Ok(())
    }

    fn await_fence(&mut self) -> Result<(), Failure> {
        match self.client.await_pong() {
            Ok(()) => {
                self.unconfirmed.pop_front();
                Ok(())
            }
            Err(error) => self.reconnect(error),
        }
    }

    /// Waits for a broker that went away and sends it again what it had not confirmed.
    fn reconnect(&mut self, lost: ClientError) -> Result<(), Failure> {
        if !matches!(lost, ClientError::Io(_) | ClientError::Closed) {
            return Err(lost.into());
        }
        let given_up = Instant::now() + RECONNECT_MAX;
        loop {
            match connect(&self.args.server, self.key.as_deref()) {
                Ok(client) => self.client = client,
                Err(error) if Instant::now() >= given_up => return Err(error.into()),
                Err(_) => {
                    thread::sleep(RECONNECT_EVERY);
                    continue;
                }
            }
            for batch in &self.unconfirmed {
                self.client.resend(batch);
            }
            self.resent += self.unconfirmed.len() as u64;
            if self.client.flush().is_ok() {
                return Ok(());
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "it is what the user asked for")]
    fn finish(mut self) -> Result<(), Failure> {
        self.send()?;
        while !self.unconfirmed.is_empty() {
            self.await_fence()?;
        }
        let (published, topic, resent) = (self.published, &self.args.topic, self.resent);
        if self.args.json {
            let outcome = serde_json::json!({
                "published": published,
                "topic": topic,
                "batches_sent_again": resent,
            });
            println!("{outcome}");
        } else {
            println!("published {published} to {topic}");
            if resent > 0 {
                println!(
                    "{resent} batches were sent again after a lost connection: some may be double"
                );
            }
        }
        self.client.close();
        Ok(())
    }
}

fn progress_bar(args: &PublishArgs) -> ProgressBar {
    if args.no_progress || args.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} published, {per_sec}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
