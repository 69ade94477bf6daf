//! `sluice publish`: one message, or one a line. Success means that the broker has them safe.

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_bench::v1::Client;

use crate::args::PublishArgs;
use crate::commands::{api_key, connect};
use crate::failure::Failure;

/// Bytes gathered before they are sent.
const BATCH: usize = 128 << 10;
/// Batches on their way before the next waits: each ends with a fence.
const BATCHES_MAX: usize = 8;

pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let key = api_key(&args.server)?;
    let client = connect(&args.server, key.as_deref())?;
    let mut publisher = Publisher { client, args, fences: 0, published: 0 };
    match args.payload.as_deref() {
        Some(payload) if payload != "-" => publisher.add(payload.as_bytes())?,
        _ => publisher.add_lines()?,
    }
    publisher.finish()
}

struct Publisher<'a> {
    client: Client,
    args: &'a PublishArgs,
    /// Fences sent and not answered.
    fences: usize,
    published: u64,
}

impl Publisher<'_> {
    fn add(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.client.publish(&self.args.topic, self.args.qos, message)?;
        self.published += 1;
        if self.client.waiting_bytes() >= BATCH { self.send() } else { Ok(()) }
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
        self.fences += 1;
        self.client.flush()?;
        while self.fences >= BATCHES_MAX {
            self.await_fence()?;
        }
        Ok(())
    }

    fn await_fence(&mut self) -> Result<(), Failure> {
        self.client.await_pong()?;
        self.fences -= 1;
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "it is what the user asked for")]
    fn finish(mut self) -> Result<(), Failure> {
        self.send()?;
        while self.fences > 0 {
            self.await_fence()?;
        }
        let (published, topic) = (self.published, &self.args.topic);
        if self.args.json {
            println!("{}", serde_json::json!({ "published": published, "topic": topic }));
        } else {
            println!("published {published} to {topic}");
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
