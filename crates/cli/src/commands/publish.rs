//! `sluice publish` and `sluice queue put`: one message, or one a line. Success means that the
//! broker has them safe.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sluice_client::{Client, Confirm, Extras, Lane, Message, Options, Publisher};
use tokio::sync::mpsc;

use crate::args::{ExtrasArgs, InputArgs, PublishArgs, PutArgs};
use crate::commands::{client, print};
use crate::failure::Failure;

/// Messages on their way before the oldest one's outcome is waited for.
const UNCONFIRMED_MAX: usize = 65_536;
/// Bytes of lines that are handed on together.
const LINES_BYTES: usize = 64 << 10;
/// Such pieces that are read ahead.
const PIECES: usize = 4;

pub(crate) fn publish(args: &PublishArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = connect(&args.input).await?;
        let to = client.to_topic(&args.topic);
        run(client, to, args.qos == 1, &args.input, ("topic", &args.topic)).await
    })
}

pub(crate) fn put(args: &PutArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = connect(&args.input).await?;
        let to = client.to_queue(&args.queue);
        run(client, to, true, &args.input, ("queue", &args.queue)).await
    })
}

/// A broker that comes back gets again what it had not confirmed: whether it has that already is
/// not known.
async fn connect(args: &InputArgs) -> Result<Client, Failure> {
    let options = Options { resend_unconfirmed: true, ..client::options(&args.server)? };
    client::connect_with(&args.server, options).await
}

async fn run(
    client: Client,
    to: Publisher,
    confirmed: bool,
    args: &InputArgs,
    (kind, name): (&str, &str),
) -> Result<(), Failure> {
    let mut sender = Sender {
        to,
        confirmed,
        extras: extras(&args.extras),
        waiting: VecDeque::new(),
        handed_in: 0,
        done: 0,
    };
    let mut outcome = json!({});
    match args.payload.as_deref() {
        Some(payload) if payload != "-" => outcome = sender.one(payload).await?,
        _ => sender.lines(args).await?,
    }
    sender.finish(&client).await?;
    let (published, again) = (sender.handed_in, client.counters().frames_sent_again);
    client.close().await?;
    if args.json {
        outcome["published"] = published.into();
        outcome[kind] = name.into();
        outcome["batches_sent_again"] = again.into();
        return print(&format!("{outcome}\n"));
    }
    print(&format!("published {published} to {name}\n"))?;
    if again > 0 {
        print(&format!(
            "{again} batches were sent again after a lost connection: some may be double\n"
        ))?;
    }
    Ok(())
}

fn extras(args: &ExtrasArgs) -> Option<Box<Extras>> {
    let ExtrasArgs { header, ttl, delay, priority, group, key, cost, dedupe_id } = args;
    let lane = Lane {
        priority: priority.unwrap_or(Lane::default().priority),
        group: group.as_deref().map(Into::into),
        keys: key.iter().map(|key| key.as_str().into()).collect(),
        cost: cost.unwrap_or(Lane::default().cost),
    };
    let extras = Extras {
        headers: header.clone(),
        ttl: *ttl,
        delay: *delay,
        deliver_at: None,
        lane,
        dedupe_id: dedupe_id.clone(),
    };
    (extras != Extras::default()).then(|| Box::new(extras))
}

/// Hands messages in and listens to what becomes of them.
struct Sender {
    to: Publisher,
    confirmed: bool,
    extras: Option<Box<Extras>>,
    waiting: VecDeque<Confirm>,
    handed_in: u64,
    done: u64,
}

impl Sender {
    fn message(&self, payload: Vec<u8>) -> Message {
        Message { payload: payload.into(), extras: self.extras.clone() }
    }

    /// One message, and what the broker says of it.
    async fn one(&mut self, payload: &str) -> Result<serde_json::Value, Failure> {
        let message = self.message(payload.as_bytes().to_vec());
        self.handed_in = 1;
        if !self.confirmed {
            self.to.send(message).await?;
            return Ok(json!({}));
        }
        let receipt = self.to.clone().with_receipts().publish(message).await.await;
        let receipt = receipt.map_err(|error| Failure::Publish { done: 0, error })?;
        self.done = 1;
        Ok(json!({
            "id": receipt.id.map(|id| id.to_string()),
            "matched": receipt.matched,
            "level": receipt.level.map(sluice_client::Level::name),
            "duplicate": receipt.duplicate,
        }))
    }

    async fn lines(&mut self, args: &InputArgs) -> Result<(), Failure> {
        let bar = progress_bar(args);
        let (to, mut pieces) = mpsc::channel(PIECES);
        thread::spawn(move || read_lines(io::stdin(), &to));
        while let Some(piece) = pieces.recv().await {
            for line in piece.map_err(Failure::other)? {
                self.add(line).await?;
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn add(&mut self, line: Vec<u8>) -> Result<(), Failure> {
        let message = self.message(line);
        self.handed_in += 1;
        if !self.confirmed {
            return Ok(self.to.send(message).await?);
        }
        let confirm = self.to.publish(message).await;
        self.waiting.push_back(confirm);
        while self.waiting.len() > UNCONFIRMED_MAX {
            self.hear().await?;
        }
        Ok(())
    }

    /// Waits for the oldest outcome.
    async fn hear(&mut self) -> Result<(), Failure> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        oldest.await.map_err(|error| Failure::Publish { done: self.done, error })?;
        self.done += 1;
        Ok(())
    }

    async fn finish(&mut self, client: &Client) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.hear().await?;
        }
        if self.confirmed {
            return Ok(());
        }
        client.flush().await?;
        match client.counters().quiet_errors {
            0 => Ok(()),
            refused => Err(Failure::Other(format!("the broker refused {refused} of the frames"))),
        }
    }
}

/// Reads lines and hands them on in pieces: those that are there, without waiting for more.
fn read_lines(input: impl Read, to: &mpsc::Sender<io::Result<Vec<Vec<u8>>>>) {
    let mut input = BufReader::with_capacity(LINES_BYTES, input);
    loop {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        let ended = loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) => break Ok(true),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            bytes += line.len();
            piece.push(line);
            if bytes >= LINES_BYTES || !input.buffer().contains(&b'\n') {
                break Ok(false);
            }
        };
        let piece = (!piece.is_empty()).then_some(Ok(piece));
        let (error, ended) = match ended {
            Ok(ended) => (None, ended),
            Err(error) => (Some(Err(error)), true),
        };
        for next in piece.into_iter().chain(error) {
            if to.blocking_send(next).is_err() {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

fn progress_bar(args: &InputArgs) -> ProgressBar {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_in_order_however_they_are_cut() {
        let lines: Vec<Vec<u8>> = (0..20_000).map(|line| format!("line {line}").into()).collect();
        let mut text = lines.join(&b'\n');
        text.extend_from_slice(b"\n\nno end");
        let (to, mut pieces) = mpsc::channel(1_000);
        read_lines(&text[..], &to);
        drop(to);
        let mut seen = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            seen.extend(piece.unwrap());
        }
        assert_eq!(seen[..20_000], lines);
        assert_eq!(seen[20_000..], [&b""[..], b"no end"]);
    }
}
